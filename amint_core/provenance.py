"""Where a result comes from: code, versions, machine, settings, data."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from amint_core import __version__
from amint_core.locations import project_root

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "accelerate",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
)
#: Parts of the package that a trained model depends on; its settings are kept beside it.
TRAINING = (
    *("arithmetic.py", "datasets", "heads.py", "inference.py", "mint.py", "models"),
    *("operations.py", "prepared.py", "training", "transformations.py"),
)
#: Parts of the package that start runs or show results and take no part in computing them.
SHOWING = (
    *("report", "reference.py", "batch.py", "locked.py", "grid.py", "__main__.py"),
    *("plan.py", "planning"),
)


@cache
def code_fingerprint(parts: tuple[str, ...] = ()) -> str:
    """Return a SHA-256 over the package's sources that take part in computing a run.

    Args:
        parts: files and folders of the package; none: all but those that only show.
    """
    package = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        relative = source.relative_to(package)
        first = relative.parts[0]
        if first in parts if parts else first not in SHOWING:
            digest.update(relative.as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {"amint": __version__, "python": platform.python_version(), **found}


def hardware(device: torch.device) -> str:
    """Name the device in words, e.g. "NVIDIA H100" or the processor with its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        name = next(names, "")
    except OSError:
        name = ""
    return name or platform.processor() or platform.machine()


def git_state() -> dict[str, Any]:
    """Return the commit and whether the work tree differs from it; None where there is no git.

    A copy without git is told its commit by `AMINT_COMMIT`; whether it differs is then not known,
    but `code_fingerprint` is.
    """
    told = os.environ.get("AMINT_COMMIT")
    if told:
        return {"commit": told, "changed": None}
    try:
        commit = _git("rev-parse", "HEAD")
        # Results are what a run changes itself; only other changes make the code differ.
        dirty = bool(_git("status", "--porcelain", "--", ".", ":!results"))
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None}
    return {"commit": commit, "changed": dirty}


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=project_root(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()

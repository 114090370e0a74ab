"""Where a result comes from: code, versions, machine, settings, data."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amint_core import __version__
from amint_core.errors import SettingsError
from amint_core.imports import PACKAGE, reached
from amint_core.locations import project_root

if TYPE_CHECKING:
    import torch

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


def code_fingerprint(*roots: str | Callable) -> str:
    """Return a SHA-256 over all sources that `roots` import, their own included.

    A file that changes while a process runs is not the code that runs in it: what is loaded counts
    as it was when first asked for, until it is loaded anew.

    Args:
        roots: names of modules; or functions or classes, whose modules count.

    Raises:
        SettingsError: a function or class comes from no file, so that what it calls cannot be told.
    """
    sources = reached(*(root if isinstance(root, str) else _root_of(root) for root in roots))
    digest = hashlib.sha256()
    for name, path in sorted(sources.items()):
        digest.update(name.encode() + b"\0" + _as_loaded(name, path) + b"\0")
    return digest.hexdigest()


def _root_of(code: Callable) -> str | Path:
    """Return the name of the module that defines a function or class, or else its file."""
    while isinstance(code, partial):
        code = code.func
    module = sys.modules.get(code.__module__)
    if hasattr(module, "__file__") and code.__module__ not in _SCRIPTS:
        return code.__module__
    try:
        file = Path(inspect.getfile(code))
    except TypeError:  # a class of a module that is no file
        file = Path()
    if not file.is_file():
        raise SettingsError(
            f"{code.__qualname__} was written in a notebook or at a prompt, where what it depends "
            "on cannot be told, so that an old model could be taken for its own. Put it into a .py "
            "file and import it from there."
        )
    return file


#: Names of the file that Python was started with, here and in the processes that it starts.
_SCRIPTS = ("__main__", "__mp_main__")
#: Module → (how it was found, its source), as this process has loaded it.
_loaded: dict[str, tuple[ModuleSpec, bytes]] = {}


def _as_loaded(name: str, path: Path) -> bytes:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    known = _loaded.get(name)
    if spec is None or known is None or known[0] is not spec:
        known = _loaded[name] = (spec, path.read_bytes())
    return known[1]


def libraries() -> dict[str, str]:
    """Return the versions of the packages that a trained model depends on."""
    return {name: versions()[name] for name in ("torch", "torchvision", "timm", "numpy")}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    return {"amint": __version__, "python": platform.python_version(), **_of_packages()}


@cache
def _of_packages() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def hardware(device: torch.device) -> str:
    """Name the device in words: "NVIDIA H100", or the processor with what its numbers depend on.

    Processors of one name may have other vector instructions, by which PyTorch chooses its kernels
    and so the last bits of a sum: "AMD EPYC, AVX2, 1 threads" and "AMD EPYC, AVX512, 1 threads".
    """
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{_processor()}, {vectors}, {torch.get_num_threads()} threads"


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
    but `code_fingerprint` is. Where the package is installed alone, the repository around the
    working folder is another project's, and is not asked.
    """
    told = os.environ.get("AMINT_COMMIT")
    if told:
        return {"commit": told, "changed": None}
    unknown = {"commit": None, "changed": None}
    if (project_root() / PACKAGE).resolve() != Path(__file__).resolve().parent:
        return unknown
    try:
        commit = _git("rev-parse", "HEAD")
        # Results are what a run changes itself; only other changes make the code differ.
        dirty = bool(_git("status", "--porcelain", "--", ".", ":!results"))
    except (OSError, subprocess.CalledProcessError):
        return unknown
    return {"commit": commit, "changed": dirty}


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=project_root(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()

"""Snakemake's process: what it needs to start, and how it ends.

Ctrl-C reaches it once, and is waited for: on a cluster it cancels what it has submitted.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

from amint_core.errors import SettingsError
from amint_core.locations import project_root

INTERRUPTED = 130  # the exit status that shells give to what Ctrl-C ended


def refuse_what_cannot_start(profile: Path | None, extra: Sequence[str]) -> None:
    """Check what Snakemake needs and says badly, or after minutes.

    Args:
        profile: folder of a cluster's options for Snakemake; None: this machine.
        extra: options for Snakemake.

    Raises:
        SettingsError: the project's folder cannot be written, there is no home folder, or Slurm's
            commands are missing.
    """
    root = project_root()
    records = root / ".snakemake"
    if not os.access(records if records.is_dir() else root, os.W_OK | os.X_OK):
        raise SettingsError(
            f"{root} cannot be written, and Snakemake keeps its records there. Copy the project to "
            "a folder that can be; data, cache and results may lie elsewhere. A single run needs "
            "no records: amint run."
        )
    home = Path(os.environ.get("HOME") or "~").expanduser()
    if not home.is_dir() and not os.access(home.parent, os.W_OK):
        raise SettingsError(
            f"The home folder {home} does not exist and cannot be made, and Snakemake and Jupyter "
            "keep files there. Name another: HOME=/some/folder amint reproduce."
        )
    if profile is None:
        return
    text = (profile / "config.yaml").read_text(encoding="utf-8")
    options = [*(yaml.safe_load(text) or {}), *(one.lstrip("-") for one in extra)]
    if "executor: slurm" not in text:
        return
    asked = [] if any(one.startswith("slurm-status-command") for one in options) else ["sacct"]
    missing = [name for name in ("sbatch", "squeue", *asked) if shutil.which(name) is None]
    if missing:
        raise SettingsError(
            f"Slurm's {' and '.join(missing)} cannot be found, so that no run could be submitted "
            "or followed. Start this where they are, e.g. on the login node"
            + ("; without accounting add: -- --slurm-status-command squeue." if asked else ".")
        )


def run(command: list[str]) -> int:
    """Run Snakemake to its end, which Ctrl-C asks it for, so that it cancels what it submitted.

    Returns: its exit status; `INTERRUPTED` after Ctrl-C, or a signal to end.
    """
    with _signals_as_ctrl_c():
        # In a group of its own, so that Ctrl-C reaches it once.
        process = subprocess.Popen(command, cwd=project_root(), process_group=0)
        asked = 0
        while True:
            try:
                status = process.wait()
                return INTERRUPTED if asked else status
            except KeyboardInterrupt:
                asked += 1
                if asked == 1:
                    print(
                        "\namint: asked Snakemake to end what it started; this takes a moment. "
                        "Ctrl-C once more ends it at once, and leaves a cluster's jobs.",
                        flush=True,
                    )
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT if asked == 1 else signal.SIGKILL)


@contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Take a closed terminal and a request to end for Ctrl-C."""
    caught = (signal.SIGTERM, signal.SIGHUP)
    # What is ignored stays so, as nohup wants it.
    caught = [one for one in caught if signal.getsignal(one) == signal.SIG_DFL]
    before = {one: signal.signal(one, signal.default_int_handler) for one in caught}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)

"""Run a Python module under a lock: `python -m amint_core.batch.lock [--own-gpu] LOCK MODULE …`.

With --no-gpu in the place of --own-gpu it sees none.

A batch that was killed leaves what it started alive. The next batch waits here until that has
ended; the lock ends with the process that holds it, however that dies. So does that of a GPU:
Snakemake counts GPUs and deals none out.
"""

from __future__ import annotations

import itertools
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_TICK = 1.0  # seconds between looks for a free GPU


def main(arguments: list[str]) -> None:
    """Wait for the lock, then run the module with its arguments in this process."""
    gpu = arguments[0] if arguments[0] in ("--own-gpu", "--no-gpu") else None
    lock, module, *rest = arguments[gpu is not None :]
    Path(lock).parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        print(f"Another process works here; waiting until it lets go of {lock}.", file=sys.stderr)
        held.acquire()
    if gpu == "--no-gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with held, _own_gpu(_visible_gpus()) if gpu == "--own-gpu" else nullcontext():
        # With it jsonschema would build a grammar of web addresses as papermill starts, which takes
        # longer than all else there; notebooks hold none that it checks.
        sys.modules.setdefault("rfc3987_syntax", None)
        sys.argv = [module, *rest]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return list(map(str, range(torch.cuda.device_count())))


@contextmanager
def _own_gpu(gpus: list[str]) -> Iterator[None]:
    """Hold one of several GPUs, the only one that what runs here sees; wait until one is free."""
    if len(gpus) < 2:
        yield
        return
    # On this machine and of this user, whatever the project and the profile.
    folder = Path(tempfile.gettempdir()) / f"amint-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for gpu in itertools.cycle(gpus):
        lock = FileLock(folder / f"{gpu}.lock")
        with suppress(Timeout):
            lock.acquire(timeout=0)
            break
        time.sleep(_TICK / len(gpus))
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        yield
    finally:
        lock.release()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:  # before the module took Ctrl-C for its own, or after
        sys.exit(130)

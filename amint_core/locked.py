"""Run a Python module while holding a file's lock: `python -m amint_core.locked LOCK MODULE …`.

A batch that was killed leaves what it started alive. The next batch waits here until that has
ended; the lock ends with the process that holds it, however that dies.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from filelock import FileLock, Timeout


def main(arguments: list[str]) -> None:
    """Wait for the lock, then run the module with its arguments in this process."""
    lock, module, *rest = arguments
    Path(lock).parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        print(f"Another process works here; waiting until it lets go of {lock}.", file=sys.stderr)
        held.acquire()
    with held:
        sys.argv = [module, *rest]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""An object in a process of its own: it gains nothing from what others compute or set, and its peak
memory is its own. Plans and benchmarks measure in such processes."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from multiprocessing import active_children, get_context
from typing import Any

import psutil

from amint_core.errors import AmintError

#: What the fork server tells of a process whose end the pool's own thread has asked for before.
_UNKNOWN = 255


class WorkerError(AmintError):
    """What was asked of another process has failed there."""


class WorkerEndedError(WorkerError):
    """The process has ended, as for want of memory, or took longer than it was given."""


class Worker(AbstractContextManager):
    """An object in a fresh process, idle until it is asked; ends with the `with` block.

    Args:
        title: what failures are said of.
        make: returns a context manager that makes the object; found by name in its module.
        args: for `make`.
    """

    #: Modules that are imported once for all such processes.
    preload = ("timm", "amint_core.batch.planning.measure")

    def __init__(self, title: str, make: Callable[..., AbstractContextManager], *args: Any) -> None:
        # The server imports and computes nothing: its forks start at once, and clean.
        context = get_context("forkserver")
        context.set_forkserver_preload(list(self.preload))
        self.title, self._given, before = title, (make, args), set(active_children())
        self._pool = ProcessPoolExecutor(1, context)
        self._pool.submit(_call, *self._given, "", ())  # starts to make the object
        (self.process,) = set(active_children()) - before

    def ask(self, order: str, *args: Any, limit: float | None = None) -> Any:
        """Call a method of the object and return its result; "" waits for the object alone.

        Args:
            limit: seconds after which the process is killed; None: wait for ever.

        Raises:
            AmintError: as raised there.
            WorkerError: anything else was raised there.
            WorkerEndedError: the process has ended, or the limit was reached.
        """
        try:
            return self._pool.submit(_call, *self._given, order, args).result(limit)
        except AmintError:
            raise
        except (BrokenProcessPool, TimeoutError):
            raise WorkerEndedError(f"{self.title} failed: {self._end()}") from None
        except Exception as error:
            raise WorkerError(f"{self.title} failed: {error!r}") from error

    def _end(self) -> str:
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if code == _UNKNOWN:
            how = "how is not known"
        return (
            f"its process has ended ({how}); what it said stands above. The machine may be short "
            "of memory."
        )

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.process.join(timeout=20)
        self.process.kill()


_made: list[Any] = []  # this process's object, while `_open` keeps its context
_open = ExitStack()


def _call(make: Callable[..., AbstractContextManager], args: tuple, order: str, given: tuple):
    """Call a method of this process's object, which is made where there is none yet."""
    os.environ["TQDM_DISABLE"] = "1"
    if not _made:
        _made.append(_open.enter_context(make(*args)))
    return getattr(_made[0], order)(*given) if order else None


def peak() -> int:
    """Return the most bytes of memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident() -> tuple[int, int]:
    """Return the bytes of memory that this process holds: private, and of mapped files (Linux)."""
    found = psutil.Process().memory_info()
    mapped = getattr(found, "shared", 0)
    return found.rss - mapped, mapped

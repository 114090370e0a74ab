"""An object in a process of its own: it gains nothing from what others compute or set, and its peak
memory is its own. Plans and benchmarks measure in such processes."""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import psutil

from amint_core.errors import AmintError


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
        preload: modules that all such processes need besides that of `make`, imported only once.
    """

    def __init__(
        self,
        title: str,
        make: Callable[..., AbstractContextManager],
        args: tuple = (),
        preload: Collection[str] = (),
    ) -> None:
        # The server imports and computes nothing: its forks start at once, and clean.
        context = get_context("forkserver")
        context.set_forkserver_preload([make.__module__, "timm", *preload])
        self.title = title
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make, args))
        self.process.start()
        theirs.close()

    def ask(self, order: str, *args: Any, limit: float | None = None) -> Any:
        """Call a method of the object and return its result; see `answer`."""
        self.send(order, *args)
        return self.answer(limit)

    def send(self, order: str, *args: Any) -> None:
        """Ask for what `answer` will wait for, to let several processes work at once."""
        with suppress(ConnectionError):  # it has ended; `answer` says why
            self.pipe.send((order, args))

    def answer(self, limit: float | None = None) -> Any:
        """Wait for the result of what was asked.

        Args:
            limit: seconds after which the process is killed; None: wait for ever.

        Raises:
            AmintError: as raised there.
            WorkerError: anything else was raised there; the message holds its traceback.
            WorkerEndedError: the process has ended, or the limit was reached.
        """
        try:
            if not self.pipe.poll(limit):
                self.process.kill()
            error, result = self.pipe.recv()
        except (EOFError, ConnectionError):
            raise WorkerEndedError(f"{self.title} failed: {self._end()}") from None
        if error is None:
            return result
        raise error if isinstance(error, AmintError) else WorkerError(f"{self.title}: {error}")

    def _end(self) -> str:
        self.process.join(timeout=20)
        code = self.process.exitcode
        killed = code is not None and code < 0
        how = f"killed by {signal.Signals(-code).name}" if killed else f"exit status {code}"
        return (
            f"its process has ended ({how}); what it said stands above. The machine may be short "
            "of memory."
        )

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        self.process.join(timeout=20)
        if self.process.is_alive():
            self.process.terminate()


def _serve(pipe: Connection, make: Callable[..., AbstractContextManager], args: tuple) -> None:
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with make(*args) as made:
            while True:
                order, given = pipe.recv()
                pipe.send((None, getattr(made, order)(*given)))
    except (EOFError, BrokenPipeError):
        pass
    except AmintError as error:
        pipe.send((error, None))
    except Exception:
        pipe.send((traceback.format_exc(), None))


def resident() -> tuple[int, int]:
    """Return the bytes of memory that this process holds: private, and shared or mapped files."""
    found = psutil.Process().memory_info()
    shared = getattr(found, "shared", 0)  # Linux alone tells
    return found.rss - shared, shared


def peak() -> int:
    """Return the most bytes of memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

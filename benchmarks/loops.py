"""Each training loop in a process of its own, idle while another is timed.

So neither side gains from what the other sets in its process, and each one's peak memory is its
own.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from amint_core.errors import AmintError
from benchmarks.cases import Case
from benchmarks.encoded import write_files

KINDS = ("published", "active", "plain")
_CONTEXT = multiprocessing.get_context("forkserver")
# Imported once, not in every process; nothing is computed there.
_CONTEXT.set_forkserver_preload(["torch", "timm", "benchmarks.published", "benchmarks.ours"])


class BenchmarkError(AmintError):
    """A loop that was to be timed has failed."""


class Loop(AbstractContextManager):
    """A loop in another process; ends with the `with` block.

    Args:
        kind: one of `KINDS`.
        case: what it trains.
        files: encoded images, for the published loop.
    """

    def __init__(self, kind: str, case: Case, files: Sequence[Path] = ()) -> None:
        self.kind, self.case = kind, case
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_serve, args=(theirs, kind, case, list(files)))
        self.process.start()
        theirs.close()

    def ask(self, order: str, *args: Any) -> Any:
        """Call a method of the loop there and return its result.

        Raises:
            BenchmarkError: the loop has failed; the message holds its traceback.
        """
        self.send(order, *args)
        return self.answer()

    def send(self, order: str, *args: Any) -> None:
        """Ask for what `answer` will wait for, to let several loops work at once."""
        with suppress(ConnectionError):  # it has ended; `answer` says why
            self.pipe.send((order, args))

    def answer(self) -> Any:
        """Wait for the answer to what was asked of the loop."""
        try:
            done, result = self.pipe.recv()
        except (EOFError, ConnectionError):
            done, result = False, self._end()
        if not done:
            raise BenchmarkError(f"The {self.kind} loop of {self.case.name} failed: {result}")
        return result

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


def open_files(case: Case, count: int | None = None) -> tempfile.TemporaryDirectory:
    """Make a temporary folder of encoded images for a case."""
    folder = tempfile.TemporaryDirectory(prefix="amint-benchmarks-")
    write_files(Path(folder.name), case.image_size, count or 4 * case.batch)
    return folder


def _serve(pipe: Connection, kind: str, case: Case, files: Sequence[Path]) -> None:
    try:
        before = _libraries()
        with _built(kind, case, files) as loop:
            while True:
                order, args = pipe.recv()
                result = _peak(case, before) if order == "peak" else getattr(loop, order)(*args)
                pipe.send((True, result))
    except (EOFError, BrokenPipeError):
        pass
    except Exception:
        pipe.send((False, traceback.format_exc()))


@contextmanager
def _built(kind: str, case: Case, files: Sequence[Path]) -> Iterator[Any]:
    """Build a loop with the arithmetic that it trains in: ours as runs do, the published as is."""
    if kind == "published":
        from benchmarks.published import PublishedLoop

        yield PublishedLoop(case, files)
        return
    from amint_core.training.device import repeatable
    from benchmarks.ours import OurLoop, case_of_run

    with repeatable(case_of_run(case).settings):
        yield OurLoop(case, plain=kind == "plain")


def _peak(case: Case, before: int) -> dict[str, int]:
    """Return this process's peak memory in bytes: allocated on a GPU, resident otherwise.

    `process` is all of it; `loop` leaves out what the imported libraries take.
    """
    if case.device == "cuda":
        allocated = torch.cuda.max_memory_allocated()
        return {"process": allocated, "loop": allocated}
    unit = 1 if sys.platform == "darwin" else 1024
    process = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"process": process, "loop": process - _resident("RssFile") - before}


def _libraries() -> int:
    """Return the bytes that imports alone have taken, besides files mapped into memory."""
    return _resident("RssAnon")


def _resident(kind: str) -> int:
    """Return one of Linux's counts of resident memory in bytes; 0 on other systems."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(kind)), 0)

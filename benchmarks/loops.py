"""Each training loop in a process of its own, idle while another is timed.

So neither side gains from what the other sets in its process, and each one's peak memory is its
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import torch

from amint_core.batch.planning.worker import Worker, peak, resident
from amint_core.training.repeatable import repeatable
from benchmarks.configurations import Configuration
from benchmarks.ours import OurLoop
from benchmarks.published import PublishedLoop

KINDS = ("published", "active", "plain")
Worker.preload += (__name__,)


def start(kind: str, configuration: Configuration, files: Sequence[Path] = ()) -> Worker:
    """Start a loop in another process; it ends with the `with` block.

    Args:
        kind: one of `KINDS`.
        configuration: what it trains.
        files: encoded images, for the published loop.
    """
    title = f"The {kind} loop of {configuration.name}"
    return Worker(title, opened, kind, configuration, list(files))


@contextmanager
def opened(
    kind: str, configuration: Configuration, files: Sequence[Path]
) -> Iterator[OurLoop | PublishedLoop]:
    """Build a loop with the arithmetic that it trains in: ours as runs do, the published as is."""
    libraries, _ = resident()
    with ExitStack() as stack:
        if kind == "published":
            loop = PublishedLoop(configuration, files)
        else:
            stack.enter_context(repeatable(configuration.threads))
            loop = OurLoop(configuration, plain=kind == "plain")
        loop.peak = partial(_peak, configuration.device, libraries)
        yield loop


def _peak(device: str, libraries: int) -> dict[str, int]:
    """Return this process's peak memory in bytes: allocated on a GPU, resident otherwise.

    `process` is all of it; `loop` leaves out what the imported libraries take.
    """
    if device == "cuda":
        allocated = torch.cuda.max_memory_allocated()
        return {"process": allocated, "loop": allocated}
    _, mapped = resident()
    return {"process": peak(), "loop": peak() - mapped - libraries}

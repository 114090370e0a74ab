"""Measures what a step of training and an image take, each workload in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from amint_core.batch.planning.made_up import MadeUp, MadeUpTraining
from amint_core.batch.planning.made_up_stages import MadeUpStage
from amint_core.batch.planning.work import Cost, Workload
from amint_core.batch.planning.worker import Worker, WorkerEndedError
from amint_core.training.repeatable import repeatable


@contextmanager
def training(workload: Workload) -> Iterator[MadeUp]:
    """Open the training of a workload, with the arithmetic of a run."""
    with repeatable(workload.settings.cpu_threads):
        made = MadeUpStage(workload) if workload.stage else MadeUpTraining(workload)
        try:
            yield made
        finally:
            made.end()


def measure_apart(workload: Workload, seconds: float, limit: float) -> Cost | None:
    """Measure a workload in a process of its own, whose memory is the workload's alone.

    Args:
        seconds: for training steps.
        limit: seconds after which the process is ended.

    Returns:
        None where the limit was reached, or the process was killed, as for want of memory.

    Raises:
        AmintError: the workload cannot be trained, whatever the time.
    """
    with Worker(f"Training steps of {workload.settings.id}", training, workload) as worker:
        try:
            return worker.ask("measure", seconds, limit=limit)
        except WorkerEndedError:
            return None


def seconds_to_start() -> float:
    """Return the seconds that a fresh process takes until it has imported what a run needs."""
    started = time.monotonic()
    with Worker("A process", nullcontext) as worker:
        worker.ask("")
    return time.monotonic() - started

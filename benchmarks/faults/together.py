"""Two processes, and two batches, at the same work."""

from __future__ import annotations

import time

from benchmarks.faults.known import SLOW, Job, Known
from benchmarks.faults.trial import Bench, Trial, laid_out

TWO, BATCHES = "two processes at once", "two batches at once"


def trials(known: Known) -> list[Trial]:
    """Return the trials of this file."""
    single = [name for name in known.jobs if name not in (*SLOW, "grid")]
    found = [Trial(TWO, name, at_once) for name in single for _ in range(4)]
    found += [Trial(BATCHES, "grid", at_once)] * 8
    return [*found, Trial(BATCHES, "batch", at_once)]


def at_once(bench: Bench, job: Job) -> tuple[str, list[int], None]:
    """Give the same command twice, the second after a random while."""
    laid_out(bench, job)
    wait = bench.draw.random() * job.seconds
    first = bench.place.start(job.command)
    time.sleep(wait)
    second = bench.place.start(job.command)
    statuses = [bench.place.end(first), bench.place.end(second)]
    return f"{wait:.2f} s apart", statuses, None

"""Too little memory, too few open files, and a clock that goes backwards."""

from __future__ import annotations

import os
import resource
import time
from functools import partial
from pathlib import Path

from benchmarks.faults.known import SLOW, Job, Known, at_write
from benchmarks.faults.trial import Bench, Trial, laid_out

MEMORY, FILES, CLOCK = "memory limit", "limit of open files", "clock set back"


def trials(known: Known) -> list[Trial]:
    """Return the trials of this file."""
    found = []
    for name in known.jobs:
        if name not in SLOW:
            found += [Trial(MEMORY, name, memory)] * 4
            found += [Trial(FILES, name, files)] * 3
            found += [Trial(CLOCK, name, clock)] * 2
    return found


def memory(bench: Bench, job: Job) -> tuple[str, list[int], None]:
    """Limit the address space to what is in use and a random 1 MB to 500 MB more."""
    laid_out(bench, job)
    more = int(10 ** bench.draw.uniform(6, 8.7))

    def limit() -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))

    return f"{more >> 20} MiB more", [bench.place.do(job.command, limit)], None


def files(bench: Bench, job: Job) -> tuple[str, list[int], None]:
    """Limit the number of open files to a few more than are open."""
    laid_out(bench, job)
    more = bench.draw.randint(0, 8)

    def limit() -> None:
        last = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1 + more, last + 1 + more))

    return f"{more} more files", [bench.place.do(job.command, limit)], None


def clock(bench: Bench, job: Job) -> tuple[str, list[int], None]:
    """Do the job, set the clock back in the middle, and leave files of times to come."""
    laid_out(bench, job)
    back, number = 10 ** bench.draw.uniform(0, 7), bench.draw.randint(1, max(1, job.writes))

    def set_back() -> None:
        real = time.time
        time.time = lambda: real() - back

    before = partial(at_write, bench.place.folder, number, set_back)
    status = bench.place.do(job.command, before)
    ahead = time.time() + back
    for path in bench.place.folder.rglob("*"):
        os.utime(path, (ahead, ahead))
    return f"{back:.0f} s", [status], None

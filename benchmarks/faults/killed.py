"""Processes killed, interrupted and asked to end: at random moments and at every write."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial

from benchmarks.faults.known import SLOW, Job, Known, at_write
from benchmarks.faults.trial import Bench, Trial, laid_out

KILLED = "kill -9 at random moments"
KILLED_AT_WRITES = "kill -9 at every write"
OTHERS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
#: Job → trials with one to three random moments.
RANDOM = {"single run": 16, "run in two stages": 6, "shadow models": 6, "shadow workers": 6}
RANDOM |= {"grid": 12, "report": 6}
#: Kills of one trial at as many writes, the command given again after each.
IN_TURN = 12


def trials(known: Known) -> list[Trial]:
    """Return the trials of this file."""
    found = []
    for job, count in RANDOM.items():
        found += [Trial(KILLED, job, at_moments(signal.SIGKILL))] * count
        for sign, kind in OTHERS.items():
            found += [Trial(kind, job, at_moments(sign))] * max(2, count // 6)
    for name, job in known.jobs.items():
        found += [Trial(KILLED_AT_WRITES, name, at(turn)) for turn in turns(job)]
    return found


def turns(job: Job) -> list[list[int]]:
    """Deal the numbers of all writes of a job, far apart ones together, `IN_TURN` to a trial."""
    count = -(-job.writes // IN_TURN) if job.name not in SLOW else 0
    return [list(range(first + 1, job.writes + 1, count)) for first in range(count)]


def at_moments(sign: signal.Signals) -> Callable:
    """Return a fault that sends a signal at one to three random moments, starting again between.

    Once it is sent, what is left of a driver's session is given time to end.
    """

    def fault(bench: Bench, job: Job) -> tuple[str, list[int], None]:
        laid_out(bench, job)
        most = 1 if job.name in SLOW else 3
        moments = [bench.draw.random() * job.seconds for _ in range(bench.draw.randint(1, most))]
        statuses = []
        for moment in moments:
            child = bench.place.start(job.command)
            time.sleep(moment)
            os.kill(child, sign)
            statuses.append(bench.place.end(child))
        return f"after {', '.join(f'{moment:.2f}' for moment in moments)} s", statuses, None

    return fault


def at(turn: list[int]) -> Callable:
    """Return a fault that kills a command just before some write, again and again.

    Args:
        turn: number of the write at which each process is killed; one that goes on from another
            may end before.
    """

    def fault(bench: Bench, job: Job) -> tuple[str, list[int], None]:
        laid_out(bench, job)

        def kill() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        folder, statuses = bench.place.folder, []
        for number in turn:
            before = partial(at_write, folder, number, kill)
            statuses.append(bench.place.do(job.command, before))
        return f"writes {', '.join(map(str, turn))}", statuses, None

    return fault

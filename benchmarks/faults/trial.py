"""One trial: a fault, the same command again, and what has become of it."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amint_core.errors import AmintError
from amint_core.store import run_file
from benchmarks.faults.known import Job, Known
from benchmarks.faults.place import Place

OUTCOMES = ("survived", "lost", "wrong", "foreign", "orphan", "leftover")
#: What a disturbed command may end with: well, an error of ours, Ctrl-C, or the signal sent.
_ENDS = (0, 2, 130, -signal.SIGKILL, -signal.SIGTERM)
_ASIDE = re.compile(r"\.damaged-\d+")


@dataclass
class Bench:
    """What a trial works with.

    Attributes:
        known: the commands undisturbed.
        place: the trial's own.
        draw: random numbers that follow from the trial's number.
    """

    known: Known
    place: Place
    draw: random.Random


Fault = Callable[[Bench, Job], tuple[str, list[int], str | None]]


@dataclass(frozen=True)
class Trial:
    """A fault put to a job.

    Attributes:
        kind: the row of the table that counts it.
        job: a name of `known.COMMANDS`.
        fault: puts it, and says what it was: its words, exit statuses of the disturbed commands,
            and an outcome where that is known before the command is given again.
    """

    kind: str
    job: str
    fault: Fault


def outcome(bench: Bench, job: Job, statuses: list[int]) -> str:
    """Give the same command again and tell what has become of it."""
    place, said = bench.place, bench.place.said()
    foreign = "Traceback" in said or any(status not in _ENDS for status in statuses)
    if place.do(job.command) != 0:
        return "lost"
    found, there = place.content(), place.names()
    if job.names - there or not _are_whole(place):
        return "lost"
    if any(found[name] != digest for name, digest in job.content.items()):
        return "wrong"
    if foreign or "Traceback" in place.said():
        return "foreign"
    if place.orphans():
        return "orphan"
    more = {name for name in there - job.names if not _ASIDE.search(name)}
    return "leftover" if more else "survived"


def _are_whole(place: Place) -> bool:
    """Tell whether all files of all runs are those that their manifests name."""
    for manifest in place.folder.glob("results/*/runs/*/manifest.json"):
        for file in manifest.parent.iterdir():
            if file.suffix in (".json", ".csv", ".parquet", ".safetensors") and file != manifest:
                try:
                    run_file(file)
                except AmintError:
                    return False
    return True


def tried(trial: Trial, known: Known, number: int, folder: Path) -> dict[str, object]:
    """Do a trial in a place of its own: its row for the table."""
    place, job = Place(folder, known.data), trial.job and known.job(trial.job)
    bench = Bench(known, place, random.Random(number))
    detail, statuses, early = trial.fault(bench, job)
    ended = early or outcome(bench, job, statuses)
    place.orphans(0)  # whatever came of it
    return {
        "kind": trial.kind,
        "job": trial.job,
        "outcome": ended,
        "kills": statuses.count(-signal.SIGKILL),
        "detail": detail,
        "said": "" if ended == "survived" else f"{statuses}\n{_telling(place.said())}",
    }


def _telling(said: str) -> str:
    """Return the end of the first traceback, or where there is none of all that was said."""
    before, traceback, after = said.partition("Traceback")
    lines = (traceback + after.partition("Traceback")[0] if traceback else before).splitlines()
    ends = [n for n, line in enumerate(lines) if n and line[:1].isalpha()] if traceback else []
    end = ends[0] + 1 if ends else len(lines)
    return "\n".join(lines[max(0, end - 12) : end])


def laid_out(bench: Bench, job: Job) -> None:
    """Put into the trial's place what lies there before its job."""
    if job.before is not None:
        bench.known.place(bench.place.folder.name, job.before)

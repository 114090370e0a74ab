"""Do all trials, two at a time, their kinds mixed: `python -m benchmarks.faults`."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch

from amint_core.locations import results_root
from benchmarks.faults import damage, disks, handed, killed, limits, together
from benchmarks.faults.known import Known
from benchmarks.faults.table import write
from benchmarks.faults.trial import Trial, tried

#: Each part, and when its last trial would come, as a share of the time that all trials take. Kills
#: come at any moment of a command: a time limit leaves twice the share of them.
PARTS = ((killed, 0.5), *((part, 1) for part in (disks, damage, handed, limits, together)))
LAST = 40  # seconds before the end from which on no trial begins: slow ones take that long
_at_hand: tuple[Known, list[Trial], float] | None = None  # for the processes, which are forks


def planned(known: Known, seed: int) -> list[Trial]:
    """Return all trials, each kind spread evenly, so that a time limit leaves some of all."""
    draw = random.Random(seed)
    placed = []
    for part, last in PARTS:
        by_kind: dict[str, list[Trial]] = {}
        for trial in part.trials(known):
            by_kind.setdefault(f"{trial.kind} {trial.job}", []).append(trial)
        for own in by_kind.values():
            draw.shuffle(own)
            places = (last * (n + draw.random()) / len(own) for n in range(len(own)))
            placed += zip(places, own, strict=True)
    return [trial for _, trial in sorted(placed, key=lambda pair: pair[0])]


def _one(number: int) -> dict[str, object] | None:
    known, trials, end = _at_hand
    if time.monotonic() > end:
        return None
    folder = known.folder / f"trial-{number}"
    row = tried(trials[number], known, number, folder)
    if row["outcome"] != "survived":
        words = row["kind"], row["job"], row["detail"]
        print(f"{', '.join(words)}: {row['outcome']}\n{row['said']}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    return row


def main(arguments: list[str] | None = None) -> int:
    """Try, print and write the table; 1 where something did not survive."""
    global _at_hand
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="all in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds that hold this text")
    parser.add_argument("--lanes", type=int, default=2, help="trials at a time")
    parser.add_argument("--out", type=Path, default=results_root() / "faults")
    given, started = parser.parse_args(arguments), time.monotonic()
    # Trials are forks of this process. After a computation by several threads, which do not come
    # along, a fork would wait for them for ever in its own first one.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for processes that import everything anew
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        known = Known(Path(folder))
        trials = [t for t in planned(known, given.seed) if given.only in f"{t.kind}, {t.job}"]
        _at_hand = known, trials, started + 60 * given.minutes - LAST
        writes = ", ".join(f"{j.name} {j.writes} in {j.seconds:.1f} s" for j in known.jobs.values())
        took = f"{time.monotonic() - started:.0f} s to begin"
        print(f"{took}, {len(trials)} trials. Writes: {writes}", flush=True)
        with ProcessPoolExecutor(given.lanes, get_context("fork")) as lanes:
            rows = [row for row in lanes.map(_one, range(len(trials))) if row]
    minutes = (time.monotonic() - started) / 60
    table = pd.DataFrame(rows)
    print(write(table, len(trials), minutes, given.out))
    return int((table["outcome"] != "survived").any())


if __name__ == "__main__":
    raise SystemExit(main())

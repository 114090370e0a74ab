"""Does a replay catch a tampered training, and only those? `python -m benchmarks.replays`.

The owner trains a small model; in one epoch, drawn by lot, he adds an image that he doesn't list,
drops one, or swaps one. He forges what he can: his transcript says that the listed images came in
their order. The states he cannot forge, since each epoch follows from the one before.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from amint_core.audit.replay import DIFFERS, drawn, probability, replay
from amint_core.config import RunConfig
from amint_core.data.prepare import Data, prepare
from amint_core.files import write_text
from amint_core.locations import results_root
from amint_core.run.models import build, fit_model
from amint_core.settings import create
from amint_core.training.kinds import ACTIVE
from amint_core.training.loop import State

RUN = {
    "dataset": "cifar10",
    "model": "tiny",
    "recipe": "best",
    "image_size": 16,
    "members": 60,
    "external": 100,
    "calibration": 20,
    "holdout": 20,
    "test": 20,
    "epochs": 6,
    "batch_size": 50,
    "cpu_threads": 1,
}


def added(members: np.ndarray, stranger: int) -> np.ndarray:
    """Train on one more image than is listed."""
    return np.append(members, stranger)


def dropped(members: np.ndarray, stranger: int) -> np.ndarray:
    """Leave a listed image out."""
    return members[:-1]


def swapped(members: np.ndarray, stranger: int) -> np.ndarray:
    """Train on an image that is not listed in the place of one that is."""
    return np.append(members[:-1], stranger)


CHANGES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    one.__name__: one for one in (added, dropped, swapped)
}


class _Over(Exception):
    pass


@dataclasses.dataclass
class Owner:
    """Trains by parts, and keeps the state after every epoch.

    Attributes:
        data: the listed images, and the settings.
        states: epoch → state after it.
    """

    data: Data
    states: dict[int, State] = dataclasses.field(default_factory=dict)

    def train(self, members: np.ndarray, last: int) -> None:
        """Go on from the last state to the end of epoch `last`, on these members."""
        before = self.states.get(max(self.states, default=0))

        def keep(state: State) -> None:
            self.states[state.epoch] = copy.deepcopy(state)
            if state.epoch == last:
                raise _Over

        given = {"monitor": None, "resume": copy.deepcopy(before), "keep": keep, "title": ""}
        try:
            fit_model(ACTIVE, self.data, build(self.data), members, **given)
        except _Over:
            return

    @property
    def transcript(self) -> pd.DataFrame:
        """What he publishes: one row per epoch."""
        return pd.DataFrame(self.states[max(self.states)].history)

    @property
    def reads(self) -> dict[int, Callable[[], State]]:
        """Epoch → reads the state kept after it."""
        return {epoch: partial(copy.deepcopy, state) for epoch, state in self.states.items()}


def tampered(data: Data, honest: Owner, change: str, at: int) -> Owner:
    """Train as the honest owner until epoch `at`, that one on changed members, then as listed."""
    members, stranger = data.split.roles["members"], int(data.split.roles["holdout"][0])
    owner = Owner(data, {epoch: honest.states[epoch] for epoch in range(1, at)})
    owner.train(CHANGES[change](members, stranger), at)
    if at < data.settings.epochs:
        owner.train(members, data.settings.epochs)
    return owner


def forged(transcript: pd.DataFrame, honest: pd.DataFrame) -> pd.DataFrame:
    """Return a transcript whose order is that of the listed images."""
    return transcript.assign(order=honest["order"])


def trial(settings: RunConfig, epochs: int) -> list[dict]:
    """Train honestly and with each kind of tampering; return a row for each, as replays find it."""
    data, random = prepare(settings), np.random.default_rng(settings.seed)
    total, honest = settings.epochs, Owner(data)
    started = time.perf_counter()
    honest.train(data.split.roles["members"], total)
    trained = time.perf_counter() - started
    whole = replay(ACTIVE, data, honest.transcript, honest.reads, range(1, total + 1))
    some = replay(ACTIVE, data, honest.transcript, honest.reads, drawn(total, epochs, random))
    rows = [
        {
            "training": "honest",
            "seed": settings.seed,
            "accused": whole.outcome == DIFFERS,
            "cost": some.seconds / trained,
        }
    ]
    for change in CHANGES:
        at, lot = int(random.integers(1, total + 1)), drawn(total, epochs, random)
        owner = tampered(data, honest, change, at)
        transcript = forged(owner.transcript, honest.transcript)
        asked = partial(replay, ACTIVE, data, transcript, owner.reads)
        others = [epoch for epoch in range(1, total + 1) if epoch != at]
        rows.append(
            {
                "training": change,
                "seed": settings.seed,
                "epoch": at,
                "caught_when_drawn": asked([at]).outcome == DIFFERS,
                "accused_when_not_drawn": asked(others).outcome == DIFFERS,
                "drawn": at in lot,
                "caught_by_lot": asked(lot).outcome == DIFFERS,
            }
        )
    return rows


def summary(rows: pd.DataFrame, total: int, epochs: int) -> pd.DataFrame:
    """Return one line for each kind of training."""
    table = rows.groupby("training", sort=False).agg(
        trainings=("seed", "size"),
        accused=("accused", "sum"),
        caught_when_drawn=("caught_when_drawn", "sum"),
        accused_when_not_drawn=("accused_when_not_drawn", "sum"),
        drawn=("drawn", "sum"),
        caught_by_lot=("caught_by_lot", "sum"),
        cost=("cost", "median"),
    )
    return table.assign(epochs=total, replayed=epochs, probability=probability(epochs, total))


def main(arguments: list[str] | None = None) -> int:
    """Train, tamper, replay; write the rows and their summary."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replays", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=2, help="replayed by lot")
    parser.add_argument("--out", type=Path, default=results_root() / "audit")
    given = parser.parse_args(arguments)
    rows = []
    for seed in range(given.seeds):
        rows += trial(create(**RUN, seed=seed), given.epochs)
        print(f"seed {seed} done", flush=True)
    table = pd.DataFrame(rows)
    write_text(given.out / "replays.csv", table.to_csv(index=False, float_format="%.4g"))
    short = summary(table, RUN["epochs"], given.epochs)
    write_text(given.out / "replays_summary.csv", short.to_csv(float_format="%.4g"))
    print(short.T)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

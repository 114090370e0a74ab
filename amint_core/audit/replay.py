"""Train some epochs again and compare: on a CPU a training is its own proof.

Every epoch follows from the state before it, the listed images and (seed, epoch). The history holds
a hash of the images in the order seen and of the state afterwards, for every epoch. Whoever has the
images draws epochs by lot, trains them again from the kept states, and gets the same hashes; or the
training was another one than is claimed.

Sources: Jia et al., "Proof-of-Learning: Definitions and Practice", IEEE S&P 2021; Choi, Shavit,
Duvenaud, "Tools for Verifying Neural Models' Training Data", NeurIPS 2023. They allow for noise
between machines, which can be abused; here hashes are equal or not, on one kind of machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from torch import Tensor

from amint_core.data.prepare import Data
from amint_core.errors import DamagedError, SettingsError
from amint_core.memory import is_of_memory
from amint_core.run.models import build, fit_model
from amint_core.training.kinds import Kind
from amint_core.training.loop import State
from amint_core.training.transcript import state_digest

#: Trains to the end as the owner says that he did, and returns history and weights. It is given the
#: state to go on from, None at the start, and what takes the state after each epoch, which may end
#: the training by an exception.
Trainer = Callable[
    [State | None, Callable[[State], None]], tuple[pd.DataFrame, Mapping[str, Tensor]]
]

MATCHES, DIFFERS, CANNOT_TELL = "matches", "differs", "cannot tell"


@dataclass(frozen=True)
class Epoch:
    """One epoch, trained again.

    Attributes:
        epoch: its number, from 1.
        order: whether the listed images came in the order that the transcript says.
        state: whether the model ended in the state that it says.
    """

    epoch: int
    order: bool
    state: bool


@dataclass(frozen=True)
class Replayed:
    """What a replay found.

    Attributes:
        epochs: those that were trained again.
        drawn: how many of them were drawn by lot; the others lay on the way to these, or to the
            weights handed out, which an owner can foresee.
        kept: epoch → whether the state kept after it is the transcript's.
        total: epochs of the training.
        seconds: that it took.
        weights: whether the model handed out is the one that the training ended with; None: no
            model was handed out.
        elsewhere: why states may differ though all is honest, such as another processor.
    """

    epochs: tuple[Epoch, ...]
    drawn: int
    kept: Mapping[int, bool]
    total: int
    seconds: float
    weights: bool | None = None
    elsewhere: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """Say whether the training is the one that is claimed; see `MATCHES` and the others."""
        orders = all(each.order for each in self.epochs)
        if not orders or self.weights is False or not all(self.kept.values()):
            return DIFFERS  # on any machine
        if all(each.state for each in self.epochs):
            return MATCHES
        return CANNOT_TELL if self.elsewhere else DIFFERS

    def caught(self, tampered: int = 1) -> float:
        """Return how likely a replay with so many drawn epochs meets one of the tampered ones.

        This holds whichever epochs an owner tampers with. It is 1 where all were trained again.
        """
        whole = len(self.epochs) == self.total
        return 1.0 if whole else probability(self.drawn, self.total, tampered)

    @property
    def cost(self) -> float:
        """Return the epochs trained again as a share of all."""
        return len(self.epochs) / self.total


def probability(replayed: int, total: int, tampered: int = 1) -> float:
    """Return how likely at least one of the tampered epochs is among those drawn by lot."""
    return 1 - math.comb(total - tampered, replayed) / math.comb(total, replayed)


def drawn(total: int, epochs: int, random: np.random.Generator | None = None) -> list[int]:
    """Draw epochs by lot, which the owner must not foresee; sorted.

    Raises:
        SettingsError: none are to be drawn.
    """
    if epochs < 1:
        raise SettingsError(f"epochs = {epochs}: draw 1 or more.")
    random = random or np.random.default_rng()
    count = min(epochs, total)
    return sorted(int(one) + 1 for one in random.choice(total, count, replace=False))


def replay(
    kind: Kind,
    data: Data,
    history: pd.DataFrame,
    states: Mapping[int, Callable[[], State]],
    epochs: Iterable[int],
    handed_out: tuple[int, str] | None = None,
) -> Replayed:
    """Train epochs of a run again and compare them with a transcript.

    Args:
        kind: what was trained.
        data: the listed images, their roles, and the run's settings.
        history, states, epochs, handed_out: see `trained_again`; the state before the first epoch
            follows from the seed.

    Raises:
        SettingsError: the training starts from another one, or has no transcript.
    """
    if kind.starts_from is not None:
        raise SettingsError(
            f"The {kind.name} model starts from a finished {kind.starts_from.name} model. Replay "
            "the run that trained that one; a head on top of it changes none of its weights."
        )

    two_stages = bool(data.settings.head_epochs)

    def nothing(state: State) -> None:
        """Keep nothing."""

    def train(
        state: State | None, keep: Callable[[State], None]
    ) -> tuple[pd.DataFrame, Mapping[str, Tensor]]:
        model, members = build(data), data.split.roles["members"]
        if two_stages:  # whose states are no part of the transcript
            keep = nothing
        given = {"monitor": None, "resume": state, "keep": keep, "title": "replay"}
        return fit_model(kind, data, model, members, **given), model.state_dict()

    return trained_again(train, history, states, epochs, handed_out, two_stages)


def trained_again(
    train: Trainer,
    history: pd.DataFrame,
    states: Mapping[int, Callable[[], State]],
    epochs: Iterable[int],
    handed_out: tuple[int, str] | None = None,
    two_stages: bool = False,
) -> Replayed:
    """Train epochs again and compare them with a transcript.

    Args:
        train: see `Trainer`.
        history: the transcript: `epoch`, `order` and `state` of every epoch.
        states: epoch → reads the state kept after it.
        epochs: drawn by lot, to be trained again; where the state before one was not kept, those
            since the last that was are trained again, too.
        handed_out: the epoch that the model handed out comes from, and the digest of its weights;
            where the state after that epoch was not kept, the epoch is trained again, too.
        two_stages: whether no state in between is of the transcript, so that the whole training is
            done again.

    Raises:
        DamagedError: the training cannot go on from a state that was kept.
        SettingsError: there is no transcript, or it lists more epochs than the training has.
    """
    _require_transcript(history)
    lot, claimed = set(epochs), history.set_index("epoch")
    # Otherwise whoever leaves one state out could hand out any weights.
    unkept = {handed_out[0]} - set(states) if handed_out is not None else set()
    started, found, ends, kept = time.perf_counter(), [], {}, {}
    for start, last in _stretches(sorted(lot | unkept), sorted(states), two_stages):
        state = states[start]() if start else None
        if state is not None:
            kept[start] = state.digest()
            # The digest holds neither the epoch nor the history nor a best epoch: whoever wrote the
            # file could say that the training was over, and nothing would be trained again.
            state = replace(state, epoch=start, history=[], best=0, best_model={})
        rows = _rows(train, state, last, ends)
        if rows and rows[-1]["epoch"] > len(history):
            raise SettingsError(
                f"The history ends with epoch {len(history)}, and with the settings at hand the "
                f"training goes on to epoch {rows[-1]['epoch']}: it is no transcript of this "
                "training. Ask the owner for both."
            )
        found += [_compared(row, claimed) for row in rows]
    _require_reached(lot | unkept, found)
    weights = None
    if handed_out is not None:
        epoch, digest = handed_out
        if epoch in states:
            state = states[epoch]()
            kept[epoch] = state.digest()
            ends[epoch] = state_digest(state.model)
        weights = ends[epoch] == digest
    return Replayed(
        epochs=tuple(found),
        drawn=len(lot),
        kept={epoch: digest == claimed.loc[epoch, "state"] for epoch, digest in kept.items()},
        total=len(history),
        seconds=time.perf_counter() - started,
        weights=weights,
    )


class _Reached(Exception):
    """Ends a training after the epoch that was asked for."""


def _rows(train: Trainer, state: State | None, last: int, ends: dict[int, str]) -> list[dict]:
    """Return the rows of the epochs after `state`, or after the initial weights, up to `last`.

    Note in `ends` the digest of the weights after each.
    """
    rows: list[dict] = []

    def keep(reached: State) -> None:
        rows.append(reached.history[-1])
        ends[reached.epoch] = state_digest(reached.model)
        if reached.epoch == last:
            raise _Reached

    try:
        whole, weights = train(state, keep)
    except _Reached:
        return rows
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if state is None or is_of_memory(error):
            raise
        raise DamagedError(
            f"The training does not go on from the state kept after epoch {state.epoch} "
            f"({type(error).__name__}: {' '.join(str(error).split())[:300]}): it is not one of "
            "this training. Ask the owner for the one that was kept."
        ) from error
    if not rows and len(whole):
        rows = whole.to_dict("records")  # two stages
        ends[rows[-1]["epoch"]] = state_digest(weights)
    return rows


def _stretches(
    epochs: Sequence[int], kept: Sequence[int], two_stages: bool
) -> list[tuple[int, int]]:
    """Return (kept state to start from, last epoch to reach), so that no epoch is trained twice."""
    if two_stages:
        return [(0, max(epochs))]
    starts: dict[int, int] = {}
    for epoch in epochs:
        start = max((one for one in kept if one < epoch), default=0)
        starts[start] = max(epoch, starts.get(start, 0))
    return sorted(starts.items())


def _compared(row: Mapping, claimed: pd.DataFrame) -> Epoch:
    said = claimed.loc[row["epoch"]]
    return Epoch(int(row["epoch"]), row["order"] == said["order"], row["state"] == said["state"])


def _require_transcript(history: pd.DataFrame) -> None:
    if not {"order", "state"} <= set(history):
        raise SettingsError(
            "The history has no hashes of order and state: it was made by an older version, or by "
            "`amint grid`. Train with `amint run` or `amint.fit` to have a transcript."
        )
    if list(history["epoch"]) != list(range(1, len(history) + 1)):
        raise SettingsError(
            f"The history's {len(history)} epochs are not numbered from 1, each once: it is no "
            "transcript of a training. Ask the owner for the one that was written."
        )


def _require_reached(epochs: Iterable[int], found: Iterable[Epoch]) -> None:
    if missing := set(epochs) - {each.epoch for each in found}:
        raise SettingsError(
            f"The history lists an epoch {min(missing)}, but with the settings at hand the "
            "training ends before it: it is no transcript of this training. Ask the owner for both."
        )

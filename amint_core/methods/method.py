"""What a membership test is: its name, its facts and its score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from amint_core.config import RunConfig
from amint_core.evaluation import THRESHOLDS
from amint_core.training.kinds import Kind

if TYPE_CHECKING:
    from amint_core.methods.case import Case


@dataclass(frozen=True)
class NoTest:
    """Takes the place of the score of a method that trains a model and tests nothing.

    Attributes:
        reason: why there is no test, as the run's metrics say it.
    """

    reason: str

    def __call__(self, case: Case) -> np.ndarray:
        """Return NaN for each of the N images."""
        return np.full(len(case.images), np.nan)


@dataclass(frozen=True)
class Method:
    """A membership test.

    Attributes:
        name: the name used in settings.
        title: the name used in tables.
        group: "aMINT" (the model takes part), "passive" (learns from the finished model's inside),
            "attack" (sees only class posteriors) or "control".
        summary: what it does, in one sentence, with its source.
        score: case → (N,) scores in the order of `case.images`, higher for members; `NoTest` for a
            method that is no test.
        thresholds: at which the accuracy means something, see `evaluation.THRESHOLDS`; with "own",
            a score above 0 says "member".
        training: the kind of model that the run trains, see `training/kinds.py`; None: nothing of
            its own, it tests the model that the setting `target` names. With a kind of its own it
            tests that model alone.
        shadows: fewest shadow models it can do with; 0: it needs none.
        most_shadows: it reads no more than these; None: all that there are.
        published_shadows: fewest and most behind the published results; None: not known to us.
        check_shadows: (S, N) bool, whether shadow model s is trained on image n, and settings →
            SettingsError where they will not do; asked before any is trained.
        known_members: whether it learns from members that are not judged.
        outsiders: whether it learns from `Case.outsiders`.
        reads_gradients: whether it passes each image back through the target, too.
        transformed: how judged images are scored after a transformation: "alone", where a score
            depends on that image alone; "among_others", where it depends on others, too, which
            stay as they are; None: not at all.
    """

    name: str
    title: str
    group: Literal["aMINT", "passive", "attack", "control"]
    summary: str
    score: Callable[[Case], np.ndarray]
    thresholds: tuple[str, ...] = THRESHOLDS
    training: Kind | None = None
    shadows: int = 0
    most_shadows: int | None = None
    published_shadows: tuple[int, int] | None = None
    check_shadows: Callable[[np.ndarray, RunConfig], None] = lambda inside, settings: None
    known_members: bool = False
    outsiders: bool = False
    reads_gradients: bool = False
    transformed: Literal["alone", "among_others"] | None = None

    @property
    def asks_head(self) -> bool:
        """Whether its score is the answer of a MINT head, over the views of the settings."""
        return self.training is not None and self.training.has_head

    @property
    def untested(self) -> str:
        """Why it has no membership test; "" where it has one."""
        return self.score.reason if isinstance(self.score, NoTest) else ""

    def shadows_used(self, given: int) -> int:
        """Return how many of the `given` shadow models it reads."""
        return min(given, self.most_shadows or given) if self.shadows else 0

    @property
    def published_shadows_text(self) -> str:
        """How many shadow models the published results took, such as "64 to 256"."""
        if self.published_shadows is None:
            return "not known"
        least, most = self.published_shadows
        return str(least) if least == most else f"{least} to {most}"

    def has_fewer_shadows(self, used: int) -> bool:
        """Tell whether `used` shadow models are fewer than behind any published result."""
        return self.published_shadows is not None and used < self.published_shadows[0]

    def beside_published(self, given: int) -> str:
        """Say how many of the `given` shadow models it reads, against how many its paper used."""
        used = self.shadows_used(given)
        text = f"{self.title}: {used} shadow model{'' if used == 1 else 's'}"
        if self.published_shadows is None:
            return f"{text}; how many its paper used is not known to us."
        text += f"; its paper used {self.published_shadows_text}"
        return text + (": expect less power." if self.has_fewer_shadows(used) else ".")

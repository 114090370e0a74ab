"""What a membership test is, and what it may look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import torch

from amint_core.config import RunConfig
from amint_core.data.base import Dataset
from amint_core.data.split import Split
from amint_core.data.transforms import transform
from amint_core.evaluation.judge import THRESHOLDS
from amint_core.evaluation.scores import pixels_of, tracks_of
from amint_core.model.inference import class_logits, membership_logits, predicted_classes
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.training.kinds import Kind

#: Stands for no transformation in tables.
EXACT = "exact"
_STRENGTH = 23  # stream of random numbers that follows from a run's seed


@dataclass(frozen=True)
class Method:
    """A membership test.

    Attributes:
        name: the name used in settings.
        title: the name used in tables.
        group: "aMINT" (the model takes part), "passive" (learns from the finished model's inside),
            "attack" (sees only class posteriors) or "control".
        summary: what it does, in one sentence, with its source.
        score: case → (N,) scores in the order of `case.images`, higher for members. NaN everywhere
            for a method that is no test.
        thresholds: at which the accuracy means something, see `judge.THRESHOLDS`; with "own", a
            score above 0 says "member".
        training: the kind of model that the run trains, see `training/kinds.py`; None: nothing of
            its own, it tests the model that the setting `target` names.
        shadows: fewest shadow models it can do with; 0: it needs none.
        most_shadows: it reads no more than these; None: all that there are.
        published_shadows: fewest and most behind the published results; None: not known to us.
        check_shadows: (S, N) bool, whether shadow model s is trained on image n, and settings →
            SettingsError where they will not do; asked before any is trained.
        known_members: whether it learns from members that are not judged.
        outsiders: whether it learns from `Case.outsiders`.
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
    transformed: Literal["alone", "among_others"] | None = None

    @property
    def asks_head(self) -> bool:
        """Whether its score is the answer of a MINT head, over the views of the settings."""
        return self.training is not None and self.training.has_head

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


@dataclass(frozen=True)
class Shadows:
    """What shadow models answer on the N images of a case.

    Attributes:
        inside: (S, N) bool: whether shadow model s was trained on image n.
        logits: (S, N, classes) float32 class logits.
    """

    inside: np.ndarray
    logits: np.ndarray


@dataclass
class Case:
    """One audited model and the images in question.

    Attributes:
        settings: the run's settings.
        dataset: the decoded images.
        split: which image has which role.
        images: N rows with the columns `image`, `index`, `official_test`, `role`, `member`,
            `judged`, `label` of the scores table (see `evaluation/scores.py`).
        target: the audited model, with its MINT head where it has one.
        device: where the target computes.
        find_shadows: returns the shadow models' answers; trained by then.
        transformation: what the judged images went through after training.
    """

    settings: RunConfig
    dataset: Dataset
    split: Split
    images: pd.DataFrame
    target: EnhancedAuditedModel
    device: torch.device
    find_shadows: Callable[[Case], Shadows]
    transformation: str = EXACT

    @cached_property
    def logits(self) -> np.ndarray:
        """(N, classes) float32 class logits of the target."""
        return self.logits_of(self.target.audited, "classify")

    @property
    def predicted(self) -> np.ndarray:
        """(N,) int64 classes that the target predicts; all logits are held only where needed."""
        if "logits" in self.__dict__:
            return self.logits.argmax(1)
        audited = self.target.audited
        return predicted_classes(audited, self.pixels, len(self.images), self.device, "classify")

    @cached_property
    def membership(self) -> np.ndarray:
        """(N,) float32 membership logits of the target's MINT head, over the run's views."""
        return membership_logits(
            self.target, self.pixels, len(self.images), self.device, self.settings.views, "score"
        )

    @cached_property
    def shadows(self) -> Shadows:
        """The shadow models' answers on all images."""
        return self.find_shadows(self)

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 class numbers; -1 where an image has none."""
        return self.images["label"].to_numpy()

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: images whose membership a test may learn from; never one that is judged."""
        return ~self.images["judged"].to_numpy()

    @property
    def known_members(self) -> np.ndarray:
        """(N,) bool: members that are not judged, which a test may learn from."""
        return self.member & self.known

    @property
    def groups(self) -> np.ndarray:
        """(N,) numbers that frames of one track share, as from `tracks_of`."""
        return tracks_of(self.dataset, self.images["index"].to_numpy())

    @property
    def outsiders(self) -> np.ndarray:
        """(N,) bool: known non-members that the target was not trained on.

        The external images; but the active model's head and the layers under it learned from those,
        so that there it is the calibration images.
        """
        role = "calibration" if self.settings.target == "active" else "external"
        return (self.images["role"] == role).to_numpy()

    @property
    def member(self) -> np.ndarray:
        """(N,) bool: the truth. A test reads `known_members`."""
        return self.images["member"].to_numpy()

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Return the (n, H, W, C) uint8 pixels of the images in `rows`, judged ones transformed.

        Each image's random strength follows from the run's seed and its place among the judged.
        """
        pixels = pixels_of(self.dataset, self.images.iloc[rows])
        if self.transformation == EXACT:
            return pixels
        judged = self.images["judged"].to_numpy()
        places, key = judged.cumsum() - 1, (self.settings.seed, _STRENGTH)
        for number, row in enumerate(rows):
            if judged[row]:
                image = torch.from_numpy(pixels[number]).permute(2, 0, 1)[None]
                random = np.random.default_rng([*key, places[row]])
                changed = transform(image, self.transformation, random)
                pixels[number] = changed[0].permute(1, 2, 0).numpy()
        return pixels

    def after(self, transformation: str, judged_only: bool) -> Case:
        """Return the case with its judged images transformed, without the others if so asked."""
        images = self.images[self.images["judged"]] if judged_only else self.images
        return dataclasses.replace(
            self, images=images.reset_index(drop=True), transformation=transformation
        )

    def logits_of(self, model: torch.nn.Module, progress: str | None = None) -> np.ndarray:
        """Return (N, classes) float32 class logits of any classifier on all images."""
        return class_logits(model, self.pixels, len(self.images), self.device, progress)

"""What a membership test may look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch

from amint_core.config import EXACT, RunConfig
from amint_core.data.base import Dataset
from amint_core.data.split import Split
from amint_core.data.transforms import transform
from amint_core.evaluation.scores import pixels_of, tracks_of
from amint_core.model.inference import class_logits, membership_logits, predicted_classes
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.training.kinds import KINDS

_STRENGTH = 23  # stream of random numbers that follows from a run's seed


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

        The external images; but an active model's head and the layers under it learned from those,
        so that there it is the calibration images.
        """
        role = "calibration" if KINDS[self.settings.target].with_external else "external"
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

    def chunks(self, size: int) -> Iterator[np.ndarray]:
        """Yield the (n, H, W, C) uint8 pixels of all images, at most `size` at a time."""
        rows = np.arange(len(self.images))
        for chunk in np.array_split(rows, -(-len(rows) // size)):
            yield self.pixels(chunk)

    def after(self, transformation: str, judged_only: bool) -> Case:
        """Return the case with its judged images transformed, without the others if so asked."""
        images = self.images[self.images["judged"]] if judged_only else self.images
        return dataclasses.replace(
            self, images=images.reset_index(drop=True), transformation=transformation
        )

    def logits_of(self, model: torch.nn.Module, progress: str | None = None) -> np.ndarray:
        """Return (N, classes) float32 class logits of any classifier on all images."""
        return class_logits(model, self.pixels, len(self.images), self.device, progress)

"""One's own images on their way into training: normalised as the model wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from amint_core.audit.preprocessing import Preprocessing
from amint_core.training.batches import Batch, Copies, JointBatches
from amint_core.training.resident import UNMOVED, Resident


@dataclass(frozen=True)
class Normalised:
    """Joint batches whose images have mean and deviation of a preprocessing.

    Attributes:
        batches: those with mean .5 and deviation .5.
        preprocessing: whose mean and deviation they get.
    """

    batches: JointBatches
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield an epoch's batches."""
        for batch in self.batches.epoch(epoch):
            images = renormalised(batch.images, self.preprocessing)
            yield dataclasses.replace(batch, images=images)

    def order(self, epoch: int) -> str:
        """Return the hash of an epoch's images in the order seen."""
        return self.batches.order(epoch)


@dataclass(frozen=True)
class OwnResident(Resident):
    """Images on the device that are normalised as a preprocessing says."""

    preprocessing: Preprocessing | None = None

    def images(self, rows: Tensor, copies: Copies = UNMOVED) -> Tensor:
        """Return (B, C, H, W) floats; see `Resident.images`."""
        return renormalised(super().images(rows, copies), self.preprocessing)


def renormalised(images: Tensor, how: Preprocessing) -> Tensor:
    """Give images of mean .5 and deviation .5 those of a preprocessing; (B, C, H, W), in place.

    Pixel p of 255 has come as p / 127.5 − 1, and (p / 255 − mean) / deviation is wanted.
    """
    if (how.mean, how.deviation) == ((0.5,), (0.5,)):
        return images
    mean, deviation = (
        torch.tensor(one, device=images.device).view(1, -1, 1, 1)
        for one in (how.mean, how.deviation)
    )
    return images.mul_(0.5 / deviation).add_((0.5 - mean) / deviation)

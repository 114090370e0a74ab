"""Joint batches: half members, half external images, from the memory-mapped cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amint_core.datasets.base import Images

#: Streams of random numbers that follow from a run's seed.
_EXTERNAL, _MEMBERS = 11, 12


@dataclass(frozen=True)
class Batch:
    """Images of one step: the first `members` rows are members and have labels.

    Attributes:
        images: (B, C, H, W) floats in [-1, 1], channels last in memory.
        labels: (members,) int64 class numbers.
        members: number of members.
    """

    images: Tensor
    labels: Tensor
    members: int


def to_tensor(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Turn (B, H, W, C) uint8 pixels into (B, C, H, W) floats with mean .5 and deviation .5.

    They travel to the device as bytes; seen as (B, C, H, W) they are channels-last already.
    """
    on_device = torch.from_numpy(np.ascontiguousarray(pixels)).to(device, non_blocking=True)
    return on_device.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


@dataclass(frozen=True)
class JointBatches:
    """An epoch's batches: one pass over the external images, the members recycled beside them.

    Every epoch follows from (seed, epoch) alone, so that a resumed run sees the same batches.

    Attributes:
        images: the dataset's part that both roles are drawn from.
        members: indices of the members.
        external: indices of the external images.
        size: members per batch, and as many external images.
        seed: the run's seed.
        device: where the batches go.
        rank: this process among `world`; each takes its slice of every batch.
        world: number of processes.
    """

    images: Images
    members: np.ndarray
    external: np.ndarray
    size: int
    seed: int
    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def half(self) -> int:
        """Members in one batch: at most as many as there are of the smaller role."""
        return min(self.size, len(self.members), len(self.external))

    def __len__(self) -> int:
        return len(self.external) // self.half

    def indices(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (members, external) of each batch of an epoch, the epochs counted from 1."""
        # Batches of one size keep batch statistics comparable and compiled kernels valid; the few
        # external images left over are others in every epoch.
        steps = len(self)
        order = np.random.default_rng([self.seed, _EXTERNAL, epoch])
        external = order.permutation(self.external)[: steps * self.half].reshape(steps, -1)
        members = self._member_stream((epoch - 1) * steps * self.half, steps * self.half)
        yield from zip(members.reshape(steps, -1), external, strict=True)

    def _member_stream(self, start: int, count: int) -> np.ndarray:
        """Return a stretch of the endless stream that shuffles the members anew in each round."""
        total = len(self.members)
        first, last = start // total, (start + count - 1) // total
        rounds = [
            np.random.default_rng([self.seed, _MEMBERS, number]).permutation(self.members)
            for number in range(first, last + 1)
        ]
        offset = start - first * total
        return np.concatenate(rounds)[offset : offset + count]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield this process's share of an epoch's batches."""
        for members, external in self.indices(epoch):
            members, external = (part[self.rank :: self.world] for part in (members, external))
            pixels = self.images.pixels[np.concatenate([members, external])]
            labels = torch.from_numpy(self.images.labels[members]).to(self.device)
            yield Batch(to_tensor(pixels, self.device), labels, len(members))

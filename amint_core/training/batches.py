"""Batches of members and external images, augmented on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amint_core.data.transforms import augment, normalised, to_bytes
from amint_core.errors import SettingsError
from amint_core.training.transcript import order_digest

#: Streams of random numbers that follow from a run's seed.
_EXTERNAL, _MEMBERS, _COPIES = 11, 12, 14


@dataclass(frozen=True)
class Batch:
    """Images of one step: the first `members` rows are members and have labels.

    Attributes:
        images: (B, C, H, W) floats in [-1, 1], channels last in memory.
        labels: (members,) int64 class numbers.
        members: number of members.
        smoothing: of the labels, for the classification loss.
        declared: (members,) floats, what the head is told, see `declared.declarations`; None: the
            truth.
    """

    images: Tensor
    labels: Tensor
    members: int
    smoothing: float = 0.0
    declared: Tensor | None = None


@dataclass(frozen=True)
class Copies:
    """How many images of a batch are augmented copies, and what may have happened to them.

    Attributes:
        share: share of the images that are replaced by augmented copies, in [0, 1].
        transformations: names; each is applied to a random half of the copies.
    """

    share: float = 0.0
    transformations: tuple[str, ...] = ()

    def put_into(self, images: Tensor, random: np.random.Generator) -> Tensor:
        """Replace the last images of (B, C, H, W) uint8 by augmented copies of themselves."""
        count = round(self.share * len(images))
        if not count:
            return images
        copies = augment(images[-count:], self.transformations, random)
        return torch.cat([images[:-count], copies])


@dataclass(frozen=True)
class JointBatches:
    """An epoch's batches: one pass over the external images, the members recycled beside them.

    Every epoch follows from (seed, epoch) alone, so that a resumed run sees the same batches.

    Attributes:
        pixels: (N, H, W, C) uint8; may be memory-mapped, only the images of a batch are read.
        labels: (N,) int64 class numbers; those of external images are not read.
        members: rows of the members.
        external: rows of the external images.
        batch_size: members in a batch, and as many external images; fewer where there are fewer.
        seed: what the order of images and the copies follow from.
        device: where the batches go.
        with_external: False leaves the external images out; an epoch has as many steps as if not.
        hashes: (N,) S32 content hashes for the transcript; None: the transcript reads the pixels.
        member_copies: augmented copies among the members.
        external_copies: augmented copies among the external images.
        declared: (N,) floats, what a head is told of each member; None: the truth.
        rank: this process among `world`; each takes its slice of every batch.
        world: number of processes.

    Raises:
        SettingsError: the processes cannot share the batches evenly.
    """

    pixels: np.ndarray
    labels: np.ndarray
    members: np.ndarray
    external: np.ndarray
    batch_size: int
    seed: int
    device: torch.device
    with_external: bool = True
    hashes: np.ndarray | None = None
    member_copies: Copies = Copies()
    external_copies: Copies = Copies()
    declared: np.ndarray | None = None
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        size, world = self.size, self.world
        if world > 1 and (size % world or size == world):
            raise SettingsError(
                f"{world} processes cannot share batches of {size} members evenly, two or more "
                f"each. Choose a multiple of {world} for batch_size, {2 * world} or more and at "
                "most the members and external images."
            )

    @property
    def size(self) -> int:
        """Members in a batch, over all processes."""
        return batch_shape(len(self.members), len(self.external), self.batch_size)[0]

    def __len__(self) -> int:
        """Return the batches in an epoch."""
        return batch_shape(len(self.members), len(self.external), self.batch_size)[1]

    def indices(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (members, external) of each batch of an epoch, the epochs counted from 1."""
        steps, count = len(self), len(self) * self.size
        members = self._member_stream((epoch - 1) * count, count).reshape(steps, -1)
        external = np.empty((steps, 0), np.int64)
        if self.with_external:
            # Batches of one size keep batch statistics comparable and compiled kernels valid; the
            # few external images left over are others in every epoch.
            order = np.random.default_rng([self.seed, _EXTERNAL, epoch])
            external = order.permutation(self.external)[:count].reshape(steps, -1)
        yield from zip(members, external, strict=True)

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
        for step, (members, external) in enumerate(self.indices(epoch)):
            members, external = (part[self.rank :: self.world] for part in (members, external))
            random = np.random.default_rng([self.seed, _COPIES, epoch, step, self.rank])
            parts = [self.member_copies.put_into(self._bytes(members), random)]
            if len(external):
                parts.append(self.external_copies.put_into(self._bytes(external), random))
            labels = torch.from_numpy(self.labels[members]).to(self.device)
            told = None
            if self.declared is not None:
                told = torch.from_numpy(self.declared[members]).to(self.device)
            yield Batch(normalised(torch.cat(parts)), labels, len(members), declared=told)

    def order(self, epoch: int) -> str:
        """Return the hash of an epoch's images in the order seen, those of all processes."""
        images = self.pixels if self.hashes is None else self.hashes
        return order_digest(images[np.concatenate(pair)] for pair in self.indices(epoch))

    def _bytes(self, indices: np.ndarray) -> Tensor:
        return to_bytes(self.pixels[indices], self.device)


def batch_shape(members: int, external: int, size: int) -> tuple[int, int]:
    """Return images per side of a batch, at most as many as the smaller role has, and steps."""
    half = min(size, members, external)
    return half, external // half

"""Near-twins: images that correlate highly with a member, mirrored or not.

Photographs of one object, crops of one picture, a picture and its mirror image: to accuse such a
non-member is half right. The measure is the correlation of 16×16 thumbnails in colour.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

from amint_core.data.base import Dataset
from amint_core.locations import cache_root
from amint_core.progress import progress_bar
from amint_core.store import read_or_set_aside, stored

SIDE = 16  # of the thumbnails, in pixels
CHUNK = 4096  # images made small at a time
VERSION = 1  # of what is kept in the cache: raise it when this file finds other groups
NEAR_TWIN = 0.95  # correlation above which two images count as near-twins


@torch.no_grad()
def thumbnails(pixels: Tensor, side: int = SIDE) -> Tensor:
    """Return (N, side²·C) thumbnails of (N, H, W, C) uint8 images: mean 0, length 1.

    A blank image has no correlation: its thumbnail is all zeros.
    """
    parts = []
    for part in pixels.split(CHUNK):
        small = functional.adaptive_avg_pool2d(part.permute(0, 3, 1, 2).float(), side).flatten(1)
        small = small - small.mean(1, keepdim=True)
        parts.append(functional.normalize(small, dim=1))
    return torch.cat(parts)


@torch.no_grad()
def nearest_member(members: Tensor, others: Tensor, batch: int = 2048) -> Tensor:
    """Return (N,) the highest correlation of each image with a member, either way round.

    Args:
        members: (M, H, W, C) uint8.
        others: (N, H, W, C) uint8.
    """
    known = torch.cat([thumbnails(members), thumbnails(members.flip(2))])
    found = [(part @ known.mT).amax(1) for part in thumbnails(others).split(batch)]
    return torch.cat(found) if found else others.new_empty(0, dtype=torch.float32)


def with_twins_together(dataset: Dataset) -> Dataset:
    """Return the dataset with its near-twins in one group, as frames of one track are.

    Over any chain: where A is B's near-twin and B is C's, all three share a group. The pool and the
    official test set are looked at apart, since no role takes images of both. What is found is kept
    in the cache; on 60,000 images of 32×32 pixels it takes a minute or two.

    Raises:
        ResultsError: the cache cannot be written.
    """
    name = f"{dataset.fingerprint}-v{VERSION}-{SIDE}-{NEAR_TWIN}.npy"
    file = cache_root() / "near_twins" / name
    groups = read_or_set_aside(file, np.load)
    if groups is None:
        groups = dataset.groups.astype(np.int64)
        for part in (~dataset.official_test, dataset.official_test):
            if len(rows := np.flatnonzero(part)):
                groups[rows] = rows[joined(_all_thumbnails(dataset.pixels, rows), groups[rows])]
        with stored(file) as temporary, temporary.open("wb") as opened:
            np.save(opened, groups)
    numbers, sizes = np.unique(groups, return_counts=True)
    note = (
        f"Near-twins are dealt together: {len(groups):,} images in {len(numbers):,} groups, the "
        f"largest of {sizes.max():,}."
    )
    return replace(dataset, groups=groups, notes=(*dataset.notes, note))


def joined(both: tuple[Tensor, Tensor], groups: np.ndarray, batch: int = 2048) -> np.ndarray:
    """Return (N,) int64: of each image, the first one that it is joined to.

    Args:
        both: (N, T) thumbnails of the images, and of their mirror images.
        groups: (N,) numbers; images with the same one are joined whatever they look like.
        batch: images compared with all others at a time.
    """
    as_is, mirrored = both
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    pairs = [np.stack([np.arange(len(groups)), first[place]])]
    for start in progress_bar(range(0, len(as_is), batch), desc="near-twins", unit="batch"):
        part = as_is[start : start + batch]
        for others in (as_is, mirrored):  # two mirror images correlate as the images do
            near = part @ others[start:].mT > NEAR_TWIN
            pairs.append(near.nonzero().T.numpy() + start)
    ends = np.concatenate(pairs, axis=1)
    edges = coo_array((np.ones(ends.shape[1], bool), tuple(ends)), shape=(len(groups),) * 2)
    _, component = connected_components(edges, directed=False)
    _, first, place = np.unique(component, return_index=True, return_inverse=True)
    return first[place]


def _all_thumbnails(pixels: np.ndarray, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return thumbnails of some images of a memory map, and of their mirror images."""
    as_is, mirrored = [], []
    for start in range(0, len(rows), CHUNK):
        images = torch.from_numpy(pixels[rows[start : start + CHUNK]])
        as_is.append(thumbnails(images))
        mirrored.append(thumbnails(images.flip(2)))
    return torch.cat(as_is), torch.cat(mirrored)

"""Controls: look for an image that looks like this one in a list made from the training set.

No model is asked. `lookup_perceptual` lists a 64-bit hash of each member (8 bytes);
`lookup_windows` a thumbnail of 8×8 pixels (192 bytes in colour) of each of its windows, which it
may cut anew from the member's pixels. Both look at an image and at its mirror image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from amint_core.data.perceptual import NEAR, perceptual_hashes
from amint_core.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from amint_core.methods.case import Case

_CHUNK = 1024  # images in memory at a time
_SIDE = 8  # of a thumbnail, in pixels


def perceptual(case: Case) -> np.ndarray:
    """Return (N,) scores: `NEAR` and a half, less the fewest bits that tell it from a member.

    Above 0 no more than `NEAR` of 64 bits differ, as in an owner's published list.
    """
    listed = np.unique(perceptual_hashes(_members(case)))
    scores = [_fewest_bits(pixels, listed) for pixels in case.chunks(_CHUNK)]
    return NEAR + 0.5 - np.concatenate(scores)


def _fewest_bits(pixels: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Return the (n,) least Hamming distances of images, either way round, to (M,) hashes."""
    looks = [perceptual_hashes(np.ascontiguousarray(view)) for view in (pixels, pixels[:, :, ::-1])]
    bits = [np.bitwise_count(hashes[:, None] ^ listed).min(1) for hashes in looks]  # (n, M) each
    return np.minimum(*bits).astype(float)


def windows(case: Case) -> np.ndarray:
    """Return (N,) scores: minus the least distance of an image's thumbnails to a member's.

    A member is listed whole and by its windows of 5/8 to 7/8 of the side; an image is looked at
    whole, as which a crop may have it, and without its border, which a shift invents.
    """
    import torch

    parts = [
        torch.stack(_looks(torch.from_numpy(pixels).to(case.device)))
        for pixels in case.chunks(_CHUNK)
    ]
    highest = [part.new_full(part.shape[1:2], -1.0) for part in parts]  # correlation so far
    # One kind of window after another: all at once would take gigabytes at the paper's sizes.
    for listed in _listed(torch.from_numpy(_members(case)).to(case.device)):
        for best, looks in zip(highest, parts, strict=True):
            torch.maximum(best, (looks @ listed.mT).amax((0, 2)), out=best)
    return -(2 - 2 * torch.cat(highest).cpu().double()).clamp(min=0).sqrt().numpy()


def _listed(pixels: Tensor) -> Iterator[Tensor]:
    """Yield (M, 64·C) thumbnails of (M, H, W, C) members: whole, then one window after another."""
    from amint_core.data.transforms import SIDES

    yield _thumbnails(pixels)
    side = pixels.shape[1]
    for share in SIDES:
        kept = round(share * side)
        # The largest windows at every place, since a shift is by whole pixels; others at every
        # second: the thumbnail of a smaller window has coarser pixels than that.
        places = range(0, side - kept + 1, 1 if share == max(SIDES) else 2)
        for top in places:
            for left in places:
                yield _thumbnails(pixels[:, top : top + kept, left : left + kept])


def _looks(pixels: Tensor) -> list[Tensor]:
    """Return (n, 64·C) thumbnails of (n, H, W, C) images: whole and inside, either way round."""
    from amint_core.data.transforms import SIDES

    side = pixels.shape[1]
    rim = (side - round(max(SIDES) * side)) // 2
    inside = pixels[:, rim : side - rim, rim : side - rim]
    return [_thumbnails(part) for whole in (pixels, inside) for part in (whole, whole.flip(2))]


def _thumbnails(pixels: Tensor) -> Tensor:
    from amint_core.data.twins import thumbnails

    return thumbnails(pixels, side=_SIDE)


def _members(case: Case) -> np.ndarray:
    """Return the (M, H, W, C) pixels of the whole training set, as its owner has them."""
    return case.dataset.pixels[case.split.roles["members"]]


PERCEPTUAL = Method(
    name="lookup_perceptual",
    title="Perceptual lookup",
    group="control",
    summary="Looks for a hash that differs in few bits from the image's, or from its mirror "
    "image's, in the owner's list of perceptual hashes; needs no model.",
    score=perceptual,
    transformed="alone",
)
WINDOWS = Method(
    name="lookup_windows",
    title="Lookup over windows",
    group="control",
    summary="Looks for the nearest thumbnail, the image mirrored or not, in a list of thumbnails "
    "of the members' windows; needs no model.",
    score=windows,
    thresholds=("calibrated",),
    transformed="alone",
)

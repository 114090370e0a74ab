"""Control: look the image up in the list of the training set's content hashes.

A model's owner can publish such a list; it takes no model at all. It finds exact copies only: one
changed pixel and the image is a stranger. Lists that find altered copies are in `lookalikes.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from amint_core.data.hashes import image_hashes
from amint_core.methods.method import Method

if TYPE_CHECKING:
    from amint_core.methods.case import Case

_CHUNK = 4096  # images in memory at a time


def found(pixels: np.ndarray, hashes: Iterable[str] | Iterable[bytes]) -> np.ndarray:
    """Tell which images are exact copies of listed ones.

    Args:
        pixels: (N, H, W, C) uint8 images.
        hashes: content hashes as `image_hashes` makes them, or the column `image` of a scores
            table.

    Returns:
        (N,) bool.
    """
    return np.isin(image_hashes(pixels), np.array(list(hashes), "S32"))


def published(case: Case) -> np.ndarray:
    """Return the (members,) S32 content hashes of the whole training set, as its owner has them."""
    return case.dataset.hashes[case.split.roles["members"]]


def score(case: Case) -> np.ndarray:
    """Return (N,) scores: 1 where the image is on the owner's list pixel by pixel, else -1.

    The list holds the judged members, too: it is what the owner knows, nothing is learned from it.
    """
    hashes = published(case)
    listed = np.concatenate([found(pixels, hashes) for pixels in case.chunks(_CHUNK)])
    return np.where(listed, 1.0, -1.0)


METHOD = Method(
    name="lookup",
    title="Content lookup",
    group="control",
    summary="Looks for an exact copy in the owner's list of content hashes; needs no model.",
    score=score,
    transformed="alone",
)

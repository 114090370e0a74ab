"""Share out a number of images over classes in proportion to their sizes."""

from __future__ import annotations

import numpy as np


def allocate(
    total: int, weights: np.ndarray, room: np.ndarray, order: np.ndarray | None = None
) -> np.ndarray:
    """Share `total` over classes by largest remainder; a full class passes its share on.

    Args:
        total: how many to share; at most the sum of `room`.
        weights: (C,) the classes' sizes; shares are proportional to them.
        room: (C,) the most that each class can give.
        order: (C,) ranks that decide between equal remainders; the lower rank comes first.

    Returns:
        (C,) int64 counts that sum to `total`.
    """
    if not 0 <= total <= room.sum():
        raise ValueError(f"cannot share {total} over room for {room.sum()}")
    order = np.arange(len(weights)) if order is None else order
    quota = total * (weights / weights.sum())
    counts = np.minimum(np.floor(quota).astype(np.int64), room)
    while (left := total - counts.sum()) > 0:
        open_classes = np.flatnonzero(counts < room)
        # One each to the classes furthest below their quota. Rounding makes equal remainders of
        # equal classes compare as equal, whatever their size.
        deficit = np.round((quota - counts)[open_classes], 9)
        first = np.lexsort((order[open_classes], -deficit))[:left]
        counts[open_classes[first]] += 1
    return counts

"""Clustered images: frames of one track are alike, so they count for fewer than they are.

Everything here goes by sums over groups (tracks), which are independent of each other, whatever
happens inside them. Where each image is its own group, the variances are the usual ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

#: Group numbers of (M,) members and of (N,) non-members; equal numbers are one group on both sides.
Groups = tuple[np.ndarray, np.ndarray]

#: Groups of the worst case that an estimated design effect is averaged with: with none,
#: intervals of shares of .95 to .99 in 20 to 67 tracks of 15 frames cover as little as 83 %, with
#: two at least 94 % (simulated, half or more of the variance shared by a track).
CAUTION = 2


def are_clustered(groups: np.ndarray | None) -> bool:
    """Tell whether any two of the (N,) group numbers are the same."""
    return groups is not None and len(np.unique(groups)) < len(groups)


def covariance(values: Sequence[np.ndarray], groups: np.ndarray) -> np.ndarray:
    """Return the (T, T) covariance of the means of T sequences of (N,) values on the same images.

    The linearised ("ultimate cluster") estimate: sums of deviations within groups, squared.
    Needs two groups or more.
    """
    sums = _sums(values, groups, np.unique(groups))
    return _spread(sums, sums)


def effective_size(hits: np.ndarray, groups: np.ndarray) -> float:
    """Return the number of independent images that would tell a share as precisely.

    N over the design effect (Kish, Survey Sampling 1965): by how much the share varies more than
    that of N independent images. A share near 0 or 1 rests on the few groups that hold an
    exception, which show the effect badly; so it is averaged over them and `CAUTION` groups more in
    which all images are the same, the worst case. Without exceptions the worst case alone is left:
    the groups are counted. Never more than N: the interval errs on the safe side.

    Args:
        hits: (N,) bool.
        groups: (N,) group numbers.
    """
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    total, rate = len(hits), float(hits.mean())
    worst = float((sizes**2).sum()) / total
    if len(sizes) < 2 or rate in (0.0, 1.0):
        return total / worst
    effect = max(covariance([hits], groups)[0, 0] * total / (rate * (1 - rate)), 1.0)
    exceptions = len(np.unique(places[~hits if rate > 0.5 else hits]))
    return total * (exceptions + CAUTION) / (exceptions * effect + CAUTION * worst)


def quantile(groups: np.ndarray, level: float) -> float:
    """Return Student's quantile of a two-sided interval; a few groups tell their spread badly."""
    freedom = max(len(np.unique(groups)) - 1, 1)
    return float(stats.t.ppf(0.5 + level / 2, freedom))


def auc_covariance(
    placements: Sequence[tuple[np.ndarray, np.ndarray]], groups: Groups
) -> np.ndarray:
    """Return the (T, T) covariance of the AUCs of T tests on the same images.

    DeLong's estimate for clustered data (Obuchowski, Biometrics 1997). Needs two groups or more on
    both sides.

    Args:
        placements: per test, as from `intervals.placements`.
        groups: of members and of others.
    """
    numbers = np.unique(np.concatenate(groups))
    sides = [_sums([test[side] for test in placements], groups[side], numbers) for side in (0, 1)]
    within = sum(
        _spread(sums, sums, len(np.unique(of_side)))
        for sums, of_side in zip(sides, groups, strict=True)
    )
    across = _spread(*sides)  # 0 where no group has images on both sides
    return within + across + across.T


def auc_quantile(placements: tuple[np.ndarray, np.ndarray], groups: Groups, level: float) -> float:
    """Return Student's quantile for an AUC, with Satterthwaite's degrees of freedom."""
    variances = [covariance([one], own)[0, 0] for one, own in zip(placements, groups, strict=True)]
    counts = [len(np.unique(own)) - 1 for own in groups]
    spread = sum(variance**2 / count for variance, count in zip(variances, counts, strict=True))
    freedom = sum(variances) ** 2 / spread if spread else min(counts)
    return float(stats.t.ppf(0.5 + level / 2, freedom))


def _sums(values: Sequence[np.ndarray], groups: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return (T, G): how much each of the `numbers` moves the mean of (N,) values."""
    places = np.searchsorted(numbers, groups)
    return np.stack(
        [
            np.bincount(places, (one - one.mean()) / len(one), minlength=len(numbers))
            for one in values
        ]
    )


def _spread(one: np.ndarray, two: np.ndarray, count: int | None = None) -> np.ndarray:
    count = one.shape[1] if count is None else count
    return one @ two.T * (count / (count - 1))

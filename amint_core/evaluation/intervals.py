"""95 % confidence intervals for the metrics of a membership test.

`groups` says which images are frames of one track; None: all images are independent.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from amint_core.evaluation import clusters
from amint_core.evaluation.clusters import Groups

LEVEL = 0.95
#: AUC from which the exceptions seen tell too little of those that were not: see `auc`.
NEAR_ONE = 0.98
_Z = float(stats.norm.ppf(0.5 + LEVEL / 2))

Bounds = tuple[float, float]


def proportion(successes: int, trials: int) -> Bounds:
    """Return the Wilson interval of a proportion (Wilson, JASA 1927)."""
    found = stats.binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def share(hits: np.ndarray, groups: np.ndarray | None = None) -> Bounds:
    """Return the Wilson interval of the share of (N,) bool hits.

    Groups: with the effective number of images for N, and Student's quantile.
    """
    if not clusters.are_clustered(groups):
        return proportion(int(hits.sum()), len(hits))
    size, quantile = clusters.effective_size(hits, groups), clusters.quantile(groups, LEVEL)
    rate, weight = float(hits.mean()), quantile**2 / size
    middle = (rate + weight / 2) / (1 + weight)
    half = quantile * (rate * (1 - rate) / size + weight / (4 * size)) ** 0.5 / (1 + weight)
    # Rounding may put a bound just beyond a share of 0 or 1.
    return max(0.0, min(middle - half, rate)), min(1.0, max(middle + half, rate))


def mean_of_two_shares(hits: tuple[np.ndarray, np.ndarray], groups: Groups | None = None) -> Bounds:
    """Return an interval of (p1 + p2) / 2 for independent samples.

    The distances of both Wilson intervals are combined as squares (the "square-and-add" method,
    Newcombe, Statistics in Medicine 1998), which stays inside [0, 1] and holds its level near 1.
    """
    below = above = 0.0
    rates, bounds = _shares(hits, groups)
    for rate, (low, high) in zip(rates, bounds, strict=True):
        below += ((rate - low) / 2) ** 2
        above += ((high - rate) / 2) ** 2
    middle = sum(rates) / 2
    return max(0.0, middle - below**0.5), min(1.0, middle + above**0.5)


def _shares(
    hits: tuple[np.ndarray, np.ndarray], groups: Groups | None
) -> tuple[list[float], list[Bounds]]:
    rates = [int(side.sum()) / len(side) for side in hits]
    return rates, [share(*pair) for pair in zip(hits, groups or (None, None), strict=True)]


def ratio_of_two_shares(
    hits: tuple[np.ndarray, np.ndarray], groups: Groups | None = None
) -> Bounds:
    """Return an interval of p1 / p2 for independent samples; its upper end may be infinite.

    Both Wilson intervals are combined as in MOVER-R (Newcombe, Statistical Methods in Medical
    Research 2016), in the form that stays finite where p2 is 0 and only p1's and p2's own bounds
    count.

    Raises:
        ValueError: both proportions are 0, so that nothing is known of their ratio.
    """
    (one, two), ((low, high), (under, over)) = _shares(hits, groups)
    if not one and not two:
        raise ValueError("0 / 0: neither sample has a hit.")
    middle = one * two
    # The two roots of each quadratic are rewritten so that no difference of near values divides.
    below, above = low * (2 * one - low), high * (2 * one - high)
    wide, narrow = over * (2 * two - over), under * (2 * two - under)
    least = below and below / (middle + max(middle**2 - below * wide, 0.0) ** 0.5)
    most = (middle + max(middle**2 - above * narrow, 0.0) ** 0.5) / narrow if narrow else np.inf
    return float(least), float(most)


def difference(
    values: tuple[float, float], bounds: tuple[Bounds, Bounds], correlation: float
) -> Bounds:
    """Return an interval of value 1 - value 2 from both intervals and the estimates' correlation.

    MOVER for dependent estimates (Zou, Psychological Methods 2007; for paired proportions it is
    Newcombe's method 10, Statistics in Medicine 1998): unlike a normal interval of the difference,
    it keeps each side's own bounds where a value is near 0 or 1.
    """
    (low, high), (under, over) = bounds
    one, two = values
    below = (one - low) ** 2 + (over - two) ** 2 - 2 * correlation * (one - low) * (over - two)
    above = (high - one) ** 2 + (two - under) ** 2 - 2 * correlation * (high - one) * (two - under)
    return float(one - two - max(below, 0.0) ** 0.5), float(one - two + max(above, 0.0) ** 0.5)


def placements(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return DeLong's placements: the AUC as seen by each image.

    Returns:
        (M,) the share of the others that each member beats, and (N,) the share of the members that
        beats each other; ties count half. The mean of either is the AUC.
    """
    count, total = len(members), len(others)
    ranks = stats.rankdata(np.concatenate([members, others]))  # mid-ranks
    beats_others = (ranks[:count] - stats.rankdata(members)) / total
    beaten_by = 1 - (ranks[count:] - stats.rankdata(others)) / count
    return beats_others, beaten_by


def auc(members: np.ndarray, others: np.ndarray, groups: Groups | None = None) -> Bounds:
    """Return an interval of the AUC: DeLong's, and near 1 none that is surer than perfection.

    DeLong's goes by the exceptions that were seen, and near 1 (from `NEAR_ONE` on, likewise near 0)
    some samples hold none of the few images that account for the errors. The rule of three bounds
    what was missed (Hanley and Lippman-Hand, JAMA 1983): up to 3 / N of all images may be of a kind
    that N images do not show, and the AUC may fall by as much. So no test has a higher lower bound
    than one that parts all images.

    Args:
        members: (M,) scores of members.
        others: (N,) scores of non-members.
        groups: group numbers of both.
    """
    low, high = delong(members, others, groups)
    value = float(placements(members, others)[0].mean())
    missed = 3.0 / _fewest(members, others, groups)
    if value >= NEAR_ONE:
        low = min(low, max(0.0, 1 - missed))
    if value <= 1 - NEAR_ONE:
        high = max(high, min(1.0, missed))
    return low, high


def delong(members: np.ndarray, others: np.ndarray, groups: Groups | None = None) -> Bounds:
    """Return DeLong's interval of the AUC, on the logit scale (DeLong et al., Biometrics 1988).

    Groups: Obuchowski's extension to clustered data (Biometrics 1997), with Student's quantile.
    Without any variance, as after perfect separation, it is the rule of three's.

    Args: as `auc`.
    """
    seen, fewest = placements(members, others), _fewest(members, others, groups)
    if fewest < 2:
        return 0.0, 1.0
    value, missed = float(seen[0].mean()), 3.0 / fewest
    variance = sum(side.var(ddof=1) / len(side) for side in seen)
    quantile = _Z
    if _by_group(groups):
        variance = float(clusters.auc_covariance([seen], groups)[0, 0])
        quantile = clusters.auc_quantile(seen, groups, LEVEL)
    if value in (0.0, 1.0) or variance <= 0:
        return max(0.0, value - missed), min(1.0, value + missed)
    spread = quantile * variance**0.5 / (value * (1 - value))
    logit = np.log(value / (1 - value))
    return float(1 / (1 + np.exp(spread - logit))), float(1 / (1 + np.exp(-spread - logit)))


def _fewest(members: np.ndarray, others: np.ndarray, groups: Groups | None) -> int:
    """Return the number of images, with groups of tracks, on the side that has fewer."""
    return min(map(len, map(np.unique, groups) if _by_group(groups) else (members, others)))


def _by_group(groups: Groups | None) -> bool:
    return groups is not None and any(map(clusters.are_clustered, groups))


def tpr_at_fpr(
    members: np.ndarray, others: np.ndarray, allowed: int, groups: Groups | None = None
) -> Bounds:
    """Return an interval of the TPR at the threshold that lets `allowed` others pass.

    Two things are uncertain: where the threshold belongs, and how many members lie above it. The
    first is bounded by order statistics of the others (the number that pass the true threshold is
    binomial; above the highest score anything is possible), the second by Wilson's interval; the
    distances are combined as squares, as above. A bootstrap would never put the threshold above
    the highest score seen, and covers far too little where few others are allowed. Groups: both by
    the effective number of images.

    Args:
        members: (M,) scores of members.
        others: (N,) scores of non-members.
        allowed: how many non-members may score above the threshold.
        groups: group numbers of both.
    """
    total, count = len(others), len(members)
    falling = np.sort(others)[::-1]

    def above(threshold: float) -> int:
        return int((members > threshold).sum())

    fewest, most = _passing(others, allowed, groups[1] if groups else None)
    strict = above(falling[fewest - 1]) / count if fewest else 0.0
    lax = above(falling[min(most, total - 1)]) / count
    rate = above(falling[allowed]) / count
    low, high = share(members > falling[allowed], groups[0] if groups else None)
    below, over = np.hypot(rate - strict, rate - low), np.hypot(lax - rate, high - rate)
    return max(0.0, float(rate - below)), min(1.0, float(rate + over))


def _passing(others: np.ndarray, allowed: int, groups: np.ndarray | None) -> tuple[int, int]:
    """Bound how many of the others pass the threshold at which a share `allowed / N` truly does."""
    total = size = len(others)
    if clusters.are_clustered(groups):
        effective = clusters.effective_size(others > np.sort(others)[::-1][allowed], groups)
        size = max(round(effective), 1)
    passing = stats.binom(size, allowed / total)
    fewest, most = (
        passing.ppf(level) * total / size for level in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    )
    return math.floor(fewest), math.ceil(most)

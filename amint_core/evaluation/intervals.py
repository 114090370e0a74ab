"""95 % confidence intervals for the metrics of a membership test."""

from __future__ import annotations

import numpy as np
from scipy import stats

LEVEL = 0.95
_Z = float(stats.norm.ppf(0.5 + LEVEL / 2))
#: Resamples of the bootstrap; its own error in a percentile stays well below the interval's width.
RESAMPLES = 2_000

Bounds = tuple[float, float]


def proportion(successes: int, trials: int) -> Bounds:
    """Return the Wilson interval of a proportion (Wilson, JASA 1927)."""
    found = stats.binomtest(successes, trials).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def mean_of_two_proportions(successes: tuple[int, int], trials: tuple[int, int]) -> Bounds:
    """Return an interval of (p1 + p2) / 2 for independent samples.

    The distances of both Wilson intervals are combined as squares (the "square-and-add" method,
    Newcombe, Statistics in Medicine 1998), which stays inside [0, 1] and holds its level near 1.
    """
    below = above = 0.0
    rates = [hits / count for hits, count in zip(successes, trials, strict=True)]
    for rate, hits, count in zip(rates, successes, trials, strict=True):
        low, high = proportion(hits, count)
        below += ((rate - low) / 2) ** 2
        above += ((high - rate) / 2) ** 2
    middle = sum(rates) / 2
    return max(0.0, middle - below**0.5), min(1.0, middle + above**0.5)


def auc(members: np.ndarray, others: np.ndarray) -> Bounds:
    """Return DeLong's interval of the AUC, on the logit scale (DeLong et al., Biometrics 1988).

    Args:
        members: (M,) scores of members.
        others: (N,) scores of non-members.
    """
    count, total = len(members), len(others)
    # Placements by mid-ranks: the share of the other side that a score beats, ties half.
    ranks = stats.rankdata(np.concatenate([members, others]))
    beats_others = (ranks[:count] - stats.rankdata(members)) / total
    beaten_by = 1 - (ranks[count:] - stats.rankdata(others)) / count
    value = float(beats_others.mean())
    if count < 2 or total < 2:
        return 0.0, 1.0
    variance = beats_others.var(ddof=1) / count + beaten_by.var(ddof=1) / total
    if value in (0.0, 1.0) or variance == 0:
        # Perfect separation leaves no variance to see; the rule of three bounds what was missed.
        missed = 3.0 / min(count, total)
        return max(0.0, value - missed), min(1.0, value + missed)
    spread = _Z * variance**0.5 / (value * (1 - value))
    logit = np.log(value / (1 - value))
    return float(1 / (1 + np.exp(spread - logit))), float(1 / (1 + np.exp(-spread - logit)))


def tpr_at_fpr(members: np.ndarray, others: np.ndarray, allowed: int, seed: int = 0) -> Bounds:
    """Return a bootstrap interval of the TPR at the threshold that lets `allowed` others pass.

    Both samples are drawn anew, so the interval holds the threshold's uncertainty too. Neither is
    drawn image by image: the place that an order statistic of a redrawn sample takes in the old
    one is a scaled beta variable, and the number of redrawn members above it is binomial.

    Args:
        members: (M,) scores of members.
        others: (N,) scores of non-members.
        allowed: how many non-members may score above the threshold.
        seed: of the resampling.
    """
    random = np.random.default_rng(seed)
    others, members = np.sort(others), np.sort(members)
    total, count = len(others), len(members)
    place = total - 1 - allowed  # of the threshold among the sorted others
    redrawn = random.beta(place + 1, total - place, RESAMPLES)
    thresholds = others[np.minimum((redrawn * total).astype(int), total - 1)]
    rates = 1 - np.searchsorted(members, thresholds, side="right") / count
    low, high = np.quantile(random.binomial(count, rates) / count, [0.025, 0.975])
    return float(low), float(high)

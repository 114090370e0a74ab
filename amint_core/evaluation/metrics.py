"""The metrics of a membership test, each with a 95 % confidence interval.

A score above a threshold says "member". Accuracy is the mean of the accuracies on members and on
non-members, so that guessing gives .5 whatever their numbers. `groups` are the track numbers of
members and non-members, where images come in tracks: intervals then go by track.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from amint_core.evaluation import intervals
from amint_core.evaluation.clusters import Groups

Metric = dict[str, Any]


def metric(value: float, bounds: intervals.Bounds) -> Metric:
    """Return a value with its interval as written to metrics.json."""
    return {"value": float(value), "low": float(bounds[0]), "high": float(bounds[1])}


def share(hits: np.ndarray, groups: np.ndarray | None = None) -> Metric:
    """Return the share of (N,) bool hits; by track where `groups` has the (N,) track numbers."""
    return metric(int(hits.sum()) / len(hits), intervals.share(hits, groups))


def no_metric(reason: str) -> Metric:
    """Return an empty value that says why there is none."""
    return {"value": None, "low": None, "high": None, "reason": reason}


def accuracy(
    members: np.ndarray, others: np.ndarray, threshold: float, groups: Groups | None = None
) -> Metric:
    """Return the accuracy at `threshold`, members (M,) and non-members (N,) weighing the same."""
    hits = members > threshold, others <= threshold
    value = sum(int(side.sum()) / len(side) for side in hits) / 2
    return metric(value, intervals.mean_of_two_shares(hits, groups))


def auc(members: np.ndarray, others: np.ndarray, groups: Groups | None = None) -> Metric:
    """Return the area under the ROC curve: how often a member outscores a non-member."""
    truth = np.r_[np.ones(len(members)), np.zeros(len(others))]
    value = roc_auc_score(truth, np.concatenate([members, others]))
    return metric(float(value), intervals.auc(members, others, groups))


def threshold_at_fpr(others: np.ndarray, fpr: float) -> float | None:
    """Return the lowest threshold at which at most `fpr` of the non-members (N,) are accused.

    None where there are fewer than 1 / `fpr` of them: their ROC curve has no such point.
    """
    allowed = _allowed(others, fpr)
    return float(np.sort(others)[::-1][allowed]) if allowed else None


def told_apart(
    members: np.ndarray, others: np.ndarray, groups: Groups | None, fprs: Iterable[str]
) -> dict[str, Any]:
    """Return how well scores tell members from others: `auc`, and `tpr_at_fpr` by rate.

    Args:
        members: (M,) scores.
        others: (N,) scores.
        groups: of both sides, see `auc`.
        fprs: the rates, as keys such as "0.01".
    """
    return {
        "auc": auc(members, others, groups),
        "tpr_at_fpr": {fpr: tpr_at_fpr(members, others, float(fpr), groups) for fpr in fprs},
    }


def tpr_at_fpr(
    members: np.ndarray, others: np.ndarray, fpr: float, groups: Groups | None = None
) -> Metric:
    """Return the share of members found at `threshold_at_fpr`; empty where there is none."""
    threshold = threshold_at_fpr(others, fpr)
    if threshold is None:
        return no_metric(
            f"{len(others)} non-members cannot resolve a false-positive rate of {fpr:g}; it takes "
            f"{math.ceil(1 / fpr)} or more"
        )
    value = int((members > threshold).sum()) / len(members)
    bounds = intervals.tpr_at_fpr(members, others, _allowed(others, fpr), groups)
    return metric(value, bounds)


def _allowed(others: np.ndarray, fpr: float) -> int:
    return math.floor(fpr * len(others) + 1e-9)


def best_threshold(members: np.ndarray, others: np.ndarray) -> float:
    """Return the threshold with the highest accuracy on these scores.

    It lies half way between two scores; of several equally good ones, the middle one is taken.
    """
    truth = np.r_[np.ones(len(members)), np.zeros(len(others))]
    scores = np.concatenate([members, others])
    false, true, cuts = roc_curve(truth, scores, drop_intermediate=False)
    gain = true - false
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    cut = cuts[best[len(best) // 2]]
    if not np.isfinite(cut):
        return float(np.nextafter(scores.max(), np.inf))  # best to accuse nobody
    below = scores[scores < cut]
    return float((cut + below.max()) / 2) if len(below) else float(np.nextafter(cut, -np.inf))


def precision_at_prior(
    members: np.ndarray,
    others: np.ndarray,
    threshold: float,
    prior: float,
    groups: Groups | None = None,
) -> Metric:
    """Return how many of the accused are members where a share `prior` of all images is.

    precision = prior·TPR / (prior·TPR + (1 − prior)·FPR), both rates at `threshold`. It depends on
    the rates by their ratio alone, and so does its interval. With no false positive seen the value
    is 1 and the lower bound says how little that may mean. Empty where nobody is accused, and where
    the interval leaves everything open from certainty down to the prior, which is a guess's.
    """
    accused = members > threshold, others > threshold
    found, wrong = (int(side.sum()) / len(side) for side in accused)
    if not found and not wrong:
        return no_metric("no image is called a member, so nobody is accused")

    def precision(ratio: float) -> float:
        return 1.0 if math.isinf(ratio) else prior * ratio / (prior * ratio + 1 - prior)

    ratio = found / wrong if wrong else math.inf
    low, high = map(precision, intervals.ratio_of_two_shares(accused, groups))
    if low <= prior and high == 1:
        return no_metric(
            f"{int(accused[0].sum())} members and {int(accused[1].sum())} of {len(others)} "
            f"non-members are accused: the precision may lie anywhere from {low:.3f} to 1"
        )
    return metric(precision(ratio), (low, high))

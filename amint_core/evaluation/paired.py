"""Two membership tests on the same images: how much better one is, and whether they agree.

`member` is (N,) bool, `first` and `second` are (N,) scores of the same N judged images, in the same
order; `align` makes them from two scores tables, and `groups_of` the (N,) tracks, None where there
are none. A difference is first minus second, with a 95 % interval that takes the pairing into
account: both tests err on the same hard images.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from amint_core.errors import ProtocolError
from amint_core.evaluation import clusters, intervals, metrics
from amint_core.evaluation.clusters import Groups
from amint_core.evaluation.metrics import Metric

#: Resamples from which the correlation of two true-positive rates is estimated, and their seed.
RESAMPLES, SEED = 500, 0
#: Least share of the rarer verdict for which a kappa means something.
LEAST_SPLIT = 0.01
#: The difference of a test from itself, which other images would not change.
_SAME = metrics.metric(0.0, (0.0, 0.0))


def align(first: pd.DataFrame, second: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return membership and both scores of the judged images of two scores tables.

    Raises:
        ProtocolError: the tables judge different images, an image twice, or disagree on members.
    """
    rows = [table.loc[table["judged"]].set_index("image") for table in (first, second)]
    if any(table.index.has_duplicates for table in rows):
        raise ProtocolError("An image is judged twice: give the scores of one method each.")
    if len(rows[0]) != len(rows[1]) or not rows[0].index.isin(rows[1].index).all():
        raise ProtocolError(
            f"The tests judge different images ({len(rows[0])} and {len(rows[1])}, "
            f"{rows[0].index.isin(rows[1].index).sum()} in common), so they cannot be paired. "
            "Compare runs of one dataset, split and seed."
        )
    second = rows[1].loc[rows[0].index]
    if (rows[0]["member"] != second["member"]).any():
        raise ProtocolError("The tests disagree on who is a member: their splits differ.")
    return tuple(
        column.to_numpy() for column in (rows[0]["member"], rows[0]["score"], second["score"])
    )


def judged_by_both(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two scores tables that judge what both did, where one left out only non-members.

    As tests do that read shadow models: they do not judge what those could not be trained on.
    """
    tables = first, second
    images = [set(table.loc[table["judged"], "image"]) for table in tables]
    left_out = [
        table["judged"] & ~table["image"].isin(theirs)
        for table, theirs in zip(tables, reversed(images), strict=True)
    ]
    nested = not all(out.any() for out in left_out)
    if not nested or any(
        (table["member"] & out).any() for table, out in zip(tables, left_out, strict=True)
    ):
        return tables
    return tuple(
        table.assign(judged=table["judged"] & ~out)
        for table, out in zip(tables, left_out, strict=True)
    )


def groups_of(scores: pd.DataFrame) -> np.ndarray | None:
    """Return the (N,) group numbers of a table's judged images, as `align` orders them."""
    return scores.loc[scores["judged"], "group"].to_numpy() if "group" in scores else None


def auc_difference(
    member: np.ndarray, first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None
) -> Metric:
    """Return the difference of the AUCs.

    The correlation is DeLong's (Biometrics 1988), from the placements of each image under both
    tests, with groups Obuchowski's (Biometrics 1997); the interval is `intervals.difference`.
    """
    if np.array_equal(first, second):
        return _SAME
    tests, sides = (first, second), _by_side(member, groups)
    seen = [intervals.placements(scores[member], scores[~member]) for scores in tests]
    bounds = [intervals.delong(scores[member], scores[~member], sides) for scores in tests]
    values = [metrics.metric(one[0].mean(), ends) for one, ends in zip(seen, bounds, strict=True)]
    if sides and all(len(np.unique(side)) > 1 for side in sides):
        covariance = clusters.auc_covariance(seen, sides)
    else:
        pairs = zip(*seen, strict=True)
        spreads = [np.cov(one, two) / len(one) for one, two in pairs if len(one) > 1]
        covariance = sum(spreads, np.zeros((2, 2)))
    return _difference(values, _correlation(covariance))


def accuracy_difference(
    member: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    thresholds: tuple[float, float],
    groups: np.ndarray | None = None,
) -> Metric:
    """Return the difference of the accuracies, each test at its own threshold.

    On members and on non-members it is `share_difference`; the two sides are independent, and the
    distances are combined as squares.
    """
    if np.array_equal(first, second) and thresholds[0] == thresholds[1]:
        return _SAME
    right = [
        (scores > cut) == member for scores, cut in zip((first, second), thresholds, strict=True)
    ]
    by_side = zip((member, ~member), _by_side(member, groups) or (None, None), strict=True)
    sides = [share_difference(*(hits[side] for hits in right), own) for side, own in by_side]
    value = sum(side["value"] for side in sides) / 2
    below = math.hypot(*(side["value"] - side["low"] for side in sides)) / 2
    above = math.hypot(*(side["high"] - side["value"] for side in sides)) / 2
    return metrics.metric(value, (value - below, value + above))


def share_difference(one: np.ndarray, two: np.ndarray, groups: np.ndarray | None = None) -> Metric:
    """Return the difference of the shares of two (N,) bool verdicts on the same images.

    The interval is Newcombe's for paired proportions (method 10, Statistics in Medicine 1998).
    """
    values = [metrics.share(hits, groups) for hits in (one, two)]
    by_group = clusters.are_clustered(groups) and len(np.unique(groups)) > 1
    covariance = clusters.covariance([one, two], groups) if by_group else np.cov(one, two)
    return _difference(values, _correlation(covariance))


def tpr_difference(
    member: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    fpr: float,
    groups: np.ndarray | None = None,
) -> Metric:
    """Return the difference of the true-positive rates at a false-positive rate.

    A bootstrap of the difference itself covers too little where few non-members are allowed to pass
    (see `intervals.tpr_at_fpr`), so it serves for the correlation of both rates alone: members and
    non-members are resampled apart, each image (with groups, each group) with both its scores, from
    a fixed seed.

    Empty where there are fewer than 1 / `fpr` non-members.
    """
    tests = first, second
    own = _by_side(member, groups)
    values = [metrics.tpr_at_fpr(scores[member], scores[~member], fpr, own) for scores in tests]
    if values[0]["value"] is None:
        return values[0]
    if np.array_equal(first, second):
        return _SAME
    random = np.random.default_rng(SEED)
    draws = [_drawing(side, groups) for side in (member, ~member)]
    rates = np.array([_resampled_rates(draws, tests, fpr, random) for _ in range(RESAMPLES)])
    return _difference(values, _correlation(np.cov(rates.T)))


def agreement(
    member: np.ndarray, first: np.ndarray, second: np.ndarray, fpr: float
) -> dict[str, float]:
    """Tell whether two tests find the same members where both accuse as many non-members.

    Each test has its own threshold, that of the false-positive rate `fpr` on these images
    (`metrics.threshold_at_fpr`), so that a bold test does not seem to agree with every other.

    Returns:
        Shares of the judged members found by `both`, only the `first`, only the `second` and
        `neither`, and `kappa` of the verdicts on them, all NaN where the non-members cannot resolve
        `fpr`; `spearman`, the rank correlation of the scores within members (NaN where a test
        scores all alike).
    """
    cuts = [metrics.threshold_at_fpr(scores[~member], fpr) for scores in (first, second)]
    found = dict.fromkeys(("both", "first", "second", "neither", "kappa"), math.nan)
    if None not in cuts:
        one, two = first[member] > cuts[0], second[member] > cuts[1]
        found = {
            "both": float((one & two).mean()),
            "first": float((one & ~two).mean()),
            "second": float((~one & two).mean()),
            "neither": float((~one & ~two).mean()),
            "kappa": kappa(one, two),
        }
    return found | {"spearman": _spearman(first[member], second[member])}


def kappa(one: np.ndarray, two: np.ndarray) -> float:
    """Return Cohen's kappa of two (N,) bool verdicts.

    NaN where either says the same of all, or of all but fewer than `LEAST_SPLIT`: it would rest on
    a handful of images, and be near 0 or undefined whatever the other says.
    """
    rarer = (min(verdict.mean(), 1 - verdict.mean()) for verdict in (one, two))
    if min(rarer) < LEAST_SPLIT:
        return math.nan
    return float(cohen_kappa_score(one, two))


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(stats.spearmanr(first, second).statistic)


def _difference(values: list[Metric], correlation: float) -> Metric:
    one, two = values
    bounds = (one["low"], one["high"]), (two["low"], two["high"])
    pair = one["value"], two["value"]
    return metrics.metric(pair[0] - pair[1], intervals.difference(pair, bounds, correlation))


def _by_side(member: np.ndarray, groups: np.ndarray | None) -> Groups | None:
    return None if groups is None else (groups[member], groups[~member])


def _correlation(covariance: np.ndarray) -> float:
    """Return the correlation of a (2, 2) covariance matrix; 0, the safe side, if it has none."""
    spread = covariance[0, 0] * covariance[1, 1]
    return float(covariance[0, 1] / spread**0.5) if spread > 0 else 0.0


def _drawing(
    side: np.ndarray, groups: np.ndarray | None
) -> Callable[[np.random.Generator], np.ndarray]:
    """Return a function that resamples the images of a side, in whole groups where there are."""
    rows = np.flatnonzero(side)
    if groups is None or not clusters.are_clustered(groups[rows]):
        return lambda random: random.choice(rows, len(rows))
    ordered = rows[np.argsort(groups[rows], kind="stable")]
    _, starts, sizes = np.unique(groups[ordered], return_index=True, return_counts=True)

    def drawn(random: np.random.Generator) -> np.ndarray:
        chosen = random.integers(len(starts), size=len(starts))
        ends = sizes[chosen].cumsum()
        # Of each chosen group: where it starts, less where it comes to stand.
        shifts = starts[chosen] - (ends - sizes[chosen])
        return ordered[np.repeat(shifts, sizes[chosen]) + np.arange(ends[-1])]

    return drawn


def _resampled_rates(
    draws: list[Callable[[np.random.Generator], np.ndarray]],
    tests: tuple[np.ndarray, np.ndarray],
    fpr: float,
    random: np.random.Generator,
) -> list[float]:
    """Return both true-positive rates on one resample of the images."""
    inside, outside = (draw(random) for draw in draws)
    place = len(outside) - 1 - math.floor(fpr * len(outside) + 1e-9)
    rates = []
    for scores in tests:
        threshold = np.partition(scores[outside], place)[place]
        rates.append(float((scores[inside] > threshold).mean()))
    return rates

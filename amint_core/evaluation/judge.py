"""From the scores table to the numbers of one run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from amint_core.config import RunConfig
from amint_core.errors import ProtocolError
from amint_core.evaluation import THRESHOLDS, metrics
from amint_core.evaluation.clusters import Groups
from amint_core.evaluation.scores import groups_of

#: False-positive rates at which the true-positive rate is given.
FPRS = ("0.01", "0.001")
#: Shares of members among all images at which the precision is given.
PRIORS = ("0.01", "0.1")
#: Share of members → the false-positive rate whose threshold, chosen on calibration images, accuses
#: at that share. Where few images are members, the threshold with the highest balanced accuracy
#: would accuse mostly non-members.
STRICT = {"0.01": "0.001"}
#: Probability .5, the paper's threshold, as a logit.
PAPER_THRESHOLD = 0.0


def judge(
    scores: pd.DataFrame,
    settings: RunConfig,
    thresholds: Collection[str] = THRESHOLDS,
    untested: str = "",
) -> dict[str, Any]:
    """Compute the MINT and the audited metrics of a run.

    Args:
        scores: the table of `scores.py`, of one method.
        settings: the run's settings; its published defects change the numbers as they did there.
        thresholds: those of `THRESHOLDS` that mean something for the method.
        untested: why the method has no membership test, see `Method.untested`: all its scores are
            NaN, and only the audited metrics are computed. "": it has one.

    Returns:
        `mint` and `audited`, as in metrics.json.

    Raises:
        ProtocolError: an image, or a frame of its track, would choose the threshold that it is
            judged by; or scores are no numbers.
    """
    tests_nothing = untested and scores["score"].isna().all()
    # Test images that nobody judges are classified, not scored.
    asked = scores.loc[scores["judged"] | (scores["role"] != "test"), "score"]
    if not tests_nothing and not np.isfinite(asked).all():
        raise ProtocolError(
            f"{int((~np.isfinite(asked)).sum())} scores are not numbers. If the model has "
            "diverged, train it again with a lower learning_rate or precision = 'fp32'; a test of "
            "your own must give every image a number."
        )
    mint = _no_test(untested) if tests_nothing else _tested(scores, settings, thresholds)
    members, others = _by_membership(scores[scores["judged"]])
    role = next(iter(scores.loc[scores["judged"] & ~scores["member"], "role"]))
    mint["judged"] = {"members": len(members), "non_members": len(others), "role": role}
    groups = groups_of(scores[scores["judged"]])
    if groups:
        counts = (len(np.unique(side)) for side in groups)
        mint["judged"]["tracks"] = dict(zip(("members", "non_members"), counts, strict=True))
    return {"mint": mint, "audited": _audited_metrics(scores, settings)}


def _tested(
    scores: pd.DataFrame, settings: RunConfig, thresholds: Collection[str]
) -> dict[str, Any]:
    """Return the metrics of a membership test."""
    rows = scores[scores["judged"]]
    choosing = _choosing(scores, rows, settings)
    members, others = _by_membership(rows)
    groups = groups_of(rows)
    mint = _mint_metrics(members, others, groups)
    if "own" not in thresholds:
        why = "this attack was published without a threshold of its own"
        mint |= {"accuracy": metrics.no_metric(why), "threshold": None}
    if "calibrated" in thresholds:
        mint |= _calibrated(choosing, rows)
    else:
        why = "its head learned from the members that would choose the threshold"
        mint |= {"accuracy_calibrated": metrics.no_metric(why), "threshold_calibrated": None}
    strangers = _by_membership(choosing)[1]
    mint["threshold_at_fpr"] = {
        fpr: metrics.threshold_at_fpr(strangers, float(fpr)) for fpr in STRICT.values()
    }
    return mint | {
        "precision_at_prior": {
            prior: _precision(members, others, groups, mint, prior) for prior in PRIORS
        }
    }


def _no_test(reason: str) -> dict[str, Any]:
    """Return the same entries as `_tested`, all empty."""
    empty = metrics.no_metric(reason)
    return {
        "accuracy": empty,
        "auc": empty,
        "tpr_at_fpr": dict.fromkeys(FPRS, empty),
        "threshold": None,
        "accuracy_calibrated": empty,
        "threshold_calibrated": None,
        "threshold_at_fpr": dict.fromkeys(STRICT.values()),
        "precision_at_prior": dict.fromkeys(PRIORS, empty | {"threshold": None}),
    }


def _by_membership(scores: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    of_member = scores["member"].to_numpy()
    values = scores["score"].to_numpy()
    return values[of_member], values[~of_member]


def _mint_metrics(members: np.ndarray, others: np.ndarray, groups: Groups | None) -> dict[str, Any]:
    return {
        "accuracy": metrics.accuracy(members, others, PAPER_THRESHOLD, groups),
        **metrics.told_apart(members, others, groups, FPRS),
        "threshold": PAPER_THRESHOLD,
    }


def _choosing(scores: pd.DataFrame, judged: pd.DataFrame, settings: RunConfig) -> pd.DataFrame:
    """Return the rows that choose thresholds: none of those that are judged."""
    if settings.has("threshold_on_judged"):
        return judged
    choosing = scores[~scores["judged"] & scores["role"].isin(["members", "calibration"])]
    _check_disjoint(choosing, judged, settings)
    return choosing


def _calibrated(choosing: pd.DataFrame, judged: pd.DataFrame) -> dict[str, Any]:
    """Choose the threshold on one set of images and judge it on another."""
    chosen = _by_membership(choosing)
    if not all(map(len, chosen)):
        why = "no calibration images: this run has no threshold but probability .5"
        return {"accuracy_calibrated": metrics.no_metric(why), "threshold_calibrated": None}
    threshold = metrics.best_threshold(*chosen)
    value = metrics.accuracy(*_by_membership(judged), threshold, groups_of(judged))
    return {"accuracy_calibrated": value, "threshold_calibrated": threshold}


def _check_disjoint(choosing: pd.DataFrame, judged: pd.DataFrame, settings: RunConfig) -> None:
    """Refuse thresholds from images that are judged, or from frames of their tracks."""
    if set(choosing["image"]) & set(judged["image"]):
        raise ProtocolError(
            "The same image would choose the threshold and be judged by it. Split again: "
            "calibration, holdout and the two halves of the members must be disjoint."
        )
    if "group" not in judged or settings.has("tracks_ignored"):
        return
    shared = set(zip(choosing["official_test"], choosing["group"], strict=True)) & set(
        zip(judged["official_test"], judged["group"], strict=True)
    )
    if shared:
        raise ProtocolError(
            f"Images of {len(shared)} groups (tracks, near-twins) would choose the threshold while "
            "others of the same groups are judged by it. Split again: groups must stay whole, but "
            "under the defect 'tracks_ignored'."
        )


def _precision(
    members: np.ndarray, others: np.ndarray, groups: Groups | None, mint: dict[str, Any], prior: str
) -> dict[str, Any]:
    """Return the precision at a prior, and which threshold accuses."""
    strict = STRICT.get(prior)
    thresholds = {
        f"fpr_{strict}": mint["threshold_at_fpr"].get(strict),
        "calibrated": mint["threshold_calibrated"],
        "paper": mint["threshold"],
    }
    for which, threshold in thresholds.items():
        if threshold is not None:
            value = metrics.precision_at_prior(members, others, threshold, float(prior), groups)
            return value | {"threshold": which}
    why = "neither a threshold of its own nor a calibrated one accuses anybody"
    return metrics.no_metric(why) | {"threshold": None}


def _audited_metrics(scores: pd.DataFrame, settings: RunConfig) -> dict[str, Any]:
    role = "external" if settings.has("audited_on_external") else "test"
    rows = scores[(scores["role"] == role) & (scores["label"] >= 0)]
    if not len(rows):
        return {
            "accuracy": metrics.no_metric(f"no labelled {role} images"),
            "images": 0,
            "role": role,
        }
    right = rows["label"] == rows["predicted"]
    return {"accuracy": share_of(rows, right), "images": len(rows), "role": role}


def share_of(rows: pd.DataFrame, hits: pd.Series) -> dict[str, Any]:
    """Return the share of (N,) bool hits among a table's N images, with its interval."""
    return metrics.share(hits.to_numpy(), rows["group"].to_numpy() if "group" in rows else None)

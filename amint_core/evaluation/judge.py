"""From the scores table to the numbers of one run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from amint_core.config import RunConfig
from amint_core.evaluation import intervals, metrics
from amint_core.exceptions import ProtocolError

#: False-positive rates at which the true-positive rate is given.
FPRS = ("0.01", "0.001")
#: Probability .5, the paper's threshold, as a logit.
PAPER_THRESHOLD = 0.0


def judge(scores: pd.DataFrame, settings: RunConfig) -> dict[str, Any]:
    """Compute the MINT and the audited metrics of a run.

    Args:
        scores: the table of `scores.py`, of one method.
        settings: the run's settings; its published defects change the numbers as they did there.

    Returns:
        `mint` and `audited`, as in metrics.json.

    Raises:
        ProtocolError: an image would choose the threshold that it is judged by.
    """
    if not np.isfinite(scores["score"]).all():
        raise ProtocolError(
            f"{int((~np.isfinite(scores['score'])).sum())} scores are not numbers; the model has "
            "diverged. Train it again with a lower learning_rate or precision = 'fp32'."
        )
    judged = _by_membership(scores[scores["judged"]])
    choosing = scores[~scores["judged"] & scores["role"].isin(["members", "calibration"])]
    mint = _mint_metrics(*judged, settings)
    mint |= _calibrated(choosing, scores[scores["judged"]], settings)
    role = next(iter(scores.loc[scores["judged"] & ~scores["member"], "role"]))
    mint["judged"] = {"members": len(judged[0]), "non_members": len(judged[1]), "role": role}
    return {"mint": mint, "audited": _audited_metrics(scores, settings)}


def _by_membership(scores: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    of_member = scores["member"].to_numpy()
    values = scores["score"].to_numpy()
    return values[of_member], values[~of_member]


def _mint_metrics(members: np.ndarray, others: np.ndarray, settings: RunConfig) -> dict[str, Any]:
    accuracy = metrics.accuracy(members, others, PAPER_THRESHOLD)
    if settings.has("sampled_members"):
        accuracy = _crossed_accuracy(members, others, settings)
    return {
        "accuracy": accuracy,
        "auc": metrics.auc(members, others),
        "tpr_at_fpr": {fpr: metrics.tpr_at_fpr(members, others, float(fpr)) for fpr in FPRS},
        "threshold": PAPER_THRESHOLD,
    }


def _calibrated(
    choosing: pd.DataFrame, judged: pd.DataFrame, settings: RunConfig
) -> dict[str, Any]:
    """Choose the threshold on one set of images and judge it on another."""
    if settings.has("threshold_on_judged"):
        choosing = judged
    elif set(choosing["image"]) & set(judged["image"]):
        raise ProtocolError(
            "The same image would choose the threshold and be judged by it. Split again: "
            "calibration, holdout and the two halves of the members must be disjoint."
        )
    chosen = _by_membership(choosing)
    if not all(map(len, chosen)):
        why = "no calibration images: this run has no threshold but probability .5"
        return {"accuracy_calibrated": metrics.no_metric(why), "threshold_calibrated": None}
    threshold = metrics.best_threshold(*chosen)
    value = metrics.accuracy(*_by_membership(judged), threshold)
    return {"accuracy_calibrated": value, "threshold_calibrated": threshold}


def _crossed_accuracy(
    members: np.ndarray, others: np.ndarray, settings: RunConfig
) -> dict[str, Any]:
    """Return the accuracy as the published notebooks compute it (defect 5); it can exceed 1."""
    random = np.random.default_rng([settings.seed, 5])
    whole = max(len(members) // settings.batch_size, 1) * settings.batch_size
    sample = random.permutation(members)[:whole]
    hits = (sample > PAPER_THRESHOLD).sum(), (others <= PAPER_THRESHOLD).sum()
    value = (hits[0] / len(others) + hits[1] / len(sample)) / 2
    why = "defect 5 divides each side's hits by the other side's count: no proportion, no interval"
    return {"value": float(value), "low": None, "high": None, "reason": why}


def _audited_metrics(scores: pd.DataFrame, settings: RunConfig) -> dict[str, Any]:
    role = "external" if settings.has("audited_on_external") else "test"
    rows = scores[(scores["role"] == role) & (scores["label"] >= 0)]
    if not len(rows):
        return {
            "accuracy": metrics.no_metric(f"no labelled {role} images"),
            "images": 0,
            "role": role,
        }
    hits = int((rows["label"] == rows["predicted"]).sum())
    value = metrics.metric(hits / len(rows), intervals.proportion(hits, len(rows)))
    return {"accuracy": value, "images": len(rows), "role": role}

"""One training, both judgements: the paper's number and the strict one, from the same scores.

| judgement | members judged | non-members judged | threshold |
|---|---|---|---|
| paper | all | the official test set | probability .5 |
| paper, calibrated | half | the official test set | chosen on the other half and calibration |
| strict | half | holdout, from the members' own pool | the same |

The second row tells how much of the paper's number its threshold takes away.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amint_core.data.twins import NEAR_TWIN
from amint_core.errors import DamagedError, ProtocolError, ResultsError
from amint_core.evaluation import metrics
from amint_core.evaluation.judge import FPRS, PAPER_THRESHOLD, share_of
from amint_core.locations import shown
from amint_core.store import run_file, run_manifest, sha256


def read_scores(root: Path, run: Path, split: str) -> pd.DataFrame:
    """Return a run's scores beside the images they belong to; see `judge_twice`.

    Args:
        root: results/<profile> of a timed grid.
        run: the run's folder.
        split: name of the file in `splits/` that holds the images.

    Raises:
        ResultsError: the images are missing.
        DamagedError: a file is not what the run wrote.
    """
    images, expected = root / "splits" / split, run_manifest(run).get("split_file")
    if not images.is_file():
        raise ResultsError(f"{shown(images)} is missing. Run the grid again, which writes it anew.")
    if sha256(images) != expected:
        raise DamagedError(
            f"{shown(images)} is not what the runs of this split were judged on. Restore it, or "
            "delete it and run the grid again."
        )
    answers = pd.read_parquet(run_file(run / "scores.parquet"))
    return pd.concat([pd.read_parquet(images), answers], axis=1)


def judge_twice(scores: pd.DataFrame) -> dict[str, Any]:
    """Compute the metrics of one run.

    Args:
        scores: one row per image, with `role`, `judged` (of members: the half that no threshold is
            chosen on), `label`, `predicted`, `score`, and, where there are such, `group` (its
            track) and `twin` (highest correlation with a member).

    Returns:
        `mint` (strict), `paper` (at both thresholds), `audited`; the first two are empty where all
        scores are NaN (no membership test).

    Raises:
        ProtocolError: only some of the scores are finite numbers.
    """
    role = scores["role"]
    found: dict[str, Any] = {"audited": _audited(scores[role == "test"])}
    found["audited"]["on_members"] = _audited(scores[role == "members"])["accuracy"]
    if scores["score"].isna().all():
        return {"mint": None, "paper": None, **found}
    if not np.isfinite(scores["score"]).all():
        raise ProtocolError(
            "Some scores are not finite numbers, and others are. Delete the run and make it anew."
        )
    members, judged = scores[role == "members"], scores["judged"]
    inside, outside = members[judged[members.index]], scores[role == "holdout"]
    choosing = members[~judged[members.index]], scores[role == "calibration"]
    test = scores[role == "test"]
    mint, paper = _against(inside, outside), _paper(members, test)
    mint["accuracy"] = _accuracy(inside, outside, PAPER_THRESHOLD)
    if all(map(len, choosing)):
        threshold = metrics.best_threshold(*(part["score"].to_numpy() for part in choosing))
        mint["threshold_calibrated"] = threshold
        mint["accuracy_calibrated"] = _accuracy(inside, outside, threshold)
        mint["false_positives"] = _rate(outside, threshold)
        if paper:
            paper["judged_calibrated"] = {"members": len(inside), "non_members": len(test)}
            paper["accuracy_calibrated"] = _accuracy(inside, test, threshold)
    if "twin" in scores:
        mint["without_near_twins"] = _without_twins(inside, outside, mint)
    return {"mint": mint, "paper": paper, **found}


def _against(inside: pd.DataFrame, outside: pd.DataFrame) -> dict[str, Any]:
    counts = {"members": len(inside), "non_members": len(outside)}
    values, groups = _values(inside, outside), _groups(inside, outside)
    return {"judged": counts} | metrics.told_apart(*values, groups, FPRS)


def _without_twins(
    inside: pd.DataFrame, outside: pd.DataFrame, mint: dict[str, Any]
) -> dict[str, Any]:
    """Judge again without the non-members that have a near-twin among the members."""
    alone = outside[outside["twin"] <= NEAR_TWIN]
    found: dict[str, Any] = {"set_aside": len(outside) - len(alone)}
    if len(alone):
        found |= _against(inside, alone)
        if "threshold_calibrated" in mint:
            found["false_positives"] = _rate(alone, mint["threshold_calibrated"])
    return found


def _paper(members: pd.DataFrame, test: pd.DataFrame) -> dict[str, Any] | None:
    if not len(test):
        return None
    counts = {"members": len(members), "non_members": len(test)}
    return {"judged": counts, "accuracy": _accuracy(members, test, PAPER_THRESHOLD)}


def _audited(rows: pd.DataFrame) -> dict[str, Any]:
    if not len(rows):
        return {"accuracy": metrics.no_metric("no labelled images"), "images": 0}
    return {"accuracy": share_of(rows, rows["label"] == rows["predicted"]), "images": len(rows)}


def _accuracy(inside: pd.DataFrame, outside: pd.DataFrame, threshold: float) -> dict[str, Any]:
    return metrics.accuracy(*_values(inside, outside), threshold, _groups(inside, outside))


def _rate(outside: pd.DataFrame, threshold: float) -> dict[str, Any]:
    return share_of(outside, outside["score"] > threshold)


def _values(inside: pd.DataFrame, outside: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return inside["score"].to_numpy(np.float64), outside["score"].to_numpy(np.float64)


def _groups(inside: pd.DataFrame, outside: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
    if "group" not in inside:
        return None
    return inside["group"].to_numpy(), outside["group"].to_numpy()

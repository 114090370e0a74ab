"""An outsider's membership scores beside a run's, on the same judged images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from amint_core.errors import ProtocolError, ResultsError
from amint_core.evaluation import metrics, paired
from amint_core.evaluation.both_judgements import read_scores
from amint_core.evaluation.metrics import Metric
from amint_core.evaluation.scores import JUDGED_FILE, groups_of
from amint_core.locations import given_path, shown
from amint_core.store import is_judged_twice, run_file, run_json

FPR = 0.01


def judged_images(run: Path | str | Any) -> pd.DataFrame:
    """Return the judged images of a run, in the order in which scores are given.

    Args:
        run: a `Run`, or its folder.

    Returns:
        `index`, the image's place in the dataset; `role`, `label`, `member`; `score`, the run's
        own; and `group` where images come in tracks.

    Raises:
        ResultsError: the run left no judged scores.
    """
    folder = given_path(getattr(run, "folder", run))
    if not folder.is_dir():
        raise ResultsError(f"There is no run in {shown(folder)}.")
    if (folder / JUDGED_FILE).is_file():
        table = pd.read_parquet(run_file(folder / JUDGED_FILE))
    else:
        table = _of_timed_grid(folder)
    rows = table[table["judged"]].sort_values(["official_test", "index"], ignore_index=True)
    return rows.drop(columns=["judged", "predicted"], errors="ignore")


def _of_timed_grid(folder: Path) -> pd.DataFrame:
    """Return the scores of a run of a timed grid, judged strictly, as `judged.parquet` has them."""
    found = run_json(folder / "metrics.json")
    if not is_judged_twice(found):
        raise ResultsError(
            f"{shown(folder / JUDGED_FILE)} is missing. Do the run again, which writes it."
        )
    table = read_scores(folder.absolute().parent.parent, folder, found["data"]["split_file"])
    method = found["run"]["settings"]["method"]
    table = table.assign(member=table["role"] == "members", official_test=False, method=method)
    return table.drop(columns=["part", "twin"], errors="ignore")


def compare(scores: Mapping[str, Any], run: Path | str | Any) -> pd.DataFrame:
    """Judge membership scores as a run's own were, and give paired differences from it.

    Args:
        scores: name → (N,) scores, higher for members, in the order of `judged_images`; or a series
            whose index is the images' `index`.
        run: a `Run`, or its folder.

    Returns:
        One row per test, the run's first: `auc` and `tpr_at_1pct_fpr`, and how much each lies above
        the run's; every value with its 95 % interval, `_low` and `_high`. Intervals of differences
        take into account that both tests saw the same images.

    Raises:
        ProtocolError: scores are missing, no numbers, or not of these images.
        ResultsError: the run left no judged scores, or tests no membership.
    """
    if not isinstance(scores, Mapping):
        raise ProtocolError("Give scores by name: compare({'my test': scores}, run).")
    images = judged_images(run)
    ours = images["score"].to_numpy(np.float64)
    if np.isnan(ours).all():
        raise ResultsError(
            f"{images['method'].iloc[0]} tests no membership, so that there is nothing to compare "
            "with. Name the run of a membership test."
        )
    own = {str(images["method"].iloc[0]) + " (the run)": ours}
    if taken := [name for name in scores if name in own]:
        raise ProtocolError(f"{taken[0]!r} is the run's own row. Give your scores another name.")
    theirs = {name: _in_order(name, one, images) for name, one in scores.items()}
    member = images["member"].to_numpy(bool)
    groups = images["group"].to_numpy() if "group" in images else None
    rows = []
    for name, values in {**own, **theirs}.items():
        sides = values[member], values[~member], groups_of(images)
        row: dict[str, Any] = {"test": name, "images": len(images)}
        row |= _spread("auc", metrics.auc(*sides))
        row |= _spread("tpr_at_1pct_fpr", metrics.tpr_at_fpr(*sides[:2], FPR, sides[2]))
        pair = member, values, ours
        row |= _spread("auc_above", paired.auc_difference(*pair, groups))
        row |= _spread("tpr_above", paired.tpr_difference(*pair, FPR, groups))
        rows.append(row)
    return pd.DataFrame(rows).set_index("test")


def _in_order(name: str, given: Any, images: pd.DataFrame) -> np.ndarray:
    """Return one float score per judged image, in their order."""
    if isinstance(given, pd.Series) and not given.index.equals(pd.RangeIndex(len(images))):
        if given.index.has_duplicates or images["index"].duplicated().any():
            raise ProtocolError(f"Scores {name!r}: an index stands twice. Give them in order.")
        given = given.reindex(images["index"])
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu()
    try:
        if np.iscomplexobj(given):
            raise TypeError("they are complex")
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"Scores {name!r} are no numbers ({error}).") from error
    if values.shape != (len(images),) or not np.isfinite(values).all():
        odd = int((~np.isfinite(values)).sum())
        raise ProtocolError(
            f"Scores {name!r} have shape {values.shape}, {odd} of them no number; the run judges "
            f"{len(images)} images. Give one score for each, as `judged_images(run)` lists them."
        )
    return values


def _spread(name: str, found: Metric) -> dict[str, Any]:
    ends = {"": "value", "_low": "low", "_high": "high"}
    return {f"{name}{end}": found[key] for end, key in ends.items()}

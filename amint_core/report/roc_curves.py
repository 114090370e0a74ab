"""ROC curves of scores tables: the curve itself, its band, and the axes to read both on.

A table holds the judged scores of one method, as from `collect.scores_of` or `collect.judged`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from sklearn.metrics import roc_curve

from amint_core.evaluation import metrics
from amint_core.evaluation.metrics import Metric
from amint_core.evaluation.scores import groups_of

_POINTS = 80  # places on the false-positive axis at which a band is drawn, at most


def curve(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return false- and true-positive rates of one method's judged scores."""
    fpr, tpr, _ = roc_curve(rows["member"], rows["score"])
    return fpr, tpr


def band(tables: Sequence[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (P,) false-positive rates, and the true-positive rate at each with its bounds.

    The interval is that of the metric (`metrics.tpr_at_fpr`): where the threshold belongs is
    uncertain, too, and frames of one track count together. The lowest rate is that of one
    non-member, below which nothing is known.

    Args:
        tables: one per seed; several: means of the rates and of the bounds.
    """
    fewest = min(non_members(table) for table in tables)
    allowed = np.unique(np.geomspace(1, fewest, _POINTS).round())[:-1]
    everyone = {"value": 1.0, "low": 1.0, "high": 1.0}  # passes where all others may
    each = [[*(tpr_at(table, rate) for rate in allowed / fewest), everyone] for table in tables]
    parts = (np.mean([[one[part] for one in row] for row in each], axis=0) for part in everyone)
    return np.append(allowed / fewest, 1.0), *parts


def tpr_at(table: pd.DataFrame, fpr: float) -> Metric:
    """Return `metrics.tpr_at_fpr` of a table."""
    member, score = table["member"].to_numpy(bool), table["score"].to_numpy()
    return metrics.tpr_at_fpr(score[member], score[~member], fpr, groups_of(table))


def non_members(table: pd.DataFrame) -> int:
    """Return how many non-members a table holds."""
    return int((~table["member"]).sum())


def to_log_log(axes: Axes, non_members: int) -> None:
    """Set log-log axes that start at the smallest rate that so many non-members can show."""
    lowest = 1 / max(non_members, 10)
    axes.set(xscale="log", yscale="log", xlim=(lowest, 1.15), ylim=(lowest, 1.15))

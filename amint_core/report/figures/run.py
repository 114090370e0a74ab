"""Figures of one run's training and scores, as its notebook shows them.

Every `title` is the run's, as from `run_title`, so that stand-in data says so on each figure.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import logit
from sklearn.metrics import auc

from amint_core.report.figures.panels import curve, draw_band, non_members, roc_axes, tpr_at
from amint_core.report.names import has_own_threshold, has_target, method_title
from amint_core.report.read import judged
from amint_core.report.render import short
from amint_core.report.style import (
    BLACK,
    RED,
    ROLES,
    TASKS,
    headed,
    nothing_to_draw,
    styled,
)

LOSSES = {"audited": "audited (cross-entropy)", "mint": "MINT (binary)"}
NO_TEST = "This method has no membership test, so there are no scores."


@styled
def training_curves(history: pd.DataFrame, title: str) -> Figure:
    """Draw the tasks' losses, their accuracies on training images, and AUC on calibration.

    Args:
        history: as in history.csv, a row per epoch; a training of one task alone lacks the other's
            columns, and one with a loss of its own has columns of that name.
    """
    panels = {
        "Loss": _curves(history, "_loss", LOSSES),
        "Accuracy on training images": _curves(history, "_accuracy", {"mint": "MINT"}),
        "AUC on calibration": _curves(history, "_auc", {"calibration": "MINT"}),
    }
    panels = {name: curves for name, curves in panels.items() if curves}
    if not panels:
        return nothing_to_draw(f"{title}: training", "The history has no losses.")
    watched = "AUC on calibration" in panels
    figure, row = plt.subplots(1, len(panels), figsize=(4.0 * len(panels), 3.2), squeeze=False)
    headed(figure, f"{title}: training")
    for axes, (name, curves) in zip(row[0], panels.items(), strict=True):
        for number, (column, label) in enumerate(curves.items()):
            color = _color(column, number)
            for part in _heads_apart(history):
                axes.plot(*_known(part, column), color=color, label=label, marker=_dot(part))
                label = None  # one for all heads
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        if name == "Loss":
            axes.set_ylim(bottom=0)
    if watched:
        _mark_best(row[0, -1], history)
    return figure


def _heads_apart(history: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of each head of an ensemble: the next one begins anew."""
    if "head" not in history:
        return [history]
    return [part for _, part in history.groupby("head", dropna=False)]


def _curves(history: pd.DataFrame, ending: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the columns with this ending that hold anything, each with its label."""
    tasks = {name: name.removesuffix(ending) for name in history if name.endswith(ending)}
    return {
        column: labels.get(task, task)
        for column, task in tasks.items()
        if history[column].notna().any()
    }


def _color(column: str, number: int) -> str:
    """Return a task's colour; a loss of a membership test's own takes the next of the roles'."""
    task = column.split("_")[0]
    if column == "calibration_auc":
        task = "mint"
    return TASKS[task] if task in TASKS else list(ROLES.values())[number % len(ROLES)]


def _mark_best(axes: Axes, history: pd.DataFrame) -> None:
    best = history.loc[history["calibration_auc"].idxmax()]
    place = best["epoch"], best["calibration_auc"]
    label = f"highest: {short(place[1])}, epoch {place[0]:.0f}"
    axes.plot(*place, "o", color=RED, markersize=7, label=label, zorder=3)
    axes.legend(loc="lower right")


def _known(history: pd.DataFrame, column: str) -> tuple[pd.Series, pd.Series]:
    known = history[history[column].notna()]
    return known["epoch"], known[column]


def _dot(history: pd.DataFrame) -> str | None:
    """Mark single epochs where a line alone would show little or nothing."""
    return "o" if len(history) < 4 else None


@styled
def score_distributions(
    scores: pd.DataFrame, title: str, threshold_calibrated: float | None = None
) -> Figure:
    """Draw how the scores of judged members and non-members are spread, with the thresholds.

    The plain model has no test and no scores; the figure says so.

    Args:
        scores: as in scores.parquet; a panel per method.
        threshold_calibrated: a score, or None where there is none.

    Raises:
        ResultsError: no member, or no non-member, was judged.
    """
    rows = judged(scores)
    if rows["score"].isna().all():
        return nothing_to_draw(f"{title}: scores of judged images", NO_TEST)
    methods = dict(list(rows.groupby("method", sort=False)))
    figure, row = plt.subplots(1, len(methods), figsize=(7.2 * len(methods), 3.8), squeeze=False)
    headed(figure, f"{title}: scores of judged images")
    for axes, (method, rows) in zip(row[0], methods.items(), strict=True):
        _histograms(axes, rows)
        is_logit = not has_target(method)
        name = "probability .5" if is_logit else "the method's own (0)"
        if has_own_threshold(method):
            axes.axvline(0, color=BLACK, linewidth=1.2, label=name)
        if threshold_calibrated is not None:
            label = f"calibrated ({threshold_calibrated:.3g})"
            axes.axvline(threshold_calibrated, color=BLACK, linewidth=1.2, ls="--", label=label)
        axes.set(xlabel="membership logit" if is_logit else "score", ylabel="density")
        if len(methods) > 1:
            axes.set_title(method_title(method))
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        if is_logit:
            _probability_axis(axes)
    return figure


def _histograms(axes: Axes, rows: pd.DataFrame) -> None:
    wanted = len(np.histogram_bin_edges(rows["score"], bins="auto")) - 1
    bins = np.histogram_bin_edges(rows["score"], bins=int(np.clip(wanted, 15, 60)))
    for member, color, name in (
        (True, ROLES["members"], "members"),
        (False, ROLES["holdout"], "non-members"),
    ):
        values = rows.loc[rows["member"] == member, "score"]
        look = {"bins": bins, "density": True, "color": color}
        axes.hist(values, histtype="stepfilled", alpha=0.3, **look)
        axes.hist(values, histtype="step", lw=1.5, label=f"{name} ({len(values):,})", **look)


def _probability_axis(axes: Axes) -> None:
    """Name some logits by their probability along the top, as many as fit."""
    low, high = axes.get_xlim()
    top = axes.secondary_xaxis("top")
    steps = [0.5, 0.9, 0.1, 0.99, 0.01, 0.999, 0.001, 1 - 1e-6, 1e-6]
    ticks: list[float] = []
    for probability in steps:
        place = float(logit(probability))
        if low <= place <= high and all(abs(place - t) > (high - low) / 14 for t in ticks):
            ticks.append(place)
    top.set_xticks(ticks, [f"{1 / (1 + np.exp(-tick)):.6g}".lstrip("0") for tick in ticks])
    top.set_xlabel("probability of being a member")
    top.spines["top"].set_visible(True)


@styled
def roc(scores: pd.DataFrame, title: str) -> Figure:
    """Draw the ROC curve with linear axes and with logarithmic axes, a curve per method.

    On logarithmic axes with its pointwise 95 % band, see `panels.band`. The plain model has no
    test and no scores; the figure says so.

    Args:
        scores: as in scores.parquet.

    Raises:
        ResultsError: no member, or no non-member, was judged.
    """
    rows = judged(scores)
    if rows["score"].isna().all():
        return nothing_to_draw(f"{title}: ROC", NO_TEST)
    methods = dict(list(rows.groupby("method", sort=False)))
    figure, (linear, logarithmic) = plt.subplots(1, 2, figsize=(9, 4.4))
    headed(figure, f"{title}: ROC")
    colors = (*ROLES.values(), BLACK)
    for number, (method, of_method) in enumerate(methods.items()):
        color, name = colors[number % len(colors)], method_title(method)
        fpr, tpr = curve(of_method)
        linear.plot(fpr, tpr, color=color, label=f"{name}: AUC {short(auc(fpr, tpr))}")
        draw_band(logarithmic, [of_method], color=color)
        at_one = tpr_at(of_method, 0.01)["value"]
        if at_one is not None:
            label = f"{name}: TPR {short(at_one)} at 1 % FPR"
            # A rate of 0 has no place on this axis: unclipped, its dot would lie a page below.
            dot = {"color": color, "label": label, "zorder": 3, "clip_on": at_one == 0}
            logarithmic.plot(0.01, at_one, "o", **dot)
    roc_axes(linear)
    roc_axes(logarithmic, max(map(non_members, methods.values())))
    linear.set_title("linear")
    logarithmic.set_title("log-log, with 95 % intervals")
    for axes in (linear, logarithmic):
        axes.legend(loc="lower right")
    return figure

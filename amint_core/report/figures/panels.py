"""Parts of several figures: panels with a title each, dots with intervals, heat maps, ROC axes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence, Sized
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from amint_core.evaluation import metrics
from amint_core.evaluation.metrics import Metric
from amint_core.evaluation.scores import groups_of
from amint_core.report.render import short
from amint_core.report.style import GREY, headed

_POINTS = 80  # places on the false-positive axis at which a band is drawn, at most
#: Inches: of a letter of a panel's title, of a line of one, and beside a panel's axes.
_LETTER, _TITLE_LINE, _MARGIN = 0.082, 0.18, 0.6
Look = dict[str, str]  # of a curve: `color` and `linestyle`
#: The line on which a test knows nothing.
CHANCE = {"color": GREY, "linewidth": 1, "linestyle": "--"}


def tiles(
    title: str, names: Sequence[str], columns: int, width: float, height: float, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure of equal panels, so many in a line, and its named panels.

    Args:
        title: of the figure.
        names: a panel's title each.
        columns: panels in a line, at most.
        width: in inches, of a panel.
        height: in inches, of a panel; 1.3 more are for title and legend, and a line of a panel's
            title that is wrapped makes it higher.
        options: of `plt.subplots`.
    """
    columns = min(len(names), columns)
    lines = -(-len(names) // columns)
    wide = max(width * columns, 7.0)
    letters = int((wide / columns - _MARGIN) / _LETTER)
    names = ["\n".join(textwrap.fill(line, letters) for line in name.split("\n")) for name in names]
    height += _TITLE_LINE * max(name.count("\n") for name in names)
    size = (wide, height * lines + 1.3)
    figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False, **options)
    headed(figure, title)
    for axes in grid.flat[len(names) :]:
        axes.axis("off")
    panels = list(grid.flat[: len(names)])
    for axes, name in zip(panels, names, strict=True):
        axes.set_title(name)
    return figure, panels


def stack(
    title: str, lines: dict[str, float], columns: int, size: tuple[float, float, float]
) -> tuple[Figure, np.ndarray]:
    """Return a figure with a line of panels per title, as high as what it shows, and its axes.

    Args:
        title: of the figure.
        lines: title of a line's first panel → rows of text or squares that it shows.
        columns: panels in a line.
        size: width of the figure, height of one row, height besides of each line; in inches.
    """
    width, row, besides = size
    heights = list(lines.values())
    high = row * sum(heights) + besides * len(lines) + 0.9
    figure, grid = plt.subplots(
        len(lines), columns, figsize=(width, high), squeeze=False, height_ratios=heights
    )
    headed(figure, title)
    for axes, name in zip(grid[:, 0], lines, strict=True):
        axes.set_title(name)
    return figure, grid


def dots(
    axes: Axes, rows: pd.DataFrame, name: str, places: Iterable[float], colors: Iterable[str]
) -> None:
    """Draw a measure of each row as a dot with its interval, at a height of its own."""
    measured = rows[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
    for (value, low, high), place, color in zip(measured, places, colors, strict=True):
        axes.plot([low, high], [place, place], color=color, linewidth=2.2, solid_capstyle="butt")
        axes.plot(value, place, "o", color=color, markersize=6)
    axes.grid(axis="y", visible=False)


def heat_map(axes: Axes, grid: pd.DataFrame, low: float, high: float) -> None:
    """Draw a table of fractions as coloured, labelled squares; empty where there is none."""
    values = grid.to_numpy(float)
    axes.imshow(values, cmap="viridis", vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(grid.shape[1]), grid.columns)
    axes.set_yticks(range(grid.shape[0]), grid.index)
    axes.grid(visible=False)
    look = {"ha": "center", "va": "center", "fontsize": 8.5}
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        dark = not value >= low + 0.6 * (high - low)
        color = "white" if dark else "#222222"
        axes.text(column, row, short(value, digits=2), color=color, **look)


def legend_room(panels: Iterable[Sized]) -> float:
    """Return the height of `legend_below` the fullest of panels with a line a row, in inches."""
    return 0.19 * max(map(len, panels)) + 0.1


def legend_below(axes: Axes) -> None:
    """Name a panel's curves under it, line by line, no wider than the panel."""
    curves, names = axes.get_legend_handles_labels()
    names = [textwrap.fill(name, 52) for name in names]
    look = {"fontsize": 8.5, "labelspacing": 0.25}
    axes.legend(curves, names, loc="upper left", bbox_to_anchor=(-0.02, -0.14), **look)


def draw_curves(axes: Axes, curves: Sequence[tuple[str, Sequence[pd.DataFrame], Look]]) -> None:
    """Draw log-log ROC curves with their bands, and name them below the panel.

    Args:
        curves: name, judged scores per seed, and colour and line of each.
    """
    alpha = min(0.15, 0.6 / len(curves))  # many bands on top of each other stay light
    # Later ones lie on earlier ones and are thinner, so that none hides another.
    widths = np.linspace(min(3.0, 1.3 + 0.6 * (len(curves) - 1)), 1.3, len(curves))
    for (name, tables, look), width in zip(curves, widths, strict=True):
        draw_band(axes, tables, alpha, label=name, linewidth=width, **look)
    most = max(non_members(table) for _, tables, _ in curves for table in tables)
    roc_axes(axes, most, linestyle="-", alpha=0.7, label=None)
    legend_below(axes)
    axes.set_aspect("auto")


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
        tables: judged scores, one per seed; several: means of the rates and of the bounds.
    """
    fewest = min(non_members(table) for table in tables)
    allowed = np.unique(np.geomspace(1, fewest, _POINTS).round())[:-1]
    everyone = {"value": 1.0, "low": 1.0, "high": 1.0}  # passes where all others may
    each = [[*(tpr_at(table, rate) for rate in allowed / fewest), everyone] for table in tables]
    parts = (np.mean([[one[part] for one in row] for row in each], axis=0) for part in everyone)
    return np.append(allowed / fewest, 1.0), *parts


def draw_band(axes: Axes, tables: Sequence[pd.DataFrame], alpha: float = 0.15, **look: Any) -> None:
    """Draw a ROC curve with its pointwise 95 % band; see `band`."""
    rates, mean, low, high = band(tables)
    axes.step(rates, mean, where="post", **look)
    axes.fill_between(rates, low, high, step="post", color=look["color"], alpha=alpha, lw=0)


def tpr_at(table: pd.DataFrame, fpr: float) -> Metric:
    """Return `metrics.tpr_at_fpr` of a table of judged scores."""
    member, score = table["member"].to_numpy(bool), table["score"].to_numpy()
    return metrics.tpr_at_fpr(score[member], score[~member], fpr, groups_of(table))


def non_members(table: pd.DataFrame) -> int:
    """Return how many non-members a table holds."""
    return int((~table["member"]).sum())


def roc_axes(axes: Axes, logarithmic: int | None = None, **look: Any) -> None:
    """Name the axes of ROC curves and draw the line of chance.

    Args:
        axes: where the curves are.
        logarithmic: how many non-members there are, for logarithmic axes that start at the
            smallest rate that they can show; None: linear axes.
        look: of the line of chance, where it is not `CHANCE`.
    """
    chance = np.geomspace(1e-6, 1, 50)
    axes.plot(chance, chance, **(CHANCE | {"label": "chance"} | look))
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate", aspect="equal")
    if logarithmic is None:
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        return
    lowest = 1 / max(logarithmic, 10)
    axes.set(xscale="log", yscale="log", xlim=(lowest, 1.15), ylim=(lowest, 1.15))

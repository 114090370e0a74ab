"""Figures that set methods side by side: AUC, ROC curves, and agreement on members."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_core.evaluation import paired
from amint_core.report.by_method import compared, row_title
from amint_core.report.method_names import GROUP_TITLES, GROUPS
from amint_core.report.roc_curves import band, non_members, to_log_log
from amint_core.report.style import GREY, foot, headed, heat_map, method_looks, styled

Scores = dict[str, pd.DataFrame]


def scored(rows: pd.DataFrame, scores: Scores) -> dict[str, tuple[pd.Series, list[pd.DataFrame]]]:
    """Return the methods of a cell whose scores are there: title → row and a table per seed."""
    found = {}
    for _, row in rows.iterrows():
        tables = [scores[name] for name in row["runs"].split("; ") if name in scores]
        if tables:
            found[row_title(row)] = row, tables
    return found


def scored_cells(table: pd.DataFrame, scores: Scores) -> dict[str, pd.DataFrame]:
    """Return the cells with two or more methods whose scores are there: title → rows."""
    return {title: rows for title, rows in compared(table).items() if len(scored(rows, scores)) > 1}


@styled
def methods_beside_each_other(table: pd.DataFrame, profile: str) -> Figure:
    """Draw the AUC and the TPR at 1 % FPR of every method with 95 % intervals, a row per cell.

    Args:
        table: as from `comparison`, with a cell of two or more methods.
    """
    cells = compared(table)
    heights = [len(rows) + 0.6 * rows["group"].nunique() + 1.8 for rows in cells.values()]
    size = (10.5, 0.21 * sum(heights) + 0.5 * len(cells) + 0.9)
    figure, grid = plt.subplots(len(cells), 2, figsize=size, squeeze=False, height_ratios=heights)
    headed(figure, f"Methods on the same images: profile {profile}")
    looks = _looks(table)
    for (title, rows), axes in zip(cells.items(), grid, strict=True):
        places = _places(rows)
        _dots(axes[0], rows, places, "auc", looks)
        _dots(axes[1], rows, places, "tpr_at_1pct_fpr", looks)
        axes[0].axvline(0.5, color=GREY, linewidth=1, linestyle="--")
        axes[1].axvline(0.01, color=GREY, linewidth=1, linestyle="--")
        axes[0].set(title=title, xlabel="AUC")
        axes[1].set_xlabel("TPR at 1 % FPR")
        axes[1].tick_params(labelleft=False)
    handles = [*_group_handles(table, looks)]
    handles.append(Line2D([], [], color=GREY, linewidth=1, linestyle="--", label="chance"))
    foot(figure, handles, cells, "95 % intervals. ")
    return figure


def _places(rows: pd.DataFrame) -> list[float]:
    """Return the height of each row, groups apart."""
    apart = (rows["group"] != rows["group"].shift()).cumsum() - 1
    return [number + 0.6 * gap for number, gap in enumerate(apart)]


def _dots(axes: Axes, rows: pd.DataFrame, places: list[float], name: str, looks: dict) -> None:
    for height, (_, row) in zip(places, rows.iterrows(), strict=True):
        color = looks[_key(row)]
        ends = [row[f"{name}_low"], row[f"{name}_high"]]
        axes.plot(ends, [height, height], color=color, linewidth=2.2, solid_capstyle="butt")
        axes.plot(row[name], height, "o", color=color, markersize=6)
        if np.isnan(row[name]) and name == "auc":
            axes.text(0.51, height, "no test", color=GREY, va="center")
    axes.set_yticks(places, [row_title(row) for _, row in rows.iterrows()])
    axes.set_ylim(places[-1] + 0.8, -0.8)
    low = 0.45 if name == "auc" else -0.02
    axes.set_xlim(min(low, rows[f"{name}_low"].min() - 0.02), 1.02)
    axes.grid(axis="y", visible=False)


@styled
def roc_by_method(table: pd.DataFrame, scores: Scores, profile: str) -> Figure:
    """Draw log-log ROC curves of the methods of each cell, with bands.

    Bands are pointwise, see `roc_curves.band`; several seeds: means.

    Args:
        table: as from `comparison`.
        scores: as from `scores_of`, of two or more methods of a cell.
    """
    cells = scored_cells(table, scores)
    columns = min(len(cells), 2)
    lines = -(-len(cells) // columns)
    size = (5.2 * columns, 4.4 * lines + 1.6)
    figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False)
    headed(figure, f"ROC curves by method: profile {profile}")
    looks, handles = _looks(table), {}
    for axes in grid.flat[len(cells) :]:
        axes.axis("off")
    for (title, rows), axes in zip(cells.items(), grid.flat, strict=False):
        drawn = scored(rows, scores)
        faint = min(0.15, 1 / len(drawn))  # many bands on top of each other stay light
        for name, (row, tables) in drawn.items():
            look = {"color": looks[_key(row)], "linestyle": _line(row), "linewidth": 1.5}
            rates, mean, low, high = band(tables)
            axes.step(rates, mean, where="post", **look)
            axes.fill_between(rates, low, high, step="post", color=look["color"], alpha=faint, lw=0)
            handles[name] = Line2D([], [], label=name, **look)
        chance = np.geomspace(1e-6, 1, 50)
        axes.plot(chance, chance, color=GREY, linewidth=1, alpha=0.7)
        to_log_log(axes, max(non_members(one) for _, tables in drawn.values() for one in tables))
        axes.set(xlabel="false-positive rate", ylabel="true-positive rate", title=title)
    note = "Bands: pointwise 95 % intervals of the TPR; several seeds: means. "
    foot(figure, list(handles.values()), cells, note)
    return figure


@styled
def agreement(table: pd.DataFrame, scores: Scores, profile: str) -> Figure:
    """Draw Cohen's kappa of every two methods' verdicts on judged members, a panel per cell.

    Each method's verdict is at its own threshold of `VERDICT_FPR`; several seeds: the mean. Empty
    where either method gives all members one verdict, or two share no seed.

    Args:
        table: as from `comparison`.
        scores: as from `with_verdicts`, of two or more methods of a cell.
    """
    cells = scored_cells(table, scores)
    sizes = [len(scored(rows, scores)) + 3 for rows in cells.values()]
    size = (4.2 + 0.5 * max(sizes), 0.42 * sum(sizes) + 1.1 * len(cells) + 0.6)
    figure, column = plt.subplots(len(cells), 1, figsize=size, squeeze=False, height_ratios=sizes)
    headed(figure, f"Agreement on members, Cohen's kappa: profile {profile}")
    for (title, rows), axes in zip(cells.items(), column[:, 0], strict=True):
        grid = kappas(rows, scores)
        heat_map(axes, grid, 0.0, 1.0)
        numbers = [str(number) for number in range(1, len(grid) + 1)]
        axes.set_xticks(range(len(grid)), numbers)
        names = zip(grid.index, numbers, strict=True)
        axes.set_yticks(range(len(grid)), [f"{name}  {number}" for name, number in names])
        axes.set_title(title)
    note = "Where each method accuses 1 % of the non-members. 1: the same members are found; 0: no "
    note += "more in common than by chance; empty: one says the same of all. "
    foot(figure, [], cells, note)
    return figure


def kappas(rows: pd.DataFrame, scores: Scores) -> pd.DataFrame:
    """Return the (methods × methods) mean kappa over seeds of the verdicts on judged members."""
    verdicts = {
        name: [_verdicts(table) for table in tables]
        for name, (_, tables) in scored(rows, scores).items()
    }
    grid = pd.DataFrame(np.nan, index=list(verdicts), columns=list(verdicts))
    for one, ours in verdicts.items():
        for two, theirs in verdicts.items():
            pairs = [(a, b) for a in ours for b in theirs if a.index.equals(b.index)]
            each = [paired.kappa(a.to_numpy(), b.to_numpy()) for a, b in pairs]
            grid.loc[one, two] = np.mean(each) if each else np.nan
    return grid


def _verdicts(table: pd.DataFrame) -> pd.Series:
    """Return image → flagged, of judged members, in one order."""
    return table[table["member"]].set_index("image")["flagged"].sort_index()


def _key(row: pd.Series) -> tuple[str, str | None]:
    return row["method"], row["target"] if isinstance(row["target"], str) else None


def _looks(table: pd.DataFrame) -> dict[tuple[str, str | None], str]:
    return method_looks(_key(row) for _, row in table.iterrows())


def _line(row: pd.Series) -> str:
    return "--" if row["target"] == "active" else "-"


def _group_handles(table: pd.DataFrame, looks: dict) -> list[Line2D]:
    on_active = (table["group"] == "attack") & (table["target"] == "active")
    families = [(GROUP_TITLES[group], (table["group"] == group) & ~on_active) for group in GROUPS]
    families.insert(3, ("attacks on the active model", on_active))
    return [
        Line2D([], [], color=looks[_key(table[those].iloc[0])], marker="o", label=name)
        for name, those in families
        if those.any()
    ]

"""Methods beside each other: AUC and TPR at 1 % FPR of all that were run on the same images."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_core.report.figures.panels import CHANCE, dots, stack
from amint_core.report.names import FAMILIES, method_family, row_title
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import GREY, foot, method_looks, nothing_to_draw, styled
from amint_core.report.tables import comparison

Scores = dict[str, pd.DataFrame]
ONE_METHOD = "No cell of this profile has two methods: there is nothing to set side by side."
NO_PAIRS = "No two methods of a cell have their scores here, from enough images."
#: Measure → heading, and the value of a test that knows nothing.
MEASURED = {"auc": ("AUC", 0.5), "tpr_at_1pct_fpr": ("TPR at 1 % FPR", 0.01)}


@styled
def draw(results: Results) -> Figure:
    """Draw every method with its 95 % intervals, a line of panels per cell of several methods."""
    title = f"Methods on the same images: profile {results.profile}"
    table = results.once(comparison.rows)
    cells = comparison.compared(table)
    if not cells:
        return nothing_to_draw(title, ONE_METHOD)
    heights = {
        name: len(rows) + 0.6 * rows["group"].nunique() + 1.8 for name, rows in cells.items()
    }
    figure, grid = stack(title, heights, 2, (10.5, 0.21, 0.5))
    looks = colors(table)
    for rows, line in zip(cells.values(), grid, strict=True):
        for axes, (name, (heading, chance)) in zip(line, MEASURED.items(), strict=True):
            _draw_measure(axes, rows.assign(color=looks), name)
            axes.axvline(chance, **CHANCE)
            axes.set_xlabel(heading)
        line[1].tick_params(labelleft=False)
    handles = [*_family_handles(table, looks), Line2D([], [], label="chance", **CHANCE)]
    foot(figure, handles, cells, "95 % intervals. ")
    return figure


def colors(table: pd.DataFrame) -> pd.Series:
    """Return the colour of each row of the comparison; see `style.method_looks`."""
    pairs = [
        (method, target if isinstance(target, str) else None)
        for method, target in table[["method", "target"]].values
    ]
    looks = method_looks(pairs)
    return pd.Series([looks[pair] for pair in pairs], table.index)


def scored(rows: pd.DataFrame, scores: Scores) -> dict[str, tuple[pd.Series, list[pd.DataFrame]]]:
    """Return the methods of a cell whose scores are at hand: title → row and a table per seed."""
    found = {}
    for _, row in rows.iterrows():
        tables = [scores[name] for name in row["runs"].split("; ") if name in scores]
        if tables:
            found[row_title(row)] = row, tables
    return found


def scored_cells(table: pd.DataFrame, scores: Scores) -> dict[str, pd.DataFrame]:
    """Return the cells with two or more methods whose scores are at hand: title → rows."""
    cells = comparison.compared(table).items()
    return {title: rows for title, rows in cells if len(scored(rows, scores)) > 1}


def _draw_measure(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    apart = (rows["group"] != rows["group"].shift()).cumsum() - 1
    places = [number + 0.6 * gap for number, gap in enumerate(apart)]
    dots(axes, rows, name, places, rows["color"])
    for place, value in zip(places, rows[name], strict=True):
        if pd.isna(value) and name == "auc":
            axes.text(0.51, place, "no test", color=GREY, va="center")
    axes.set_yticks(places, [row_title(row) for _, row in rows.iterrows()])
    axes.set_ylim(places[-1] + 0.8, -0.8)
    low = 0.45 if name == "auc" else -0.02
    axes.set_xlim(min(low, rows[f"{name}_low"].min() - 0.02), 1.02)


def families(table: pd.DataFrame) -> pd.Series:
    """Return which of `names.FAMILIES` each row of the comparison belongs to."""
    pairs = table[["method", "target"]].itertuples(index=False)
    return pd.Series([method_family(*pair) for pair in pairs], table.index, object)


def _family_handles(table: pd.DataFrame, looks: pd.Series) -> list[Line2D]:
    first = looks.groupby(families(table)).first()
    return [
        Line2D([], [], color=first[name], marker="o", label=text)
        for name, text in FAMILIES.items()
        if name in first
    ]


FIGURE = Drawing("methods", draw)

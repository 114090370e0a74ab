"""Every active run with its interval, beside the paper's values."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_core.report import paper
from amint_core.report.figures.panels import dots, stack
from amint_core.report.names import model_title
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import GREY, SETUPS, foot, nothing_to_draw, styled
from amint_core.report.tables import table1

SIDES = {"mint": "MINT accuracy", "audited": "Audited accuracy"}
NO_ACTIVE = "This profile has no active run."
_PAPER_LOOK = {
    "marker": "D",
    "markersize": 5.5,
    "markerfacecolor": "none",
    "markeredgecolor": "#222222",
    "linestyle": "none",
    "zorder": 4,
}


def panels(results: Results) -> dict[str, pd.DataFrame]:
    """Return the rows of Table 1 that were run, by title; models together, in the paper's order.

    The column `line` names what rows have in common that differ only by setup.
    """
    table = results.once(table1.rows)
    rows = table[table1.was_run(table)]
    variant = rows["variant"].map(lambda text: text if isinstance(text, str) else "")
    lines = [
        "\n".join([model_title(model), *textwrap.wrap(text, 28)])
        for model, text in zip(rows["model"], variant, strict=True)
    ]
    rows = rows.assign(line=lines, place=rows["model"].map(paper.model_order), variant=variant)
    rows = rows.sort_values(["place", "variant"], kind="stable")
    titles = table["title"].dropna().drop_duplicates()
    return {title: rows[rows["title"] == title] for title in titles}


@styled
def draw(results: Results) -> Figure:
    """Draw a panel per dataset, a line per model, variant and setup; diamonds are the paper's."""
    title = f"Results beside the paper's: profile {results.profile}"
    datasets = panels(results)
    if not datasets:
        return nothing_to_draw(title, NO_ACTIVE)
    heights = {name: _places(rows)[-1] + 1.6 for name, rows in datasets.items()}
    figure, grid = stack(title, heights, 2, (10, 0.165, 0.55))
    for (name, rows), line in zip(datasets.items(), grid, strict=True):
        for (side, measure), axes in zip(SIDES.items(), line, strict=True):
            _draw_side(axes, rows, side)
            axes.set_title(f"{name}: {measure}")
        line[1].tick_params(labelleft=False)
    drawn = {setup for rows in datasets.values() for setup in rows["setup"]}
    handles = [
        Line2D([], [], color=color, marker="o", label=f"{setup}, 95 % interval")
        for setup, color in [*SETUPS.items(), *((one, GREY) for one in sorted(drawn - {*SETUPS}))]
        if setup in drawn
    ]
    if any(rows["paper_mint_accuracy"].notna().any() for rows in datasets.values()):
        handles.append(Line2D([], [], label="paper", **_PAPER_LOOK))
    foot(figure, handles, datasets)
    return figure


def _colours(rows: pd.DataFrame) -> pd.Series:
    return rows["setup"].map(SETUPS).fillna(GREY)  # grey: taps of one's own choice


def _places(rows: pd.DataFrame) -> list[float]:
    """Return the height of each row; the setups of a model stand together, models apart."""
    heights = [0.0]
    for before, line in zip(rows["line"], rows["line"].iloc[1:], strict=False):
        heights.append(heights[-1] + (1.0 if line == before else 1.5 + 0.7 * line.count("\n")))
    return heights


def _draw_side(axes: Axes, rows: pd.DataFrame, side: str) -> None:
    places = pd.Series(_places(rows), rows.index)
    dots(axes, rows, f"{side}_accuracy", places, _colours(rows))
    axes.plot(rows[f"paper_{side}_accuracy"], places, **_PAPER_LOOK)
    middles = places.groupby(rows["line"], sort=False).mean()
    axes.set_yticks(middles, middles.index)
    axes.set_ylim(places.iloc[-1] + 0.8, -0.8)
    axes.set_xlim(*limits(rows, side))


def limits(rows: pd.DataFrame, side: str) -> tuple[float, float]:
    """Return an axis' range: from chance (.5) or from 0 to 1, wider only where values lie out."""
    names = [f"{side}_accuracy", f"{side}_accuracy_low", f"{side}_accuracy_high"]
    values = rows[[*names, f"paper_{side}_accuracy"]].to_numpy(float)
    start = 0.5 if side == "mint" else 0.0
    return min(start, np.nanmin(values)) - 0.02, max(1.0, np.nanmax(values)) + 0.02


FIGURE = Drawing("results_beside_paper", draw)

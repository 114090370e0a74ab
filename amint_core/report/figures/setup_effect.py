"""What the setup does: MINT and audited accuracy over entry, middle and output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_core.report import paper
from amint_core.report.figures.beside_paper import NO_ACTIVE, SIDES, limits, panels
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import GREY, foot, headed, model_look, nothing_to_draw, styled

#: Markers of one model's variants.
FILLS = ("full", "none", "left", "right", "top", "bottom")


@styled
def draw(results: Results) -> Figure:
    """Draw a column per dataset and a line per model and variant; the paper's lines are thin."""
    title = f"Effect of the setup: profile {results.profile}"
    found = panels(results).items()
    of_setups = {name: rows[rows["setup"].isin(paper.SETUPS)] for name, rows in found}
    datasets = {name: rows for name, rows in of_setups.items() if len(rows)}
    if not datasets:
        return nothing_to_draw(title, NO_ACTIVE)
    size = (max(6.5, 3.1 * len(datasets) + 0.6), 6.6)
    figure, grid = plt.subplots(2, len(datasets), figsize=size, squeeze=False, sharey="row")
    headed(figure, title)
    everything = pd.concat(datasets.values())
    looks = _looks(everything)
    for (name, rows), column in zip(datasets.items(), grid.T, strict=True):
        for (side, measure), axes in zip(SIDES.items(), column, strict=True):
            _draw_lines(axes, rows, side, looks)
            axes.set(title=name, xlim=(-0.35, 2.35), ylim=limits(everything, side))
            axes.set_xticks(range(3), paper.SETUPS)
            if axes is grid[0, 0] or axes is grid[1, 0]:
                axes.set_ylabel(measure)
    handles = [Line2D([], [], label=line.replace("\n", " "), **looks[line]) for line in looks]
    if everything["paper_mint_accuracy"].notna().any():
        handles.append(Line2D([], [], color=GREY, linewidth=1, linestyle="--", label="paper"))
    foot(figure, handles, datasets)
    return figure


def _looks(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return how the line of each model and variant looks, the same in every panel.

    Variants of one model have its colour and another filling.
    """
    found = {}
    for model, lines in rows.groupby("model", sort=False)["line"]:
        color, marker = model_look(model)
        for number, line in enumerate(lines.unique()):
            fill = FILLS[number % len(FILLS)]
            found[line] = {"color": color, "marker": marker, "markersize": 6, "fillstyle": fill}
    return found


def _draw_lines(
    axes: Axes, rows: pd.DataFrame, side: str, looks: dict[str, dict[str, Any]]
) -> None:
    """Draw a line per model and variant."""
    lines = dict(list(rows.groupby("line", sort=False)))
    for number, (line, of_line) in enumerate(lines.items()):
        dataset, model = of_line[["dataset", "model"]].iloc[0]
        look = looks[line]
        # A little beside each other, so that no marker hides another.
        shift = 0.05 * (number - (len(lines) - 1) / 2)
        value, low, high = (of_line[f"{side}_accuracy{part}"] for part in ("", "_low", "_high"))
        errors = np.clip([value - low, high - value], 0, None)
        places = of_line["setup"].map(paper.SETUPS.index) + shift
        axes.errorbar(places, value, yerr=errors, elinewidth=1, **look)
        if of_line["paper_mint_accuracy"].notna().all():
            printed = [paper.TABLE1[dataset, setup, model] for setup in paper.SETUPS]
            values = [getattr(cell, side) for cell in printed]
            thin = {"color": look["color"], "linewidth": 1, "linestyle": "--", "alpha": 0.7}
            axes.plot(range(len(values)), values, **thin)


FIGURE = Drawing("setup_effect", draw)

"""What λ buys in MINT and costs in audited accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_core.report.figures.panels import stack
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import BLACK, BLUE, GREEN, SKY, foot, nothing_to_draw, styled
from amint_core.report.tables import lambda_curves

#: Measure → name and colour: of the left panel, and of the right one.
_MINT = {"auc": ("AUC", BLUE), "accuracy_calibrated": ("calibrated MINT accuracy", SKY)}
_AUDITED = {"audited_accuracy": ("Audited accuracy", GREEN)}
_ALONE = {"color": BLACK, "linewidth": 1.2, "linestyle": "--"}


@styled
def draw(results: Results) -> Figure:
    """Draw MINT and audited accuracy against λ with 95 % intervals, two panels per curve.

    A λ of 0 has no place on a logarithmic axis and is left to the table.
    """
    title = f"What λ buys and costs: profile {results.profile}"
    table = results.once(lambda_curves.rows)
    if table.empty:
        return nothing_to_draw(title, "No two active runs of this profile differ in λ alone.")
    curves = lambda_curves.named_curves(table)
    figure, grid = stack(title, dict.fromkeys(curves, 1.0), 2, (10, 2.9, 0.2))
    for rows, line in zip(curves.values(), grid, strict=True):
        for axes, measures in zip(line, (_MINT, _AUDITED), strict=True):
            _draw_lines(axes, rows, measures)
        line[0].set_ylabel("MINT")
        line[1].set_ylabel("audited accuracy")
        _draw_alone(line[1], rows)
    handles = [
        Line2D([], [], color=color, marker="o", label=name)
        for name, color in (_MINT | _AUDITED).values()
    ]
    if table["plain_audited_accuracy"].notna().any():
        handles.append(Line2D([], [], label="the model trained alone", **_ALONE))
    foot(figure, handles, curves, "95 % intervals; dots are means over seeds. ")
    return figure


def _draw_lines(axes: Axes, rows: pd.DataFrame, measures: dict[str, tuple[str, str]]) -> None:
    for name, (_, color) in measures.items():
        shown = rows[(rows["lambda_mint"] > 0) & rows[name].notna()]
        places = shown["lambda_mint"]
        axes.plot(places, shown[name], "o-", color=color, markersize=5)
        axes.vlines(places, shown[f"{name}_low"], shown[f"{name}_high"], color=color, linewidth=2.2)
    axes.set(xlabel="λ (lambda_mint)", xscale="log")


def _draw_alone(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the accuracy of the model alone as a line, and its interval as a band."""
    parts = ("", "_low", "_high")
    value, low, high = (rows[f"plain_audited_accuracy{part}"].iloc[0] for part in parts)
    if not np.isnan(value):
        axes.axhline(value, **_ALONE)
        axes.axhspan(low, high, color=BLACK, alpha=0.08, linewidth=0)


FIGURE = Drawing("lambda", draw)

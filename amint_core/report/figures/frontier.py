"""The frontier: exact images told apart against transformed ones, a point per recipe."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from amint_core.config import EXACT
from amint_core.report.names import place_title, recipe_title
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import (
    MARKERS,
    MODELS,
    OTHER_MODEL,
    foot,
    headed,
    nothing_to_draw,
    styled,
)
from amint_core.report.tables import transformations

#: Transformations of the figure.
SHOWN = ("flip", "shift", "jpeg")
#: Six colours and seven shapes: no two of 42 entries have both in common.
_COLORS, _SHAPES = list(MODELS.values()), [*MARKERS.values(), OTHER_MODEL[1]]


def points(results: Results) -> pd.DataFrame:
    """Set the calibrated accuracy on exact images beside the AUC after each transformation.

    Returns:
        Rows of the transformations table for those of `SHOWN`, with `entry` (the recipe, and what
        else tells it apart) and `exact`, `exact_low`, `exact_high`; without those where either
        value is missing.
    """
    table = results.once(transformations.rows)
    table = table.assign(entry=[recipe_title(row) for _, row in table.iterrows()])
    parts = {f"accuracy_calibrated{part}": f"exact{part}" for part in ("", "_low", "_high")}
    exact = table[table["transformation"] == EXACT].rename(columns=parts)
    keys = [*transformations.PLACE, "entry"]
    those = table[table["transformation"].isin(SHOWN)]
    found = those.merge(exact[[*keys, *parts.values()]], on=keys)
    return found.dropna(subset=["exact", "auc"]).reset_index(drop=True)


@styled
def draw(results: Results) -> Figure:
    """Draw each recipe's exact calibrated accuracy against its AUC after flip, shift and JPEG."""
    title = f"Exact members against transformed ones: profile {results.profile}"
    found = results.once(points)
    if found.empty:
        why = "No run with a calibrated threshold measured flipped, shifted or re-encoded images."
        return nothing_to_draw(title, why)
    places = list(found.groupby(transformations.PLACE, sort=False))
    names = [name for name in SHOWN if (found["transformation"] == name).any()]
    size = (max(1.0 + 3.1 * len(names), 7.0), 3.0 * len(places) + 1.6)
    figure, grid = plt.subplots(
        *(len(places), len(names)), figsize=size, squeeze=False, sharex="row", sharey="row"
    )
    headed(figure, title)
    looks = {
        name: (_COLORS[number % len(_COLORS)], _SHAPES[number % len(_SHAPES)])
        for number, name in enumerate(found["entry"].unique())
    }
    for (_, rows), line in zip(places, grid, strict=True):
        for name, axes in zip(names, line, strict=True):
            _crosses(axes, rows[rows["transformation"] == name], looks)
            axes.set(xlabel="calibrated accuracy, exact images", ylabel=f"AUC after {name}")
            axes.xaxis.set_major_locator(MaxNLocator(4))  # more labels would run into each other
        line[0].set_title(place_title(rows.iloc[0]))
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="none", label=name)
        for name, (color, marker) in looks.items()
    ]
    foot(figure, handles, found["title"], "95 % intervals; means over seeds. AUC .5 is chance. ")
    return figure


def _crosses(axes: Axes, rows: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    for _, row in rows.iterrows():
        color, marker = looks[row["entry"]]
        axes.hlines(row["auc"], row["exact_low"], row["exact_high"], color=color, linewidth=1.2)
        axes.vlines(row["exact"], row["auc_low"], row["auc_high"], color=color, linewidth=1.2)
        axes.plot(row["exact"], row["auc"], marker, color=color, markersize=7)


FIGURE = Drawing("frontier", draw)

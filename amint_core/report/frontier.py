"""The frontier: exact images told apart against transformed ones, a point per recipe."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_core.report.by_transformation import EXACT, PLACE, place_title, recipe_title
from amint_core.report.style import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    foot,
    headed,
    styled,
)

#: Transformations of the figure.
SHOWN = ("flip", "shift", "jpeg")
_COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")


def frontier(table: pd.DataFrame) -> pd.DataFrame:
    """Set the calibrated accuracy on exact images beside the AUC after each transformation.

    Args:
        table: as from `by_transformation.transformations`.

    Returns:
        Rows of `table` for the transformations of `SHOWN`, with `entry` (the recipe, and what else
        tells it apart) and `exact`, `exact_low`, `exact_high`; without those where either value is
        missing.
    """
    keys = [*PLACE, "entry"]
    named = table.assign(entry=[recipe_title(row) for _, row in table.iterrows()])
    parts = {f"accuracy_calibrated{part}": f"exact{part}" for part in ("", "_low", "_high")}
    exact = named[named["transformation"] == EXACT].rename(columns=parts)
    those = named[named["transformation"].isin(SHOWN)]
    found = those.merge(exact[[*keys, *parts.values()]], on=keys)
    return found.dropna(subset=["exact", "auc"]).reset_index(drop=True)


@styled
def frontier_figure(points: pd.DataFrame, profile: str) -> Figure:
    """Draw each recipe's exact calibrated accuracy against its AUC after flip, shift and JPEG.

    Args:
        points: as from `frontier`; it must not be empty.
    """
    places = list(points.groupby(PLACE, sort=False))
    names = [name for name in SHOWN if (points["transformation"] == name).any()]
    size = (1.0 + 3.1 * len(names), 3.0 * len(places) + 1.6)
    figure, grid = plt.subplots(
        *(len(places), len(names)), figsize=size, squeeze=False, sharex="row", sharey="row"
    )
    headed(figure, f"Exact members against transformed ones: profile {profile}")
    looks = _looks(points)
    for (_, rows), line in zip(places, grid, strict=True):
        for name, axes in zip(names, line, strict=True):
            _dots(axes, rows[rows["transformation"] == name], looks)
            axes.set_ylabel(f"AUC after {name}")
            axes.set_xlabel("calibrated accuracy, exact images")
        line[0].set_title(place_title(rows))
    handles = [
        Line2D([], [], color=color, marker=marker, linestyle="none", label=name)
        for name, (color, marker) in looks.items()
    ]
    foot(figure, handles, points["title"], "95 % intervals; means over seeds. AUC .5 is chance. ")
    return figure


def _looks(points: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Return a colour and a marker per entry; no two of 42 entries have both in common."""
    names = points["entry"].unique()
    return {
        name: (_COLORS[number % len(_COLORS)], _MARKERS[number % len(_MARKERS)])
        for number, name in enumerate(names)
    }


def _dots(axes: Axes, rows: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    for _, row in rows.iterrows():
        color, marker = looks[row["entry"]]
        axes.hlines(row["auc"], row["exact_low"], row["exact_high"], color=color, linewidth=1.2)
        axes.vlines(row["exact"], row["auc_low"], row["auc_high"], color=color, linewidth=1.2)
        axes.plot(row["exact"], row["auc"], marker, color=color, markersize=7)

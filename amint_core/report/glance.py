"""All 72 cells of the paper's Table 1 in one figure."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from amint_core.report import paper
from amint_core.report.render import short
from amint_core.report.sheets import COMPARED, DATASETS, KEY, METHODS, images

Colour = str | tuple[float, ...]


def draw(table: pd.DataFrame) -> Figure:
    """Draw all cells at a glance: MINT at both thresholds and audited accuracy, by their difference
    to the paper's."""
    figure = plt.figure(figsize=(15, 11.5), layout="constrained")
    titles = (
        "MINT as the paper judges it, at probability .5",
        "MINT on the same images, at a calibrated threshold (the paper's is at .5)",
        "Audited accuracy",
    )
    lines = figure.subfigures(len(METHODS))
    for line, (method, what) in zip(lines, METHODS.items(), strict=True):
        line.suptitle(what, fontsize=12, fontweight="bold", x=0.01, ha="left")
        own = table[table["method"] == method].set_index(KEY)
        panels = zip(line.subplots(1, 3), titles, COMPARED.values(), strict=True)
        for place, title, (ours, theirs, _) in panels:
            _panel(place, own, ours, theirs)
            place.set_title(textwrap.fill(title, 50), fontsize=10)
    figure.suptitle(
        f"The paper's {len(paper.TABLE1)} cells on {images(table)}: ours, and below it the paper's "
        f"(colour: difference; white within ±{paper.NOISE:.2f}; grey: the paper's alone, where we "
        "have no run)",
        fontsize=12,
    )
    plt.close(figure)  # one that ends a notebook cell is shown once then
    return figure


def _panel(axes: Axes, own: pd.DataFrame, ours: str, theirs: str) -> None:
    keys = [(dataset, setup) for dataset in DATASETS for setup in paper.SETUPS]
    for y, (dataset, setup) in enumerate(keys):
        for x, model in enumerate(paper.MODELS):
            row = own.loc[(dataset, setup, model)]
            value, printed = row[ours], row[theirs]
            colour = _colour(value, printed)
            square = {"facecolor": colour, "edgecolor": "white", "linewidth": 1}
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, **square))
            theirs_alone = pd.isna(value)
            text = short(printed, 2) if theirs_alone else f"{short(value, 2)}\n{short(printed, 2)}"
            ink = "#999999" if theirs_alone else _ink(colour)
            centred = {"ha": "center", "va": "center", "linespacing": 1.1}
            axes.text(x, y, text, fontsize=8, color=ink, **centred)
    labels = [f"{DATASETS[dataset]} · {setup}" for dataset, setup in keys]
    axes.set(xlim=(-0.5, len(paper.MODELS) - 0.5), ylim=(len(keys) - 0.5, -0.5))
    axes.set_xticks(
        range(len(paper.MODELS)), paper.MODELS.values(), rotation=30, ha="right", fontsize=8
    )
    axes.set_yticks(range(len(keys)), labels, fontsize=8)
    for line in range(len(paper.SETUPS), len(keys), len(paper.SETUPS)):
        axes.axhline(line - 0.5, color="black", linewidth=0.8)
    axes.tick_params(length=0)


def _colour(value: float | None, printed: float) -> Colour:
    if value is None or pd.isna(value):
        return "#EEEEEE"
    difference = value - printed
    if abs(difference) <= paper.NOISE:
        return "#F7F7F7"
    return colormaps["RdBu"](0.5 + max(-0.4, min(0.4, 2 * difference)))


def _ink(colour: Colour) -> str:
    """Return black or white, whichever can be read on a colour."""
    red, green, blue = to_rgb(colour)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.45 else "white"

"""One look for all figures: fixed colours per role, setup and model, and files that never differ.

The palette is Okabe and Ito's (2008), which colour-blind readers can tell apart; setups are three
steps of matplotlib's magma, dark to light from the input to the output.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from amint_core.files import atomic_path
from amint_core.report import paper
from amint_core.report.names import ON_ACTIVE, method_family, method_order

Given = ParamSpec("Given")

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#222222", "#8C8C8C"

ROLES = {
    "members": BLUE,
    "external": ORANGE,
    "calibration": PURPLE,
    "holdout": RED,
    "test": GREEN,
}
#: The two tasks of active training.
TASKS = {"mint": BLUE, "audited": GREEN}
SETUPS = {"entry": "#3B0F70", "middle": "#B73779", "output": "#FC8961"}
MODELS = dict(zip(paper.MODELS, (BLUE, ORANGE, GREEN, RED, PURPLE, SKY), strict=True))
#: Lines of curves of one colour.
LINES = ("-", "--", ":")
#: Curves of one panel that have no colour of their own.
_CURVES = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK)
#: Shapes beside the colours, so that models differ in black and white too.
MARKERS = dict(zip(paper.MODELS, ("o", "s", "D", "^", "v", "P"), strict=True))
OTHER_MODEL = (BLACK, "X")
#: Colour maps of the families of methods; several methods of one are shades of its hue.
_HUES = {
    "aMINT": "Blues",
    "passive": "Greens",
    "attack": "Oranges",
    ON_ACTIVE: "Purples",
    "control": "Greys",
}
STANDIN = "[STAND-IN]: substitute data; not to be compared with the paper's values."

RC = {
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "text.color": BLACK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "savefig.dpi": 120,
}


def styled(draw: Callable[Given, Figure]) -> Callable[Given, Figure]:
    """Draw in the project's style and leave no figure open behind.

    A closed figure still shows when it ends a notebook cell, and shows only once.
    """

    @wraps(draw)
    def drawn(*args: Given.args, **kwargs: Given.kwargs) -> Figure:
        with plt.rc_context(RC):
            figure = draw(*args, **kwargs)
        _take_literally(figure)
        plt.close(figure)
        return figure

    return drawn


def _take_literally(figure: Figure) -> None:
    """Show names from results files as they are: a "$" in one is no formula."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    logarithmic = [a for axes in figure.axes for a in (axes.xaxis, axes.yaxis)]
    for axis in (axis for axis in logarithmic if axis.get_scale() == "log"):
        for text in axis.findobj(Text):  # powers of ten are formulas
            text.set_parse_math(text is not axis.label)


def save(figure: Figure, target: Path) -> list[Path]:
    """Write a figure as PNG (120 dpi) and SVG, byte for byte the same each time.

    Args:
        target: the path without a suffix.
    """
    written = []
    # Without a fixed salt, names inside an SVG are random; without these keys, files hold a date.
    with plt.rc_context({**RC, "svg.hashsalt": "amint"}):
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            path = target.with_name(target.name + suffix)
            with atomic_path(path) as temporary:
                figure.savefig(temporary, metadata=metadata)
            written.append(path)
    return written


def model_look(name: str) -> tuple[str, str]:
    """Return a model's colour and marker."""
    return (MODELS[name], MARKERS[name]) if name in MODELS else OTHER_MODEL


def curve_look(number: int) -> dict[str, str]:
    """Return colour and line of a panel's curve, by its place there; no two of 21 look alike."""
    return {
        "color": _CURVES[number % len(_CURVES)],
        "linestyle": LINES[number // len(_CURVES) % len(LINES)],
    }


def method_looks(names: Iterable[tuple[str, str | None]]) -> dict[tuple[str, str | None], str]:
    """Return a colour for each (method, target): a hue per family."""
    families: dict[str, list[tuple[str, str | None]]] = {}
    for method, target in sorted(set(names), key=lambda one: (method_order(one[0]), one[1] or "")):
        families.setdefault(method_family(method, target), []).append((method, target))
    looks = {}
    for family, members in families.items():
        shades = plt.get_cmap(_HUES[family])(np.linspace(0.92, 0.45, max(len(members), 2)))
        looks |= {pair: to_hex(shade) for pair, shade in zip(members, shades, strict=False)}
    return looks


#: Inches of a line of a legend, and how many lines a figure has room for.
_LEGEND_LINE, _LEGEND_ROOM = 0.21, 4


def foot(figure: Figure, handles: list[Line2D], titles: Iterable[str], note: str = "") -> None:
    """Put the legend below all panels, headed by what a reader must know."""
    if any("STAND-IN" in title for title in titles):
        note += STANDIN
    width = figure.get_figwidth()
    longest = max((len(handle.get_label()) for handle in handles), default=0)
    columns = max(1, min(len(handles), int(width // max(1.5, 0.6 + 0.075 * longest))))
    text = textwrap.fill(note, int(12 * width)) or None
    # A legend of many lines makes the figure higher, so that the panels keep their size.
    lines = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + max(0.0, _LEGEND_LINE * (lines - _LEGEND_ROOM)))
    legend = figure.legend(handles=handles, loc="outside lower left", ncols=columns, title=text)
    legend.set_alignment("left")


def headed(figure: Figure, title: str) -> None:
    """Put a figure's title at its top left."""
    figure.suptitle(title, x=0.01, ha="left")


def nothing_to_draw(title: str, why: str) -> Figure:
    """Return a low figure that says why there is nothing to draw."""
    figure, axes = plt.subplots(figsize=(9, 1.0))
    headed(figure, title)
    axes.axis("off")
    axes.text(0.0, 0.5, why, va="center", transform=axes.transAxes)
    return figure

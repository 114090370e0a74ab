"""A small picture of the Enhanced Audited Model: stages, taps, MINT head, and who passes what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from amint_core.errors import ModelError
from amint_core.report.style import BLACK, GREY, ROLES, headed, styled

WIDTH, GAP, HEIGHT = 1.25, 0.3, 0.95
LETTERS = 13  # of a name that fits into a box
HEAD_TOP = -0.75
SHARED, ALONE, HEAD = "#DCEBF7", "#F0F0F0", "#FBEBD0"


@dataclass(frozen=True)
class Box:
    """One or more stages drawn as one: those in a row that leave the shape as it is."""

    first: str
    last: str
    output: str
    parameters: int
    tap: bool
    shared: bool

    @property
    def label(self) -> str:
        first, last = _fitted(self.first), _fitted(self.last)
        return first if self.first == self.last else f"{first}\nto {last}"


@styled
def tap_diagram(model_description: Sequence[dict[str, Any]] | pd.DataFrame, title: str) -> Figure:
    """Draw the audited model's stages from left to right, the taps and the MINT head.

    Members (blue) pass everything; external images (orange) pass the shared stages and the head.
    Neighbouring stages that keep the activation's shape share a box; each tap has its own.

    Args:
        model_description: a row per stage in order: layer, output, parameters, tap, shared.
        title: the run's, as from `run_title`.

    Raises:
        ModelError: no stage is a tap.
    """
    boxes = _boxes(pd.DataFrame(model_description))
    taps = [number for number, box in enumerate(boxes) if box.tap]
    if not taps:
        raise ModelError("The description of the model marks no stage as a tap; there is no head.")
    right = _left(len(boxes))
    figure, axes = plt.subplots(figsize=(0.76 * (right + 2.7), 3.2))
    headed(figure, f"{title}: the model and its taps")
    axes.set(xlim=(-1.3, right + 1.4), ylim=(-1.9, 1.9), aspect="equal")
    axes.axis("off")
    for number, box in enumerate(boxes):
        _draw_stage(axes, number, box)
    _draw_paths(axes, len(boxes), max(n for n, box in enumerate(boxes) if box.shared))
    _draw_head(axes, taps, right)
    return figure


def _boxes(stages: pd.DataFrame) -> list[Box]:
    boxes: list[Box] = []
    for stage in stages.to_dict("records"):
        box = Box(
            *(stage["layer"], stage["layer"], stage["output"], int(stage["parameters"])),
            *(bool(stage["tap"]), bool(stage["shared"])),
        )
        last = boxes[-1] if boxes else None
        taps = last is None or last.tap or box.tap
        if not taps and (last.output, last.shared) == (box.output, box.shared):
            boxes.pop()
            parameters = last.parameters + box.parameters
            box = Box(last.first, box.last, box.output, parameters, box.tap, box.shared)
        boxes.append(box)
    return boxes


def _left(number: int) -> float:
    return number * (WIDTH + GAP)


def _middle(number: int) -> float:
    return _left(number) + WIDTH / 2


def _draw_stage(axes: Axes, number: int, box: Box) -> None:
    _rectangle(axes, _left(number), -HEIGHT / 2, WIDTH, HEIGHT, SHARED if box.shared else ALONE)
    middle = _middle(number)
    axes.text(middle, 0.14, box.label, ha="center", va="center", fontsize=8, weight="bold")
    axes.text(middle, -0.3, box.output, ha="center", va="center", fontsize=8, color="#444444")
    if number:
        start = _left(number) - GAP
        _arrow(axes, (start, 0), (start + GAP, 0), GREY)


def _fitted(name: str) -> str:
    """Shorten a module's name from its front, where it says least."""
    if len(name) > LETTERS and "." in name:
        name = name.split(".", 1)[1]
    return name if len(name) <= LETTERS else "…" + name[1 - LETTERS :]


def _draw_paths(axes: Axes, boxes: int, last_shared: int) -> None:
    """Draw over the stages how far members and external images go."""
    members, external = 1.25, 0.85
    _arrow(axes, (-0.15, members), (_left(boxes) - GAP + 0.15, members), ROLES["members"], 2.2)
    stop = _left(last_shared) + WIDTH + 0.1
    _arrow(axes, (-0.15, external), (stop, external), ROLES["external"], 2.2)
    for height, name in ((members, "members"), (external, "external")):
        look = {"va": "center", "fontsize": 9, "weight": "bold", "color": ROLES[name]}
        axes.text(-0.25, height, name, ha="right", **look)
    end = _left(boxes) - GAP + 0.3
    axes.text(end, members, "class logits", ha="left", va="center", fontsize=9)
    middle = _left(last_shared + 1) / 2
    axes.text(middle, 1.6, "shared layers", ha="center", fontsize=8.5, color="#33607F")
    if last_shared + 1 < boxes:
        middle = (_left(last_shared + 1) + _left(boxes)) / 2
        axes.text(middle, 1.6, "audited branch", ha="center", fontsize=8.5, color="#666666")


def _draw_head(axes: Axes, taps: list[int], right: float) -> None:
    center = sum(map(_middle, taps)) / len(taps)
    half = max(1.1, (_middle(taps[-1]) - _middle(taps[0])) / 2 + 0.45)
    left = min(max(center - half, 0.0), max(right - 2 * half - 1.2, 0.0))
    _rectangle(axes, left, HEAD_TOP - 1.0, 2 * half, 0.6, HEAD)
    axes.text(
        *(left + half, HEAD_TOP - 0.7, "MINT head"),
        ha="center",
        va="center",
        fontsize=9,
        weight="bold",
    )
    for number in taps:
        x = min(max(_middle(number), left + 0.2), left + 2 * half - 0.2)
        for shift, role in ((-0.09, "members"), (0.09, "external")):
            start, end = (_middle(number) + shift, -HEIGHT / 2), (x + shift, HEAD_TOP - 0.4)
            _arrow(axes, start, end, ROLES[role], 1.8)
        axes.text(_middle(number) + 0.22, -0.72, "tap", fontsize=8, va="center", style="italic")
    end = left + 2 * half
    for shift, role in ((0.08, "members"), (-0.08, "external")):
        height = HEAD_TOP - 0.7 + shift
        _arrow(axes, (end, height), (end + 0.5, height), ROLES[role], 1.8)
    axes.text(end + 0.58, HEAD_TOP - 0.7, "membership logit", va="center", fontsize=9)


def _rectangle(axes: Axes, x: float, y: float, width: float, height: float, color: str) -> None:
    look = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": color, "edgecolor": BLACK}
    axes.add_patch(FancyBboxPatch((x, y), width, height, linewidth=0.9, **look))


def _arrow(
    axes: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    color: str,
    width: float = 1.2,
) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 9, "color": color, "linewidth": width}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **look))

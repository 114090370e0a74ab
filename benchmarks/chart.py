"""The chart of the README: times faster than published, and the price of auditability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amint_core.batch.planning import busy
from amint_core.report.names import model_title
from amint_core.report.style import BLACK, BLUE, GREEN, ORANGE, foot, headed, styled
from benchmarks.configurations import MEMORY


@styled
def draw(results: dict[str, Any]) -> Figure:
    """Draw one row per model and size, in three panels that share the rows."""
    rows = results["steps"][::-1]
    figure, (faster, price, memory) = plt.subplots(
        1, 3, sharey=True, figsize=(11, 1.6 + 0.36 * len(rows)), width_ratios=(3, 2, 2)
    )
    names = [f"{model_title(row['model'])} {row['image_size']}" for row in rows]
    faster.set_yticks(range(len(rows)), names)
    targets = [row["target"] for row in rows]
    _bars(faster, rows, "speedup", BLUE, beside=targets)
    _marks(faster, targets, "|", "target")
    faster.set_title("Step: times faster")
    floors = [row["floor"] for row in rows]
    _bars(price, rows, "price", ORANGE, beside=floors)
    _marks(price, floors, "d", "floor, counted in operations")
    price.set_title("Step, of plain training's")
    halves = [MEMORY if row["device"] == "cpu" else None for row in rows]
    _bars(memory, rows, "memory", GREEN, beside=halves)
    _marks(memory, halves, "|", "target")
    memory.set_title("Peak memory, of published")
    headed(figure, "How fast: ours against the published notebooks")
    handles, labels = [], []
    for axes in (faster, price):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.append(handle)
            labels.append(label)
    note = f"{results['machine']['device']}; medians of interleaved pairs"
    foot(figure, handles, (), note + busy.warning(results["others"]))
    return figure


def _bars(
    axes: Axes,
    rows: list[dict[str, Any]],
    name: str,
    colour: str,
    beside: Sequence[float | None] = (),
) -> None:
    """Draw a bar per row with its spread, where it has one, and its value right of `beside`."""
    values = [row[name] for row in rows]
    ends = [row.get(f"{name}_high", row[name]) for row in rows]
    starts = [row.get(f"{name}_low", row[name]) for row in rows]
    spread = [
        [value - low for value, low in zip(values, starts, strict=True)],
        [high - value for high, value in zip(ends, values, strict=True)],
    ]
    axes.barh(range(len(rows)), values, xerr=spread, color=colour, height=0.62, ecolor=BLACK)
    marks = beside or [None] * len(rows)
    right = [max(end, mark or 0) for end, mark in zip(ends, marks, strict=True)]
    axes.set_xlim(0, 1.18 * max(right))
    for place, (value, end) in enumerate(zip(values, right, strict=True)):
        text = f"{value:.2f}" if value < 3 else f"{value:.1f}"
        axes.annotate(
            text, (end, place), (7, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    axes.axvline(1, color=BLACK, linewidth=0.8)


def _marks(axes: Axes, values: list[float | None], marker: str, label: str) -> None:
    known = [(value, place) for place, value in enumerate(values) if value]
    if known:
        size = 15 if marker == "|" else 6
        style = {"color": BLACK, "markersize": size, "mew": 2 if marker == "|" else 1}
        axes.plot(*zip(*known, strict=True), marker, label=label, **style)

"""The chart of the README: times faster than published, and the price of auditability."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amint_core.report.style import BLACK, BLUE, GREEN, ORANGE, foot, headed, model_title, styled


@styled
def draw(results: dict[str, Any]) -> Figure:
    """Draw one row per model and size, in three panels that share the rows."""
    rows = results["steps"][::-1]
    figure, (faster, price, memory) = plt.subplots(
        1, 3, sharey=True, figsize=(11, 1.6 + 0.36 * len(rows)), width_ratios=(3, 2, 2)
    )
    names = [f"{model_title(row['model'])} {row['image_size']}" for row in rows]
    faster.set_yticks(range(len(rows)), names)
    _bars(faster, rows, "speedup")
    _marks(faster, [row["target"] for row in rows], "target")
    faster.set_title("Step, times faster than published")
    _bars(price, rows, "price")
    _marks(price, [row["floor"] for row in rows], "floor, counted in operations")
    price.set_title("Step, against plain training")
    memory.barh(range(len(rows)), [row["memory"] for row in rows], color=GREEN, height=0.62)
    memory.axvline(1, color=BLACK, linewidth=0.8)
    memory.set_title("Peak memory, against published")
    headed(figure, "How fast: ours against the published notebooks")
    handles, labels = [], []
    for axes in (faster, price):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.append(handle)
            labels.append(label)
    foot(figure, handles, (), f"{results['machine']['device']}; medians of interleaved pairs")
    return figure


def _bars(axes: Axes, rows: list[dict[str, Any]], name: str) -> None:
    values = [row[name] for row in rows]
    spread = [
        [row[name] - row[f"{name}_low"] for row in rows],
        [row[f"{name}_high"] - row[name] for row in rows],
    ]
    colour = BLUE if name == "speedup" else ORANGE
    axes.barh(range(len(rows)), values, xerr=spread, color=colour, height=0.62, ecolor=BLACK)
    for place, value in enumerate(values):
        axes.text(value * 0.03, place, f"{value:.1f}", va="center", color="white", fontsize=8.5)
    axes.axvline(1, color=BLACK, linewidth=0.8)


def _marks(axes: Axes, values: list[float | None], label: str) -> None:
    known = [(value, place) for place, value in enumerate(values) if value]
    if known:
        axes.plot(*zip(*known, strict=True), "|", color=BLACK, markersize=15, mew=2, label=label)

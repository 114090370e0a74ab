"""Figures of a whole profile: results beside the paper's, ROC curves, effect of the setup."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_core.report import paper
from amint_core.report.roc_curves import curve, non_members, to_log_log
from amint_core.report.style import (
    GREY,
    SETUP_LINES,
    SETUPS,
    foot,
    headed,
    model_look,
    model_title,
    styled,
)
from amint_core.report.tables import was_run

SIDES = {"mint": "MINT accuracy", "audited": "Audited accuracy"}
#: With more runs than this on one dataset, ROC curves get a panel per setup.
MOST_CURVES = 8
#: Markers of one model's variants.
FILLS = ("full", "none", "left", "right", "top", "bottom")


@styled
def results_beside_paper(table: pd.DataFrame, profile: str) -> Figure:
    """Draw every run cell with its 95 % interval, and the paper's value where it has one.

    Args:
        table: as from `table1`; a panel per dataset, a line per model, variant and setup.
    """
    panels = _by_title(table)
    heights = [_places(rows)[-1][0] + 1.6 for rows in panels.values()]
    size = (10, 0.165 * sum(heights) + 0.55 * len(panels) + 1.0)
    figure, grid = plt.subplots(
        *(len(panels), 2), figsize=size, squeeze=False, height_ratios=heights
    )
    headed(figure, f"Results beside the paper's: profile {profile}")
    for (title, rows), row in zip(panels.items(), grid, strict=True):
        for (side, name), axes in zip(SIDES.items(), row, strict=True):
            _dots(axes, rows, side)
            axes.set_title(f"{title}: {name}")
        row[1].tick_params(labelleft=False)
    handles = [
        Line2D([], [], color=color, marker="o", label=f"{setup}, 95 % interval")
        for setup, color in SETUPS.items()
        if (table.loc[was_run(table), "setup"] == setup).any()
    ]
    handles.append(_paper_mark())
    foot(figure, handles, panels)
    return figure


def _places(rows: pd.DataFrame) -> list[tuple[float, pd.Series]]:
    """Return the height of each row; the setups of a model stand together, models apart."""
    places: list[tuple[float, pd.Series]] = []
    height, before = 0.0, None
    for _, row in _by_model(rows).iterrows():
        line = _line(row)
        if before is not None:
            height += 1.0 if line == before else 1.5 + 0.7 * line.count("\n")
        places.append((height, row))
        before = line
    return places


def _line(row: pd.Series) -> str:
    """Name what rows that differ only by setup have in common."""
    variant = row["variant"] if isinstance(row["variant"], str) else ""
    return "\n".join([model_title(row["model"]), *textwrap.wrap(variant, 28)])


def _by_model(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["model", "variant"], key=_sort_keys, kind="stable")


def _sort_keys(values: pd.Series) -> pd.Series:
    if values.name == "model":
        return values.map(paper.model_order)
    return values.map(lambda variant: variant if isinstance(variant, str) else "")


def _dots(axes: Axes, rows: pd.DataFrame, side: str) -> None:
    places = _places(rows)
    lines: dict[str, list[float]] = {}
    for height, row in places:
        color = SETUPS[row["setup"]]
        value = row[f"{side}_accuracy"]
        low, high = row[f"{side}_accuracy_low"], row[f"{side}_accuracy_high"]
        axes.plot([low, high], [height, height], color=color, linewidth=2.2, solid_capstyle="butt")
        axes.plot(value, height, "o", color=color, markersize=6)
        axes.plot(row[f"paper_{side}_accuracy"], height, **_PAPER_LOOK)
        lines.setdefault(_line(row), []).append(height)
    axes.set_yticks([float(np.mean(heights)) for heights in lines.values()], list(lines))
    axes.set_ylim(places[-1][0] + 0.8, -0.8)
    axes.set_xlim(*_limits(rows, side))
    axes.grid(axis="y", visible=False)


_PAPER_LOOK = {
    "marker": "D",
    "markersize": 5.5,
    "markerfacecolor": "none",
    "markeredgecolor": "#222222",
    "linestyle": "none",
    "zorder": 4,
}


def _paper_mark() -> Line2D:
    return Line2D([], [], label="paper", **_PAPER_LOOK)


def _limits(rows: pd.DataFrame, side: str) -> tuple[float, float]:
    """Return the axis' range: from chance (.5) or from 0 to 1, wider only where values lie out."""
    names = [f"{side}_accuracy", f"{side}_accuracy_low", f"{side}_accuracy_high"]
    values = rows[[*names, f"paper_{side}_accuracy"]]
    start = 0.5 if side == "mint" else 0.0
    return min(start, values.min(axis=None)) - 0.02, max(1.0, values.max(axis=None)) + 0.02


@styled
def setup_effect(table: pd.DataFrame, profile: str) -> Figure:
    """Draw MINT and audited accuracy over entry, middle and output, a line per model.

    Args:
        table: as from `table1`. The paper's lines are thin, those of models that were run only.
    """
    panels = _by_title(table)
    size = (max(6.5, 3.1 * len(panels) + 0.6), 6.6)
    figure, grid = plt.subplots(2, len(panels), figsize=size, squeeze=False, sharey="row")
    headed(figure, f"Effect of the setup: profile {profile}")
    looks: dict[str, Line2D] = {}
    for column, (title, rows) in enumerate(panels.items()):
        rows = _by_model(rows)
        lines = dict(list(rows.groupby(rows.apply(_line, axis=1), sort=False)))
        for (side, name), axes in zip(SIDES.items(), grid[:, column], strict=True):
            for number, (line, of_line) in enumerate(lines.items()):
                # A little beside each other, so that no marker hides another.
                shift = 0.05 * (number - (len(lines) - 1) / 2)
                label = line.replace("\n", " ")
                fill = FILLS[_earlier(lines, line) % len(FILLS)]
                looks[label] = _setup_line(axes, of_line, side, shift, fill)
                looks[label].set_label(label)
            axes.set(title=title, xlim=(-0.35, 2.35), ylim=_limits(table, side))
            axes.set_xticks(range(3), paper.SETUPS)
            if column == 0:
                axes.set_ylabel(name)
    paper_line = Line2D([], [], color=GREY, linewidth=1, linestyle="--", label="paper")
    foot(figure, [*looks.values(), paper_line], panels)
    return figure


def _earlier(lines: Iterable[str], line: str) -> int:
    """Count the lines before `line` that are of the same model."""
    names = [other.split("\n")[0] for other in lines]
    place = list(lines).index(line)
    return names[:place].count(names[place])


def _setup_line(
    axes: Axes, rows: pd.DataFrame, side: str, shift: float, fill: str = "full"
) -> Line2D:
    dataset, model = rows[["dataset", "model"]].iloc[0]
    color, marker = model_look(model)
    look = {"color": color, "marker": marker, "markersize": 6, "fillstyle": fill}
    x = rows["setup"].map(paper.SETUPS.index) + shift
    value = rows[f"{side}_accuracy"]
    errors = value - rows[f"{side}_accuracy_low"], rows[f"{side}_accuracy_high"] - value
    axes.errorbar(x, value, yerr=np.clip(errors, 0, None), elinewidth=1, **look)
    printed = [paper.cell(dataset, setup, model) for setup in paper.SETUPS]
    if all(printed):
        values = [getattr(cell, side) for cell in printed]
        axes.plot(range(3), values, color=color, linewidth=1, linestyle="--", alpha=0.7)
    return Line2D([], [], **look)


@styled
def roc_by_dataset(runs: pd.DataFrame, scores: dict[str, pd.DataFrame], profile: str) -> Figure:
    """Draw log-log ROC curves, a panel per dataset and a curve per run whose scores are there.

    Where a dataset has many runs, each setup has a panel of its own.

    Args:
        runs: as from `read_runs`.
        scores: as from `scores_of`.
    """
    crowded = runs.groupby("title").size().max() > MOST_CURVES
    panels = dict(list(runs.groupby(["title", "setup"] if crowded else ["title"], sort=False)))
    columns = 3 if crowded else min(len(panels), 2 if len(panels) == 4 else 3)
    lines = -(-len(panels) // columns)
    size = (max(5.5, 3.5 * columns), 3.5 * lines + 1.1)
    figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="compressed")
    headed(figure, f"ROC curves of judged images: profile {profile}")
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for (name, rows), axes in zip(panels.items(), grid.flat, strict=False):
        _roc_panel(axes, rows, scores)
        axes.set_title(": ".join(name))
    missing = (~runs["run"].isin(scores)).sum()
    note = f"{missing} of {len(runs)} runs are not drawn: their scores.parquet is not here. "
    foot(figure, _roc_legend(runs), runs["title"], note if missing else "")
    return figure


def _roc_panel(axes: Axes, rows: pd.DataFrame, scores: dict[str, pd.DataFrame]) -> None:
    here = rows[rows["run"].isin(scores)]
    counts = [non_members(scores[name]) for name in here["run"]]
    for _, run in here.iterrows():
        own = scores[run["run"]]
        fpr, tpr = curve(own[own["method"] == run["method"]])
        color, _ = model_look(run["model"])
        axes.plot(fpr, tpr, color=color, linestyle=SETUP_LINES[run["setup"]], linewidth=1.5)
    chance = np.geomspace(1e-6, 1, 50)
    axes.plot(chance, chance, color=GREY, linewidth=1, alpha=0.7)
    to_log_log(axes, max(counts, default=1000))
    axes.set(xlabel="false-positive rate", ylabel="true-positive rate", aspect="equal")
    if here.empty:
        place = {"transform": axes.transAxes, "ha": "center", "va": "center", "color": GREY}
        axes.text(0.5, 0.5, "no scores.parquet here", **place)


def _roc_legend(runs: pd.DataFrame) -> list[Line2D]:
    models = [name for name in dict.fromkeys(runs["model"])]
    return [
        *(
            Line2D([], [], color=model_look(name)[0], label=model_title(name))
            for name in sorted(models, key=paper.model_order)
        ),
        *(
            Line2D([], [], color="#555555", linestyle=SETUP_LINES[setup], label=setup)
            for setup in sorted(set(runs["setup"]), key=paper.setup_order)
        ),
        Line2D([], [], color=GREY, linewidth=1, alpha=0.7, label="chance"),
    ]


def _by_title(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows that were run, by the dataset's title."""
    return dict(list(table[was_run(table)].groupby("title", sort=False)))

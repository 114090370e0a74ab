"""Figures of a run's images: some of each role, and the members most and least recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amint_core.config import EXACT
from amint_core.report.read import judged
from amint_core.report.style import ROLES, headed, nothing_to_draw, styled

if TYPE_CHECKING:
    from amint_core.data.base import Dataset
    from amint_core.data.split import Split
    from amint_core.methods.case import Case


@styled
def images_by_role(dataset: Dataset, split: Split, columns: int = 8) -> Figure:
    """Show images of each role in a row, with their class names beneath.

    The images are spread evenly over the role, so that sorted classes all come up. Faces are never
    shown; their places stay blank.
    """
    roles = [name for name in ROLES if name in split.roles and len(split.roles[name])]
    size = (0.95 * columns + 1.1, 1.2 * len(roles) + 0.55)
    figure, grid = _bare_axes(len(roles), columns, size)
    headed(figure, f"{dataset.title}: images by role{_withheld(dataset)}")
    for name, row in zip(roles, grid, strict=True):
        role = split.roles[name]
        spread = np.linspace(0, len(role) - 1, min(columns, len(role)))
        for axes, index in zip(row, role[spread.astype(int)], strict=False):
            name_of_class = _class_name(dataset, int(dataset.labels[index]))
            _image(axes, dataset, dataset.pixels[index], name_of_class)
        row[0].text(
            *(-0.15, 0.5, f"{name}\n{len(role):,}"),
            transform=row[0].transAxes,
            ha="right",
            va="center",
            color=ROLES[name],
            fontweight="bold",
        )
    return figure


def _bare_axes(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    """Open a figure of axes without frame and ticks: those of dozens of axes take a second."""
    bare = {"frame_on": False, "xticks": [], "yticks": []}
    return plt.subplots(rows, columns, figsize=size, squeeze=False, subplot_kw=bare)


def _image(axes: Axes, dataset: Dataset, pixels: np.ndarray, label: str) -> None:
    if _shows_faces(dataset):
        pixels = np.full_like(pixels, 224)
    grey = pixels.shape[-1] == 1
    shown = pixels[..., 0] if grey else pixels
    # Whole pixels: what the model sees, and a third of the file that smoothed ones make.
    axes.imshow(shown, cmap="gray" if grey else None, vmin=0, vmax=255, interpolation="nearest")
    below = {"transform": axes.transAxes, "ha": "center", "va": "top"}  # however many lines it has
    axes.text(0.5, -0.04, label, fontsize=7.5, **below)


def _withheld(dataset: Dataset) -> str:
    return " (faces are not shown)" if _shows_faces(dataset) else ""


def _shows_faces(dataset: Dataset) -> bool:
    """Tell whether the images are people's faces, which are never shown."""
    return dataset.source == "real" and dataset.spec.name == "casia_webface"


def _class_name(dataset: Dataset, label: int) -> str:
    name = dataset.class_names[label] if label >= 0 else "no label"
    return name if len(name) <= 14 else name[:13] + "…"


@styled
def most_and_least_recognised(
    scores: pd.DataFrame, dataset: Dataset, split: Split, columns: int = 8
) -> Figure:
    """Show the judged members with the highest and with the lowest scores.

    Faces are never shown; their places stay blank.

    Args:
        scores: as in scores.parquet, of one run.
    """
    rows = judged(scores)
    members = rows[rows["member"] & rows["score"].notna()].sort_values("score", kind="stable")
    title = f"{dataset.title}: members most and least recognised"
    if members.empty:
        return nothing_to_draw(title, "This run tests nothing, so no member is recognised.")
    shown = min(columns, len(members))
    figure, grid = _bare_axes(2, columns, (0.95 * columns + 1.3, 2.95))
    headed(figure, title + _withheld(dataset))
    sides = (("highest\nscores", members.iloc[::-1]), ("lowest\nscores", members))
    for (name, ranked), line in zip(sides, grid, strict=True):
        for axes, (_, row) in zip(line, ranked.iloc[:shown].iterrows(), strict=False):
            text = f"{_class_name(dataset, int(row['label']))}\n{row['score']:.1f}"
            _image(axes, dataset, dataset.pixels[int(row["index"])], text)
        look = {"ha": "right", "va": "center", "color": ROLES["members"], "fontweight": "bold"}
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, **look)
    return figure


@styled
def members_transformed(transformed: pd.DataFrame | None, case: Case, members: int = 3) -> Figure:
    """Show some judged members as they are and after each transformation, with their scores.

    The members have the same place in their images' ranking by score: they are spread evenly from
    the median to the highest score. Faces are never shown; their places stay blank.

    Args:
        transformed: as in transformed.parquet, of one run; None where it measures none.
        case: what the run's method looked at.
        members: how many, a row each.
    """
    title = f"{case.dataset.title}: members transformed"
    if transformed is None:
        return nothing_to_draw(title, "This run measures no transformations.")
    names = list(transformed["transformation"].unique())
    scores = transformed[transformed["member"]].pivot(
        index="image", columns="transformation", values="score"
    )[names]
    ranked = scores.sort_values(EXACT, kind="stable")
    places = np.linspace(len(ranked) // 2, len(ranked) - 1, min(members, len(ranked)))
    chosen = ranked.iloc[places.round().astype(int)[::-1]]
    size = (1.15 * len(names) + 0.4, 1.5 * len(chosen) + 0.6)
    figure, grid = _bare_axes(len(chosen), len(names), size)
    headed(figure, title + _withheld(case.dataset))
    for column, name in enumerate(names):
        seen = case.after(name, judged_only=True)
        rows = pd.Index(seen.images["image"]).get_indexer(chosen.index)
        for axes, pixels, score in zip(
            grid[:, column], seen.pixels(rows), chosen[name], strict=True
        ):
            _image(axes, case.dataset, pixels, f"{name}\n{score:.1f}")
    return figure

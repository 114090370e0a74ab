"""Figures of difficulty: which classes and which images are recognised as members."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amint_core.report.method_figures import Scores, scored, scored_cells
from amint_core.report.style import ROLES, foot, headed, styled

NOTE = "Each method where it accuses 1 % of the non-members. "
_MOST_NAMED = 43  # classes whose numbers fit under a panel


@styled
def class_difficulty(table: pd.DataFrame, scores: Scores, profile: str) -> Figure:
    """Draw the share of judged members that each method finds, by class, a panel per cell.

    Classes are sorted by the first method's share; each method accuses 1 % of the non-members.

    Args:
        table: as from `comparison`.
        scores: as from `with_verdicts`, of two or more methods of a cell.
    """
    cells = scored_cells(table, scores)
    heights = [len(scored(rows, scores)) + 3 for rows in cells.values()]
    size = (10.5, 0.27 * sum(heights) + 0.5 * len(cells) + 0.7)
    figure, column = plt.subplots(len(cells), 1, figsize=size, squeeze=False, height_ratios=heights)
    headed(figure, f"Share of members found, by class: profile {profile}")
    for (title, rows), axes in zip(cells.items(), column[:, 0], strict=True):
        grid = found_by_class(rows, scores)
        drawn = axes.imshow(grid.to_numpy(float), cmap="viridis", vmin=0, vmax=1, aspect="auto")
        axes.set_yticks(range(len(grid)), grid.index)
        named = grid.shape[1] <= _MOST_NAMED
        axes.set_xticks(range(grid.shape[1]) if named else [], grid.columns if named else [])
        axes.set(title=title, xlabel=f"class ({grid.shape[1]}), sorted by the first row")
        axes.grid(visible=False)
        figure.colorbar(drawn, ax=axes, pad=0.01)
    foot(figure, [], cells, NOTE + "Several seeds: all their members. ")
    return figure


def found_by_class(rows: pd.DataFrame, scores: Scores) -> pd.DataFrame:
    """Return methods × classes: the share of judged members that a method finds."""
    shares = {}
    for name, (_, tables) in scored(rows, scores).items():
        members = pd.concat([table[table["member"]] for table in tables])
        shares[name] = members.groupby("label")["flagged"].mean()
    grid = pd.DataFrame(shares).T
    return grid[grid.iloc[0].sort_values(kind="stable").index]


@styled
def image_difficulty(table: pd.DataFrame, scores: Scores, profile: str) -> Figure:
    """Draw how many of the methods call one image a member, a panel per cell.

    Were all images alike, the bars would gather around the mean; bars at both ends mean that the
    methods agree on which images are easy. Controls do not count.

    Args:
        table: as from `comparison`.
        scores: as from `with_verdicts`, of two or more methods of a cell.
    """
    cells = comparable(table, scores)
    columns = min(len(cells), 2)
    lines = -(-len(cells) // columns)
    size = (max(5.2 * columns, 7.5), 3.0 * lines + 0.8)
    figure, grid = plt.subplots(lines, columns, figsize=size, squeeze=False)
    headed(figure, f"How many methods call an image a member: profile {profile}")
    for axes in grid.flat[len(cells) :]:
        axes.axis("off")
    handles = []
    for (title, rows), axes in zip(cells.items(), grid.flat, strict=False):
        handles = _bars(axes, votes(rows, scores))
        axes.set(title=title, xlabel="methods that call it a member", ylabel="share of images")
    foot(figure, handles, cells, NOTE + "Controls left out; first seed that all methods share. ")
    return figure


def comparable(table: pd.DataFrame, scores: Scores) -> dict[str, pd.DataFrame]:
    """Return the cells with two or more scored methods that are no controls: title → rows."""
    return scored_cells(table[table["group"] != "control"], scores)


def votes(rows: pd.DataFrame, scores: Scores) -> pd.DataFrame:
    """Return image → `member`, and `votes`, how many of the methods flag it.

    Of several seeds, the first counts that all methods share: other seeds have other members.
    The column `methods` is how many there are.
    """
    tables = [
        [table.set_index("image") for table in all_seeds]
        for _, all_seeds in scored(rows, scores).values()
    ]
    for first in tables[0]:
        same = [_of_same_images(first, seeds) for seeds in tables]
        if all(one is not None for one in same):
            flagged = pd.concat([one["flagged"] for one in same], axis=1)
            return first[["member"]].assign(votes=flagged.sum(axis=1), methods=len(same))
    return tables[0][0][["member"]].assign(votes=tables[0][0]["flagged"].astype(int), methods=1)


def _of_same_images(first: pd.DataFrame, seeds: list[pd.DataFrame]) -> pd.DataFrame | None:
    wanted = first["member"].sort_index()
    return next((one for one in seeds if one["member"].sort_index().equals(wanted)), None)


def _bars(axes: Axes, counted: pd.DataFrame) -> list:
    most = int(counted["methods"].iloc[0])
    sides = ((True, "members", "members", -0.2), (False, "holdout", "non-members", 0.2))
    bars = []
    for member, role, name, shift in sides:
        of_side = counted.loc[counted["member"] == member, "votes"]
        shares = np.bincount(of_side, minlength=most + 1) / len(of_side)
        look = {"width": 0.4, "color": ROLES[role], "label": name}
        bars.append(axes.bar(np.arange(most + 1) + shift, shares, **look))
    axes.set_xticks(range(most + 1))
    axes.grid(axis="x", visible=False)
    return bars

"""Difficulty by image: how many methods call one image a member?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from amint_core.report.figures.class_difficulty import NOTE
from amint_core.report.figures.methods import NO_PAIRS, Scores, scored, scored_cells
from amint_core.report.figures.panels import tiles
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import ROLES, foot, nothing_to_draw, styled
from amint_core.report.tables import comparison


@styled
def draw(results: Results) -> Figure:
    """Draw how many of the methods call one image a member, a panel per cell.

    Were all images alike, the bars would gather around the mean; bars at both ends mean that the
    methods agree on which images are easy. Controls do not count.
    """
    title = f"How many methods call an image a member: profile {results.profile}"
    cells = comparable(results)
    if not cells:
        return nothing_to_draw(title, NO_PAIRS)
    figure, panels = tiles(title, list(cells), 2, 5.2, 3.0)
    handles = []
    for rows, axes in zip(cells.values(), panels, strict=True):
        handles = _bars(axes, votes(rows, results.verdicts))
        axes.set(xlabel="methods that call it a member", ylabel="share of images")
    foot(figure, handles, cells, NOTE + "Controls left out; first seed that all methods share. ")
    return figure


def comparable(results: Results) -> dict[str, pd.DataFrame]:
    """Return the cells with two or more scored methods that are no controls: title → rows."""
    table = results.once(comparison.rows)
    return scored_cells(table[table["group"] != "control"], results.verdicts)


def votes(rows: pd.DataFrame, verdicts: Scores) -> pd.DataFrame:
    """Return image → `member`, and `votes`, how many of the methods flag it.

    Of several seeds, the first counts that all methods share: other seeds have other members.
    The column `methods` is how many there are.
    """
    tables = [
        [table.set_index("image").sort_index() for table in all_seeds]
        for _, all_seeds in scored(rows, verdicts).values()
    ]
    for first in tables[0]:
        same = [next((one for one in seeds if _match(one, first)), None) for seeds in tables]
        if all(one is not None for one in same):
            flagged = pd.concat([one["flagged"] for one in same], axis=1, join="inner")
            member = first.loc[flagged.index, ["member"]]
            return member.assign(votes=flagged.sum(axis=1), methods=len(same))
    return tables[0][0][["member"]].assign(votes=tables[0][0]["flagged"].astype(int), methods=1)


def _match(one: pd.DataFrame, two: pd.DataFrame) -> bool:
    """Tell whether two tests judge the same members; non-members may be missing from either."""
    return one.index[one["member"]].equals(two.index[two["member"]])


def _bars(axes: Axes, counted: pd.DataFrame) -> list:
    most = int(counted["methods"].iloc[0])
    sides = ((True, "members", "members", -0.2), (False, "holdout", "non-members", 0.2))
    bars = []
    for member, role, name, shift in sides:
        of_side = counted.loc[counted["member"] == member, "votes"]
        shares = np.bincount(of_side, minlength=most + 1) / len(of_side)
        look = {"width": 0.4, "color": ROLES[role], "label": name}
        bars.append(axes.bar(np.arange(most + 1) + shift, shares, **look))
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    axes.grid(axis="x", visible=False)
    return bars


FIGURE = Drawing("image_difficulty", draw, of_scores=True)

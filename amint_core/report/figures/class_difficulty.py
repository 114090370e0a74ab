"""Difficulty by class: which classes' members are recognised?"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from amint_core.report.figures.methods import NO_PAIRS, Scores, scored, scored_cells
from amint_core.report.figures.panels import stack
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import foot, nothing_to_draw, styled
from amint_core.report.tables import comparison

NOTE = "Each method where it accuses 1 % of the non-members. "
_MOST_NAMED = 43  # classes whose numbers fit under a panel


@styled
def draw(results: Results) -> Figure:
    """Draw the share of judged members that each method finds, by class, a panel per cell."""
    title = f"Share of members found, by class: profile {results.profile}"
    cells = scored_cells(results.once(comparison.rows), results.verdicts)
    if not cells:
        return nothing_to_draw(title, NO_PAIRS)
    grids = {name: found_by_class(rows, results.verdicts) for name, rows in cells.items()}
    sizes = {name: len(grid) + 3 for name, grid in grids.items()}
    figure, panels = stack(title, sizes, 1, (10.5, 0.27, 0.5))
    for grid, axes in zip(grids.values(), panels[:, 0], strict=True):
        drawn = axes.imshow(grid.to_numpy(float), cmap="viridis", vmin=0, vmax=1, aspect="auto")
        axes.set_yticks(range(len(grid)), grid.index)
        named = grid.shape[1] <= _MOST_NAMED
        axes.set_xticks(range(grid.shape[1]) if named else [], grid.columns if named else [])
        axes.set_xlabel(f"class ({grid.shape[1]}), sorted by the first row")
        axes.grid(visible=False)
        figure.colorbar(drawn, ax=axes, pad=0.01, ticks=(0, 0.5, 1))
    foot(figure, [], cells, NOTE + "Several seeds: all their members. ")
    return figure


def found_by_class(rows: pd.DataFrame, verdicts: Scores) -> pd.DataFrame:
    """Return methods × classes: the share of judged members that a method finds."""
    shares = {}
    for name, (_, tables) in scored(rows, verdicts).items():
        members = pd.concat([table[table["member"]] for table in tables])
        shares[name] = members.groupby("label")["flagged"].mean()
    grid = pd.DataFrame(shares).T
    return grid[grid.iloc[0].sort_values(kind="stable").index]


FIGURE = Drawing("class_difficulty", draw, of_scores=True)

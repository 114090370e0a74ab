"""Agreement: do the methods find the same members?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from amint_core.evaluation import paired
from amint_core.report.figures.methods import NO_PAIRS, Scores, scored, scored_cells
from amint_core.report.figures.panels import heat_map, stack
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import foot, nothing_to_draw, styled
from amint_core.report.tables import comparison

ONE_VERDICT = "Every method of this profile finds nearly all members or hardly any."


@styled
def draw(results: Results) -> Figure:
    """Draw Cohen's kappa of every two methods' verdicts on judged members, a panel per cell."""
    title = f"Agreement on members, Cohen's kappa: profile {results.profile}"
    cells = scored_cells(results.once(comparison.rows), results.verdicts)
    if not cells:
        return nothing_to_draw(title, NO_PAIRS)
    whole = [kappas(rows, results.verdicts) for rows in cells.values()]
    grids = {name: told(grid) for name, grid in zip(cells, whole, strict=True)}
    grids = {name: grid for name, grid in grids.items() if len(grid)}
    if not grids:
        return nothing_to_draw(title, ONE_VERDICT)
    sizes = {name: len(grid) + 3 for name, grid in grids.items()}
    width = 4.2 + 0.5 * max(sizes.values())
    figure, panels = stack(title, sizes, 1, (width, 0.42, 0.8))
    for grid, axes in zip(grids.values(), panels[:, 0], strict=True):
        numbers = [str(number) for number in range(1, len(grid) + 1)]
        named = [f"{name}  {number}" for name, number in zip(grid.index, numbers, strict=True)]
        heat_map(axes, grid.set_axis(named).set_axis(numbers, axis="columns"), 0.0, 1.0)
    note = "Where each method accuses 1 % of the non-members. 1: the same members are found; 0: no "
    note += "more in common than by chance; empty: no such number. "
    if missing := sum(map(len, whole)) - sum(map(len, grids.values())):
        note += f"Not drawn: {missing} that find nearly all members or hardly any. "
    foot(figure, [], cells, note)
    return figure


def told(grid: pd.DataFrame) -> pd.DataFrame:
    """Return the part of a grid of kappas that has numbers, of methods beside others."""
    others = grid.mask(np.eye(len(grid), dtype=bool)).notna().any()
    return grid.loc[others, others]


def kappas(rows: pd.DataFrame, verdicts: Scores) -> pd.DataFrame:
    """Return the (methods × methods) mean kappa over seeds of the verdicts on judged members.

    Each method's verdict is at its own threshold of `VERDICT_FPR`. Empty where either method gives
    all members one verdict, or two share no seed.
    """
    flagged = {
        name: [_on_members(table) for table in tables]
        for name, (_, tables) in scored(rows, verdicts).items()
    }
    grid = pd.DataFrame(np.nan, index=list(flagged), columns=list(flagged))
    for one, ours in flagged.items():
        for two, theirs in flagged.items():
            pairs = [(a, b) for a in ours for b in theirs if a.index.equals(b.index)]
            each = [paired.kappa(a.to_numpy(), b.to_numpy()) for a, b in pairs]
            grid.loc[one, two] = np.mean(each) if each else np.nan
    return grid


def _on_members(table: pd.DataFrame) -> pd.Series:
    """Return image → flagged, of judged members, in one order."""
    return table[table["member"]].set_index("image")["flagged"].sort_index()


FIGURE = Drawing("agreement", draw, of_scores=True)

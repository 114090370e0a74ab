"""ROC curves of the methods of each cell: how many members at few false accusations."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from amint_core.report.figures.methods import NO_PAIRS, Scores, families, scored, scored_cells
from amint_core.report.figures.panels import draw_curves, legend_room, tiles
from amint_core.report.figures.roc_by_dataset import MOST_CURVES
from amint_core.report.names import FAMILIES
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import curve_look, foot, nothing_to_draw, styled
from amint_core.report.tables import comparison


@styled
def draw(results: Results) -> Figure:
    """Draw log-log ROC curves with pointwise bands, see `panels.band`; several seeds: means.

    A panel per cell; where a cell has many methods, one per family of them.
    """
    title = f"ROC curves by method: profile {results.profile}"
    cells = scored_cells(results.once(comparison.rows), results.scores)
    if not cells:
        return nothing_to_draw(title, NO_PAIRS)
    panels: dict[str, pd.DataFrame] = {}
    for cell, rows in cells.items():
        panels |= by_family(cell, rows, results.scores)
    figure, grid = tiles(title, list(panels), 3, 4.6, 4.2 + legend_room(panels.values()))
    for rows, axes in zip(panels.values(), grid, strict=True):
        drawn = enumerate(scored(rows, results.scores).items())
        draw_curves(axes, [(name, tables, curve_look(at)) for at, (name, (_, tables)) in drawn])
    foot(figure, [], cells, "Bands: pointwise 95 % intervals of the TPR; several seeds: means. ")
    return figure


def by_family(cell: str, rows: pd.DataFrame, scores: Scores) -> dict[str, pd.DataFrame]:
    """Return the panels of a cell: title → the rows whose curves it shows."""
    here = scored(rows, scores)
    rows = rows.loc[[row.name for row, _ in here.values()]]
    if len(rows) <= MOST_CURVES:
        return {cell: rows}
    parts = dict(list(rows.groupby(families(rows), sort=False)))
    return {f"{cell}\n{text}": parts[name] for name, text in FAMILIES.items() if name in parts}


FIGURE = Drawing("roc_by_method", draw, of_scores=True)

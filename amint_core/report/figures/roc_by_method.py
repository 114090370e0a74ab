"""ROC curves of the methods of each cell: how many members at few false accusations."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_core.report.figures.methods import NO_PAIRS, colors, scored, scored_cells
from amint_core.report.figures.panels import draw_band, non_members, roc_axes, tiles
from amint_core.report.names import TARGETS
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import foot, nothing_to_draw, styled
from amint_core.report.tables import comparison


@styled
def draw(results: Results) -> Figure:
    """Draw log-log ROC curves with pointwise bands, see `panels.band`; several seeds: means."""
    title = f"ROC curves by method: profile {results.profile}"
    table = results.once(comparison.rows)
    cells = scored_cells(table, results.scores)
    if not cells:
        return nothing_to_draw(title, NO_PAIRS)
    figure, grid = tiles(title, list(cells), 2, 10.4 / min(len(cells), 2), 5.0)
    looks, handles = colors(table), {}
    for rows, axes in zip(cells.values(), grid, strict=True):
        drawn = scored(rows, results.scores)
        for name, (row, tables) in drawn.items():
            line = "--" if row["target"] in TARGETS else "-"
            look = {"color": looks[row.name], "linestyle": line, "linewidth": 1.5}
            # Many bands on top of each other stay light.
            draw_band(axes, tables, min(0.15, 1 / len(drawn)), **look)
            handles[name] = Line2D([], [], label=name, **look)
        most = max(non_members(one) for _, tables in drawn.values() for one in tables)
        roc_axes(axes, most, linestyle="-", alpha=0.7)
        axes.set_aspect("auto")
    note = "Bands: pointwise 95 % intervals of the TPR; several seeds: means. "
    foot(figure, list(handles.values()), cells, note)
    return figure


FIGURE = Drawing("roc_by_method", draw, of_scores=True)

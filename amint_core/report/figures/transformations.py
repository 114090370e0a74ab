"""The AUC of each recipe on transformed images."""

from __future__ import annotations

from matplotlib.figure import Figure

from amint_core.report.figures.panels import heat_map, stack
from amint_core.report.names import place_title
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import nothing_to_draw, styled
from amint_core.report.tables import transformations

NOT_MEASURED = "No run of this profile measured transformed images."


@styled
def draw(results: Results) -> Figure:
    """Draw the AUC of each recipe on each transformation as a heat map, a panel per place."""
    title = f"AUC on transformed images: profile {results.profile}"
    table = results.once(transformations.rows)
    if table.empty:
        return nothing_to_draw(title, NOT_MEASURED)
    grids = {
        place_title(rows.iloc[0]): transformations.grid(rows, "auc")
        for _, rows in table.groupby(transformations.PLACE, sort=False)
    }
    heights = {name: len(grid) + 2.2 for name, grid in grids.items()}
    figure, panels = stack(title, heights, 1, (10, 0.42, 0.0))
    for grid, axes in zip(grids.values(), panels[:, 0], strict=True):
        heat_map(axes, grid, 0.5, 1.0)
    return figure


FIGURE = Drawing("transformations", draw)

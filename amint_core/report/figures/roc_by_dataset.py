"""ROC curves of the active runs, by dataset."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amint_core.report.figures.beside_paper import NO_ACTIVE, panels
from amint_core.report.figures.panels import draw_curves, legend_room, roc_axes, tiles
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import (
    GREY,
    LINES,
    curve_look,
    foot,
    model_look,
    nothing_to_draw,
    styled,
)

#: With more curves than this on one dataset, each setup has a panel of its own.
MOST_CURVES = 8
NO_SCORES = "no scores here"


@styled
def draw(results: Results) -> Figure:
    """Draw log-log ROC curves of the rows of Table 1 with pointwise bands, see `panels.band`.

    A panel per dataset; where one has many rows, each setup has a panel of its own. Several seeds:
    means.
    """
    title = f"ROC curves of judged images: profile {results.profile}"
    rows = pd.concat([*panels(results).values(), pd.DataFrame()])
    if rows.empty:
        return nothing_to_draw(title, NO_ACTIVE)
    crowded = rows.groupby("title").size().max() > MOST_CURVES
    groups = rows.groupby(["title", "setup"] if crowded else ["title"], sort=False)
    parts = {": ".join(name): of_panel for name, of_panel in groups}
    figure, grid = tiles(title, list(parts), 3, 3.9, 3.9 + legend_room(parts.values()))
    for of_panel, axes in zip(parts.values(), grid, strict=True):
        _draw_panel(axes, of_panel, results.scores)
    names = {name for runs in rows["runs"] for name in runs.split("; ")}
    missing = len(names - set(results.scores))
    note = "Bands: pointwise 95 % intervals of the TPR; several seeds: means. "
    if missing:
        note += f"{missing} of {len(names)} runs are not drawn: their scores are not here. "
    foot(figure, [], rows["title"], note)
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, scores: dict[str, pd.DataFrame]) -> None:
    curves = []
    for number, (_, row) in enumerate(rows.iterrows()):
        tables = [scores[name] for name in row["runs"].split("; ") if name in scores]
        if tables:
            curves.append((_name(row), tables, _look(rows, number)))
    if curves:
        draw_curves(axes, curves)
        return
    roc_axes(axes, 1000, linestyle="-", alpha=0.7, label=None)
    axes.set_aspect("auto")
    place = {"transform": axes.transAxes, "ha": "center", "va": "center", "color": GREY}
    axes.text(0.5, 0.5, NO_SCORES, **place)


def _look(rows: pd.DataFrame, number: int) -> dict[str, str]:
    """Return a row's colour and line: its model's, where that tells the panel's rows apart."""
    of_models = rows["model"].value_counts()
    colors = {model_look(model)[0] for model in of_models.index}  # the paper's have one each
    if len(of_models) == 1 or len(colors) < len(of_models) or of_models.max() > len(LINES):
        return curve_look(number)
    model = rows["model"].iloc[number]
    before = (rows["model"].iloc[:number] == model).sum()
    return {"color": model_look(model)[0], "linestyle": LINES[before]}


def _name(row: pd.Series) -> str:
    first, *rest = row["line"].split("\n")
    return ", ".join([first, row["setup"], *([" ".join(rest)] if rest else [])])


FIGURE = Drawing("roc", draw, of_scores=True)

"""ROC curves of the active runs, by dataset."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_core.report import paper
from amint_core.report.figures.beside_paper import NO_ACTIVE
from amint_core.report.figures.panels import CHANCE, curve, non_members, roc_axes, tiles
from amint_core.report.names import model_title
from amint_core.report.read import Results
from amint_core.report.registry import Drawing
from amint_core.report.style import GREY, SETUP_LINES, foot, model_look, nothing_to_draw, styled
from amint_core.report.tables import table1

#: With more runs than this on one dataset, ROC curves get a panel per setup.
MOST_CURVES = 8
NO_SCORES = "no scores here"
_CHANCE = CHANCE | {"linestyle": "-", "alpha": 0.7, "label": "chance"}


@styled
def draw(results: Results) -> Figure:
    """Draw log-log ROC curves of the runs of Table 1 whose scores are at hand.

    A panel per dataset; where one has many runs, each setup has a panel of its own.
    """
    title = f"ROC curves of judged images: profile {results.profile}"
    named = results.once(table1.rows)["runs"].dropna()
    names = {name for names in named for name in names.split("; ")}
    runs = results.runs[results.runs["run"].isin(names)]
    if runs.empty:
        return nothing_to_draw(title, NO_ACTIVE)
    crowded = runs.groupby("title").size().max() > MOST_CURVES
    groups = runs.groupby(["title", "setup"] if crowded else ["title"], sort=False)
    panels = {": ".join(name): rows for name, rows in groups}
    columns = 2 if len(panels) == 4 and not crowded else 3
    figure, grid = tiles(title, list(panels), columns, 3.5, 3.5, layout="compressed")
    for rows, axes in zip(panels.values(), grid, strict=True):
        _draw_curves(axes, rows, results.scores)
    missing = (~runs["run"].isin(results.scores)).sum()
    note = f"{missing} of {len(runs)} runs are not drawn: their scores are not here. "
    foot(figure, _legend(runs), runs["title"], note if missing else "")
    return figure


def _draw_curves(axes: Axes, rows: pd.DataFrame, scores: dict[str, pd.DataFrame]) -> None:
    here = rows[rows["run"].isin(scores)]
    for _, run in here.iterrows():
        look = {"color": model_look(run["model"])[0], "linestyle": SETUP_LINES[run["setup"]]}
        axes.plot(*curve(scores[run["run"]]), linewidth=1.5, **look)
    roc_axes(axes, max((non_members(scores[run]) for run in here["run"]), default=1000), **_CHANCE)
    if here.empty:
        place = {"transform": axes.transAxes, "ha": "center", "va": "center", "color": GREY}
        axes.text(0.5, 0.5, NO_SCORES, **place)


def _legend(runs: pd.DataFrame) -> list[Line2D]:
    models = sorted(set(runs["model"]), key=paper.model_order)
    setups = sorted(set(runs["setup"]), key=paper.setup_order)
    return [
        *(Line2D([], [], color=model_look(name)[0], label=model_title(name)) for name in models),
        *(
            Line2D([], [], color="#555555", linestyle=SETUP_LINES[name], label=name)
            for name in setups
        ),
        Line2D([], [], **_CHANCE),
    ]


FIGURE = Drawing("roc", draw, of_scores=True)

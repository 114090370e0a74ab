"""Tables and figures from the files under results/ alone, beside the paper's values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from amint_core.config import given_values
from amint_core.errors import SettingsError, unknown_name
from amint_core.files import atomic_path, write_text
from amint_core.report import (
    ablations,
    beside_paper,
    by_lambda,
    by_method,
    by_transformation,
    compact,
    difficulty_figures,
    frontier,
    method_figures,
    paired_tables,
    profile_figures,
    style,
)
from amint_core.report.by_method import comparison
from amint_core.report.collect import (
    profile_folder,
    read_metrics,
    read_runs,
    scores_of,
    unfinished,
    with_verdicts,
)
from amint_core.report.diagram import tap_diagram
from amint_core.report.image_figures import images_by_role, most_and_least_recognised
from amint_core.report.run_figures import roc, score_distributions, training_curves
from amint_core.report.run_table import metrics_table
from amint_core.report.style import run_title
from amint_core.report.tables import runs_of, runs_table, table1, was_run

__all__ = [
    "comparison",
    "images_by_role",
    "metrics_table",
    "most_and_least_recognised",
    "profile_of",
    "read_metrics",
    "read_runs",
    "roc",
    "run_title",
    "score_distributions",
    "table1",
    "tap_diagram",
    "training_curves",
    "unfinished",
    "write",
]


def profile_of(namespace: Mapping[str, Any]) -> str:
    """Return the profile that a notebook's `globals()` name, its only parameter.

    Every other plain value counts as a mistyped papermill parameter, for which papermill itself
    only warns.

    Raises:
        SettingsError: there is another value; the message names it.
    """
    for name in given_values(namespace):
        if name != "profile":
            raise SettingsError(unknown_name("parameter", name, ["profile"]))
    return namespace["profile"]


def write(profile: str) -> dict[str, Path]:
    """Write all tables and figures of a profile.

    What needs scores.parquet, which is not committed, is not written where no run has one, and
    what was written before stays. Neither is a figure that has nothing to show.

    Returns:
        File name, e.g. "table1.csv" or "roc.png" → where it was written.

    Raises:
        ResultsError: the profile has no finished run, or a file of one is damaged (named).
    """
    folder = profile_folder(profile)
    runs = read_runs(profile)
    scores = scores_of(runs)
    tables, documents = _tables(runs, scores, folder)
    written = []
    for name, table in tables.items():
        with atomic_path(folder / "tables" / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
        written.append(folder / "tables" / f"{name}.csv")
    for document in documents:
        for suffix, text in compact.FORMS.items():
            path = folder / "tables" / f"{document.name}.{suffix}"
            write_text(path, text(document))
            written.append(path)
    for name, figure in _figures(tables, runs, scores, profile).items():
        written += style.save(figure, folder / "figures" / name)
    return {path.name: path for path in written}


def _tables(
    runs: pd.DataFrame, scores: dict[str, pd.DataFrame], folder: Path
) -> tuple[dict[str, pd.DataFrame], list[compact.Document]]:
    """Return the exact tables by name, and those for readers, of the profile in a folder."""
    profile = folder.name
    tables = {
        "table1": table1(runs),
        "comparison": comparison(runs),
        "ablation": _ablation(runs, scores, folder / "tables" / "ablation.csv"),
        "transformations": by_transformation.transformations(runs),
        "runs": runs_table(runs),
    }
    documents = [
        beside_paper.document(tables["table1"], profile),
        by_method.document(tables["comparison"], profile),
        ablations.document(tables["ablation"], profile),
        by_transformation.document(tables["transformations"], profile),
    ]
    curves = by_lambda.lambda_curves(runs)
    if len(curves):
        tables["lambda"] = curves
        documents.append(by_lambda.document(curves, profile))
    if method_figures.scored_cells(tables["comparison"], scores):
        found = paired_tables.differences(tables["comparison"], runs, scores)
        tables["differences"] = found
        documents.append(paired_tables.document(found, tables["comparison"], profile))
    return tables, documents


def _ablation(runs: pd.DataFrame, scores: dict[str, pd.DataFrame], earlier: Path) -> pd.DataFrame:
    table = ablations.ablation(runs, scores)
    if not earlier.is_file():
        return table
    return ablations.with_earlier(table, pd.read_csv(earlier))


def _figures(
    tables: dict[str, pd.DataFrame],
    runs: pd.DataFrame,
    scores: dict[str, pd.DataFrame],
    profile: str,
) -> dict[str, Figure]:
    """Return the figures that have something to show, by name."""
    printed, compared = tables["table1"], tables["comparison"]
    figures = {}
    if was_run(printed).any():
        figures["results_beside_paper"] = profile_figures.results_beside_paper(printed, profile)
        figures["setup_effect"] = profile_figures.setup_effect(printed, profile)
        active = runs[runs["run"].isin(runs_of(printed))]
        if set(active["run"]) & set(scores):
            figures["roc"] = profile_figures.roc_by_dataset(active, scores, profile)
    if by_method.compared(compared):
        figures["methods"] = method_figures.methods_beside_each_other(compared, profile)
    if method_figures.scored_cells(compared, scores):
        figures["roc_by_method"] = method_figures.roc_by_method(compared, scores, profile)
    verdicts = with_verdicts(scores)
    if method_figures.scored_cells(compared, verdicts):
        figures["agreement"] = method_figures.agreement(compared, verdicts, profile)
        figures["class_difficulty"] = difficulty_figures.class_difficulty(
            compared, verdicts, profile
        )
    if difficulty_figures.comparable(compared, verdicts):
        figures["image_difficulty"] = difficulty_figures.image_difficulty(
            compared, verdicts, profile
        )
    if len(tables["transformations"]):
        figures["transformations"] = by_transformation.transformations_figure(
            tables["transformations"], profile
        )
    points = frontier.frontier(tables["transformations"])
    if len(points):
        figures["frontier"] = frontier.frontier_figure(points, profile)
    if "lambda" in tables:
        figures["lambda"] = by_lambda.lambda_figure(tables["lambda"], profile)
    return figures

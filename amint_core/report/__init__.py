"""Tables and figures from the files under results/ alone, beside the paper's values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amint_core.config import given_values
from amint_core.exceptions import SettingsError, unknown_name
from amint_core.files import atomic_path, write_text
from amint_core.report import compact, profile_figures, style
from amint_core.report.collect import profile_folder, read_metrics, read_runs, unfinished
from amint_core.report.diagram import tap_diagram
from amint_core.report.run_figures import (
    images_by_role,
    metrics_table,
    roc,
    score_distributions,
    training_curves,
)
from amint_core.report.style import run_title
from amint_core.report.tables import runs_table, table1

__all__ = [
    "images_by_role",
    "metrics_table",
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

    The ROC figure needs scores.parquet, which is not committed: where no run has one, the figure
    is not drawn and one drawn before stays.

    Returns:
        File name, e.g. "table1.csv" or "roc.png" → where it was written.

    Raises:
        ResultsError: the profile has no finished run, or a file of one is damaged (named).
    """
    folder = profile_folder(profile)
    runs = read_runs(profile)
    table = table1(runs)
    written = []
    for name, frame in (("table1", table), ("runs", runs_table(runs))):
        with atomic_path(folder / "tables" / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n")
        written.append(folder / "tables" / f"{name}.csv")
    for suffix, text in (
        ("md", compact.to_markdown(table, profile)),
        ("tex", compact.to_latex(table, profile)),
        ("html", compact.to_html(table, profile)),
    ):
        write_text(folder / "tables" / f"table1.{suffix}", text)
        written.append(folder / "tables" / f"table1.{suffix}")
    figures = {
        "results_beside_paper": profile_figures.results_beside_paper(table, profile),
        "setup_effect": profile_figures.setup_effect(table, profile),
    }
    scores = profile_figures.scores_of(runs)
    if scores:
        figures["roc"] = profile_figures.roc_by_dataset(runs, scores, profile)
    for name, figure in figures.items():
        written += style.save(figure, folder / "figures" / name)
    return {path.name: path for path in written}

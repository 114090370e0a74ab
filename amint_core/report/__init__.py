"""Tables and figures from the files under results/ alone, beside the paper's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from amint_core.config import only_given
from amint_core.files import write_text
from amint_core.report import glance, render, sheets, style
from amint_core.report.figures import FIGURES
from amint_core.report.figures.diagram import tap_diagram
from amint_core.report.figures.images import (
    images_by_role,
    members_transformed,
    most_and_least_recognised,
)
from amint_core.report.figures.run import roc, score_distributions, training_curves
from amint_core.report.names import run_title
from amint_core.report.read import (
    is_timed,
    profile_folder,
    read,
    read_metrics,
    read_runs,
    said_of_copies,
    unfinished,
)
from amint_core.report.tables import TABLES
from amint_core.report.tables.metrics import metrics_table, side_by_side

__all__ = [
    "images_by_role",
    "members_transformed",
    "metrics_table",
    "most_and_least_recognised",
    "profile_of",
    "read_metrics",
    "read_runs",
    "roc",
    "run_title",
    "score_distributions",
    "side_by_side",
    "tap_diagram",
    "training_curves",
    "unfinished",
    "write",
]


def profile_of(namespace: Mapping[str, Any]) -> str:
    """Return the profile that a notebook's `globals()` name, its only parameter; see `only_given`.

    Raises:
        SettingsError: there is another value; the message names it.
    """
    return only_given(namespace, ["profile"])["profile"]


def write(profile: str) -> dict[str, Path]:
    """Write all tables and figures of a profile.

    Where there is nothing to show, a table has no rows and a figure says why. In a profile none of
    whose runs has its scores here, what was made of them before stays as it is. The runs of a timed
    grid have sheets of their own.

    Returns:
        File name, e.g. "table1.csv" or "roc.png" → where it is.

    Raises:
        ResultsError: the profile has no finished run, or a file of one is damaged (named).
    """
    folder = profile_folder(profile)
    if is_timed(folder):
        return _write_cells(folder)
    results = read(profile)
    files = []
    for table in TABLES.values():
        forms = ["csv", *(render.FORMS if table.document else ())]
        paths = {form: folder / "tables" / f"{table.name}.{form}" for form in forms}
        files += paths.values()
        there = table.of_scores and all(map(Path.is_file, paths.values()))
        if there and not results.scores and len(pd.read_csv(paths["csv"])):
            continue  # an empty table has nothing to lose
        write_text(paths.pop("csv"), render.to_csv(results.once(table.rows)))
        document = table.document and table.document(results)
        if document:
            said = said_of_copies(results.runs)
            document = replace(document, intro=(document.intro + said).strip())
        for form, path in paths.items():
            write_text(path, render.FORMS[form](document))
    for figure in FIGURES.values():
        target = folder / "figures" / figure.name
        paths = [target.with_name(f"{figure.name}.{form}") for form in ("png", "svg")]
        files += paths
        if figure.of_scores and not results.scores and all(map(Path.is_file, paths)):
            continue
        style.save(figure.draw(results), target)
    return {path.name: path for path in files}


def _write_cells(folder: Path) -> dict[str, Path]:
    """Write the sheets and the figure of a timed grid's cells beside the paper's."""
    runs = sheets.read(folder)
    table = sheets.cells(runs)
    tables = {form: folder / "tables" / f"table1.{form}" for form in ("csv", "md")}
    write_text(tables["csv"], table.to_csv(index=False, float_format="%.6g"))
    write_text(tables["md"], sheets.document(runs, table))
    target = folder / "figures" / "table1"
    style.save(glance.draw(table), target)
    files = [*tables.values(), *(target.with_suffix(f".{form}") for form in ("png", "svg"))]
    return {path.name: path for path in files}

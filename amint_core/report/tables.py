"""Table 1 with our values beside the paper's, exact as CSV."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from amint_core.report import paper
from amint_core.report.averages import COUNTS, DATA, averaged, groups, name_variants, one_per_seed
from amint_core.report.switches import switched

#: Columns of table1.csv, in order.
COLUMNS = (
    *("dataset", "setup", "model", "mint_accuracy", "audited_accuracy"),
    *("paper_mint_accuracy", "paper_audited_accuracy"),
    *("mint_accuracy_low", "mint_accuracy_high", "audited_accuracy_low", "audited_accuracy_high"),
    *("accuracy_calibrated", "accuracy_calibrated_low", "accuracy_calibrated_high"),
    *("auc", "auc_low", "auc_high"),
    *("tpr_at_1pct_fpr", "tpr_at_1pct_fpr_low", "tpr_at_1pct_fpr_high"),
    *("tpr_at_01pct_fpr", "tpr_at_01pct_fpr_low", "tpr_at_01pct_fpr_high"),
    *("method", "protocol", "recipe", "data", "title", "variant"),
    *("members", "external", "judged_members", "judged_non_members", "judged_role"),
    *("judged_member_tracks", "judged_non_member_tracks"),
    *("audited_role", "epochs", "seeds", "mint_accuracy_sd", "audited_accuracy_sd", "auc_sd"),
    *("device", "hardware", "audited_parameters", "head_parameters", "seconds", "runs"),
)


def table1(runs: pd.DataFrame) -> pd.DataFrame:
    """Put the active runs beside the paper's Table 1.

    Runs that differ only by seed share a row: values are means over seeds, `_sd` the standard
    deviation over them, `_low` and `_high` the means of the runs' own 95 % intervals, counts are
    rounded means. Runs that differ in any other setting that changes a number stand in rows of
    their own; `variant` tells them apart. Left out are other methods, which the comparison shows,
    and runs that switch a single thing of another, which the ablation shows.

    Args:
        runs: as from `read_runs`.

    Returns:
        The columns `COLUMNS`: one row per cell of the paper's grid (empty where not run), and one
        per other cell that was run, in the paper's order. `seeds` is the number of runs averaged.
    """
    active = runs[(runs["method"] == "active") & ~runs["run"].isin(switched(runs))]
    rows = [_row(one_per_seed(group)) for group in groups(active)]
    _name_variants(rows)
    run_cells = {(row["dataset"], row["setup"], row["model"]) for row in rows}
    rows += [
        {"dataset": dataset, "setup": setup, "model": model, **_paper(dataset, setup, model)}
        for dataset, setup, model in paper.TABLE1
        if (dataset, setup, model) not in run_cells
    ]
    table = pd.DataFrame(sorted(rows, key=_order), columns=list(COLUMNS))
    counts = [name for name in COUNTS if name in table]
    return table.astype(dict.fromkeys(counts, "Int64"))


def runs_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run with all its metrics and settings, exact, for runs.csv."""
    table = runs.drop(columns="path")
    table.insert(table.columns.get_loc("source"), "data", table.pop("source").map(DATA))
    return table


def was_run(table: pd.DataFrame) -> pd.Series:
    """Tell which rows of `table1` hold runs."""
    return table["runs"].notna()


def runs_of(table: pd.DataFrame) -> set[str]:
    """Return the ids of the runs that the rows of a table hold."""
    return {name for names in table["runs"].dropna() for name in names.split("; ")}


def _row(group: pd.DataFrame) -> dict[str, Any]:
    row = averaged(group, COLUMNS)
    return row | _paper(row["dataset"], row["setup"], row["model"])


def _paper(dataset: str, setup: str, model: str) -> dict[str, Any]:
    cell = paper.cell(dataset, setup, model)
    return {
        "paper_mint_accuracy": cell.mint if cell else np.nan,
        "paper_audited_accuracy": cell.audited if cell else np.nan,
    }


def _name_variants(rows: list[dict[str, Any]]) -> None:
    """Fill `variant`: the recipe where there are several, and what else differs within one."""
    name_variants(rows, ("title", "model", "recipe"), ignored=("settings.setup",))
    recipes: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        recipes.setdefault((row["title"], row["model"]), set()).add(row["recipe"])
    for row in rows:
        if len(recipes[row["title"], row["model"]]) > 1:
            parts = (f"recipe={row['recipe']}", row["variant"])
            row["variant"] = ", ".join(part for part in parts if part)


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        paper.dataset_order(row["dataset"]),
        paper.setup_order(row["setup"]),
        paper.model_order(row["model"]),
        row.get("title") or "",
        row.get("variant") or "",
    )

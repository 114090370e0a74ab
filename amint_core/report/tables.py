"""Table 1 with our values beside the paper's, exact as CSV."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from amint_core.report import paper
from amint_core.report.collect import MEASURES

#: Settings in which runs of one cell may differ and still be averaged.
AVERAGED = ("settings.seed", "settings.profile")
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
    *("audited_role", "epochs", "seeds", "mint_accuracy_sd", "audited_accuracy_sd", "auc_sd"),
    *("device", "hardware", "audited_parameters", "head_parameters", "seconds", "runs"),
)
COUNTS = (
    *("members", "external", "judged_members", "judged_non_members"),
    *("epochs", "seeds", "audited_parameters", "head_parameters"),
)
#: Words for `data.source`.
DATA = {"real": "real", "standin": "STAND-IN"}


def table1(runs: pd.DataFrame) -> pd.DataFrame:
    """Put runs beside the paper's Table 1.

    Runs that differ only by seed share a row: values are means over seeds, `_sd` the standard
    deviation over them, `_low` and `_high` the means of the runs' own 95 % intervals, counts are
    rounded means. Runs that differ in any other setting stand in rows of their own; `variant`
    tells them apart.

    Args:
        runs: as from `read_runs`.

    Returns:
        The columns `COLUMNS`: one row per cell of the paper's grid (empty where not run), and one
        per other cell that was run, in the paper's order. `seeds` is the number of runs averaged.
    """
    rows = [_row(group) for _, group in runs.groupby(_keys(runs), sort=False, dropna=False)]
    _name_variants(rows)
    run_cells = {(row["dataset"], row["setup"], row["model"]) for row in rows}
    rows += [
        {"dataset": dataset, "setup": setup, "model": model, **_paper(dataset, setup, model)}
        for dataset, setup, model in paper.TABLE1
        if (dataset, setup, model) not in run_cells
    ]
    table = pd.DataFrame(sorted(rows, key=_order), columns=list(COLUMNS))
    return table.astype(dict.fromkeys(COUNTS, "Int64"))


def runs_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run with all its metrics and settings, exact, for runs.csv."""
    table = runs.drop(columns="path")
    table.insert(table.columns.get_loc("source"), "data", table.pop("source").map(DATA))
    return table


def was_run(table: pd.DataFrame) -> pd.Series:
    """Tell which rows of `table1` hold runs."""
    return table["runs"].notna()


def _keys(runs: pd.DataFrame) -> list[str]:
    """Return the columns in which runs must agree to be averaged."""
    settings = [name for name in runs if name.startswith("settings.") and name not in AVERAGED]
    return ["dataset", "setup", "model", "title", "fingerprint", *settings]


def _row(group: pd.DataFrame) -> dict[str, Any]:
    first = group.iloc[0]
    row: dict[str, Any] = {
        name: _joined(group[name])
        for name in (*COLUMNS, "fingerprint")
        if name in group and name not in MEASURES
    }
    for name in MEASURES:
        for column in (name, f"{name}_low", f"{name}_high"):
            # A mean over fewer seeds than `seeds` says would mislead: empty where one is empty.
            row[column] = group[column].mean(skipna=False)
    spread = {
        f"{name}_sd": group[name].std(ddof=1, skipna=False) if len(group) > 1 else np.nan
        for name in ("mint_accuracy", "audited_accuracy", "auc")
    }
    settings = {name: first[name] for name in group if name.startswith("settings.")}
    return (
        row
        | spread
        | settings
        | _paper(first["dataset"], first["setup"], first["model"], first["method"])
        | {"data": DATA[first["source"]], "seeds": len(group), "runs": "; ".join(group["run"])}
    )


def _joined(values: pd.Series) -> Any:
    """Return what all runs of a row share, or their different values in words."""
    unique = values.dropna().unique()
    if len(unique) < 2:
        return unique[0] if len(unique) else None
    if values.name in (*COUNTS, "seconds"):
        return round(values.mean())
    return "; ".join(map(str, unique))


def _paper(dataset: str, setup: str, model: str, method: str = "active") -> dict[str, Any]:
    cell = paper.cell(dataset, setup, model, method)
    return {
        "paper_mint_accuracy": cell.mint if cell else np.nan,
        "paper_audited_accuracy": cell.audited if cell else np.nan,
    }


def _name_variants(rows: list[dict[str, Any]]) -> None:
    """Fill `variant` where runs of one model on one dataset differ in more than the setup."""
    models: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        models.setdefault((row["title"], row["model"]), []).append(row)
    for same in models.values():
        settings = [name for name in same[0] if name.startswith("settings.")]
        compared = {*settings, "fingerprint"} - {*AVERAGED, "settings.setup"}
        differing = [name for name in compared if len({str(row[name]) for row in same}) > 1]
        for row in same:
            values = (f"{name.removeprefix('settings.')}={row[name]}" for name in sorted(differing))
            row["variant"] = ", ".join(values) or None


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        paper.dataset_order(row["dataset"]),
        paper.setup_order(row["setup"]),
        paper.model_order(row["model"]),
        row.get("title") or "",
        row.get("variant") or "",
    )

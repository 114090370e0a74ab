"""The comparison: every method that was run, side by side on the same images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from amint_core.methods import METHODS
from amint_core.report import compact, paper
from amint_core.report.averages import (
    AVERAGED,
    COUNTS,
    TESTING,
    averaged,
    groups,
    name_variants,
    one_per_seed,
)
from amint_core.report.collect import MEASURES
from amint_core.report.compact import Document, Part, short
from amint_core.report.method_names import (
    controls,
    entry_title,
    has_fewer_shadows,
    has_target,
    method_group,
    method_order,
    method_title,
    published_shadows,
)
from amint_core.report.style import run_title

#: Columns of comparison.csv, in order.
COLUMNS = (
    *("cell", "title", "dataset", "model", "setup", "protocol", "recipe", "cell_variant"),
    *("group", "method", "method_title", "target", "shadows", "published_shadows", "variant"),
    *(f"{name}{suffix}" for name in MEASURES for suffix in ("", "_low", "_high", "_sd")),
    *("paper_mint_accuracy", "paper_audited_accuracy"),
    *("members", "external", "judged_members", "judged_non_members", "judged_role"),
    *("judged_member_tracks", "judged_non_member_tracks"),
    *("audited_role", "epochs", "seeds", "data", "device", "seconds", "shadow_seconds", "runs"),
)

#: Methods that compare with known non-members; see `Case.outsiders`.
LEARN_FROM_OUTSIDERS = tuple(name for name, method in METHODS.items() if method.outsiders)


def comparison(runs: pd.DataFrame) -> pd.DataFrame:
    """Set the methods of each cell side by side.

    A cell holds runs that share images and training: every setting but those of the test itself
    (`averages.TESTING`), seed and profile. Within it, runs that differ only by seed are averaged:
    values are means, `_sd` the standard deviation over seeds, `_low` and `_high` the means of the
    runs' own 95 % intervals.

    Args:
        runs: as from `read_runs`.

    Returns:
        The columns `COLUMNS`, a row per method and target of a cell: aMINT, passive, attacks,
        controls. `target` is empty where a method tests the model that it trains; `variant` tells
        apart several rows of one method, `cell_variant` several cells of one name.
    """
    cells = [_cell(number, cell) for number, cell in enumerate(_cells(runs), 1)]
    _name_cells([rows for rows in cells if len(rows) > 1])
    _name_cells([rows for rows in cells if len(rows) == 1])
    table = pd.DataFrame([row for rows in cells for row in rows], columns=list(COLUMNS))
    counts = [name for name in COUNTS if name in table]
    return table.astype(dict.fromkeys(counts, "Int64"))


def compared(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the cells in which two or more methods were run: title → rows of `comparison`."""
    cells = (rows for _, rows in table.groupby("cell", sort=False) if len(rows) > 1)
    return {cell_title(rows.iloc[0]): rows for rows in cells}


def cell_title(row: pd.Series) -> str:
    """Name the cell of a row; stand-in data says so."""
    title = run_title(row["title"], row["model"], row["setup"])
    title += f" · {row['recipe']}" if row["recipe"] else ""
    title += "" if row["protocol"] == "strict" else f" · {row['protocol']} protocol"
    variant = row["cell_variant"]
    return f"{title} ({variant})" if isinstance(variant, str) else title


def row_title(row: pd.Series) -> str:
    """Name the method of a row, with its target and what else tells it apart."""
    return entry_title(row["method"], row["target"], row["variant"])


def missing_controls(rows: pd.DataFrame) -> list[str]:
    """Return the titles of the controls that a cell lacks."""
    return [method_title(name) for name in controls() if name not in set(rows["method"])]


def document(table: pd.DataFrame, profile: str) -> Document:
    """Return the comparison for readers: a part per cell with two or more methods.

    Args:
        table: as from `comparison`.
    """
    cells = compared(table)
    parts = [Part(_caption(title, rows), _text(rows)) for title, rows in cells.items()]
    alone = table["cell"].nunique() - len(cells)
    return Document(
        "comparison", "Comparison of methods", profile, _intro(table, profile, alone), parts
    )


def _cells(runs: pd.DataFrame) -> list[pd.DataFrame]:
    return groups(runs, (*AVERAGED, *TESTING))


def _cell(number: int, cell: pd.DataFrame) -> list[dict[str, Any]]:
    rows = [_row(number, one_per_seed(group)) for group in groups(cell)]
    shown_anyway = ("settings.method", "settings.target")
    name_variants(rows, ("method", "target"), ignored=shown_anyway)
    return sorted(rows, key=_order)


def _name_cells(cells: list[list[dict[str, Any]]]) -> None:
    """Fill `cell_variant` of all rows with what sets cells of one name apart."""
    # The settings of a cell are those of any of its rows, but for how membership is tested.
    heads = [dict(rows[0]) for rows in cells]
    name_variants(heads, ("title", "model", "setup", "protocol", "recipe"), ignored=TESTING)
    for rows, head in zip(cells, heads, strict=True):
        for row in rows:
            row["cell_variant"] = head["variant"]


def _row(number: int, group: pd.DataFrame) -> dict[str, Any]:
    row = averaged(group, COLUMNS)
    method = row["method"]
    if not has_target(method):
        row["target"] = None
    place = row["dataset"], row["setup"], row["model"]
    mint, audited = paper.method_values(*place, method, row["target"])
    return row | {
        "cell": number,
        "group": method_group(method),
        "method_title": method_title(method),
        "published_shadows": published_shadows(method),
        "paper_mint_accuracy": np.nan if mint is None else mint,
        "paper_audited_accuracy": np.nan if audited is None else audited,
    }


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    group, place, name = method_order(row["method"])
    return group, row["target"] == "active", place, name, row["variant"] or ""


def _intro(table: pd.DataFrame, profile: str, alone: int) -> str:
    text = (
        f"Profile {profile}: methods on the same images. Accuracy at .5: the mean of the accuracy "
        "on members and on non-members at the paper's threshold (attacks: at the method's own); "
        "calibrated: at the threshold chosen on calibration images; in brackets 95 % intervals. "
        "TPR: true-positive rate, FPR: false-positive rate. Precision at 1 %: the share of members "
        "among the accused where 1 % of all images are members. A dash: the images at hand cannot "
        "resolve it, the method has no such threshold, or it is no test. The paper's accuracies "
        "are at its own sizes and on other images; it states no model for its attacks and no setup "
        "for passive MINT. ± is the standard deviation of the AUC over seeds."
    )
    if (table["method"].isin(LEARN_FROM_OUTSIDERS) & (table["target"] == "active")).any():
        text += (
            " On the active model RMIA and gMINT take known non-members from calibration, as its "
            "head has learned from the external images that they take elsewhere."
        )
    if (table["seeds"] > 1).any():
        text += f" {compact.SEEDS}"
    if alone:
        text += f" Cells in which one method alone was run are in comparison.csv only: {alone}."
    if (table["data"] == "STAND-IN").any():
        text += f" {compact.STANDIN}"
    return text


def _caption(title: str, rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    missing = missing_controls(rows)
    judged = f"{compact.count(first['judged_members'])} members and "
    judged += f"{compact.count(first['judged_non_members'])} non-members judged"
    text = f"{title}: {compact.count(first['members'])} members in training, {judged}. "
    text += f"Controls not run: {', '.join(missing)}." if missing else "All controls run."
    text += compact.tracks(first)
    weak = [f"{row_title(row)} ({_shadows(row)})" for _, row in rows.iterrows() if _is_weak(row)]
    if weak:
        text += f" Fewer shadow models than published; expect less power: {', '.join(weak)}."
    return text


def _is_weak(row: pd.Series) -> bool:
    return not pd.isna(row["shadows"]) and has_fewer_shadows(row["method"], row["shadows"])


def _shadows(row: pd.Series) -> str:
    """Write how many shadow models a test used, of how many in its paper."""
    if pd.isna(row["shadows"]):
        return ""
    return f"{row['shadows']}, paper {row['published_shadows']}"


def _text(rows: pd.DataFrame) -> pd.DataFrame:
    def measured(name: str) -> list[str]:
        return [text or "–" for text in compact.with_intervals(rows, name)]

    columns = {
        "Method": [row_title(row) for _, row in rows.iterrows()],
        "Group": rows["group"],
        "Accuracy at .5": measured("mint_accuracy"),
        "Paper": rows["paper_mint_accuracy"].map(lambda value: short(value, digits=2)),
        "Calibrated": measured("accuracy_calibrated"),
        "AUC": measured("auc"),
        "TPR at 1 % FPR": measured("tpr_at_1pct_fpr"),
        "TPR at 0.1 % FPR": measured("tpr_at_01pct_fpr"),
        "Precision at 1 %": measured("precision_at_1pct_prior"),
        "Precision at 10 %": measured("precision_at_10pct_prior"),
        "Audited accuracy": measured("audited_accuracy"),
        "Audited, paper": rows["paper_audited_accuracy"].map(lambda value: short(value, digits=2)),
        "Shadow models": [_shadows(row) for _, row in rows.iterrows()],
        "Seeds": [compact.seeds(row, "auc") for _, row in rows.iterrows()],
    }
    text = pd.DataFrame(columns).reset_index(drop=True)
    rarely = ("Paper", "Audited, paper", "Shadow models")
    return text.drop(columns=[name for name in rarely if not text[name].any()])

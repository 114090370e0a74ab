"""Table 1: our active runs beside the paper's cells, then the cells that were not run."""

from __future__ import annotations

from typing import Any

import pandas as pd

from amint_core.report import paper, render
from amint_core.report.averages import laid_out, over_seeds, variants
from amint_core.report.read import Results
from amint_core.report.registry import Table
from amint_core.report.render import Document, Part, short, with_intervals, words
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
_SETUP = ("settings.setup", "settings.taps")  # what the column of that name tells
_CELL = ["dataset", "setup", "model"]


def rows(results: Results) -> pd.DataFrame:
    """Put the active runs, averaged over seeds, beside the paper's Table 1.

    Runs that differ in a setting that changes a number stand in rows of their own; `variant` tells
    them apart. Left out are other methods, which the comparison shows, and runs that switch a
    single thing of another, which the ablation shows.

    Returns:
        The columns `COLUMNS`: one row per cell of the paper's grid (empty where not run), and one
        per other cell that was run, in the paper's order.
    """
    runs = results.runs
    active = runs[(runs["method"] == "active") & ~runs["run"].isin(switched(results))]
    table = over_seeds(results, active)
    table["variant"] = _variants(table)
    ran = set(map(tuple, table[_CELL].values))
    left = [cell for cell in paper.TABLE1 if cell not in ran]
    table = pd.concat([table, pd.DataFrame(left, columns=_CELL)], ignore_index=True)
    cells = [paper.TABLE1.get(tuple(cell)) for cell in table[_CELL].values]
    table["paper_mint_accuracy"] = [cell.mint if cell else None for cell in cells]
    table["paper_audited_accuracy"] = [cell.audited if cell else None for cell in cells]
    order = sorted(table.index, key=lambda place: _order(table.loc[place]))
    return laid_out(table.loc[order], COLUMNS)


def was_run(table: pd.DataFrame) -> pd.Series:
    """Tell which rows hold runs."""
    return table["runs"].notna()


def document(results: Results) -> Document:
    """Return Table 1 for readers."""
    table = results.once(rows)
    done = table[was_run(table)]
    parts = [Part(_caption(done, results.profile), _ours(done)), _not_run(done)]
    return Document("table1", "Table 1", results.profile, "", parts, unprinted=("Calibrated",))


def _variants(table: pd.DataFrame) -> list[str | None]:
    """Return the recipe where the profile has several, and what else differs within one.

    A model's recipe is named beside every dataset then: figures give one name one look.
    """
    others = variants(table, ("title", "model", "recipe"), ignored=_SETUP)
    several = table["recipe"].nunique() > 1
    named = [
        ", ".join(filter(None, [f"recipe={recipe}" if several else "", other]))
        for recipe, other in zip(table["recipe"], others, strict=True)
    ]
    return [name or None for name in named]


def _order(row: pd.Series) -> tuple[Any, ...]:
    return (
        paper.dataset_order(row["dataset"]),
        paper.setup_order(row["setup"]),
        paper.model_order(row["model"]),
        words(row["title"]),
        words(row["variant"]),
    )


def _ours(done: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "Dataset": done["title"],
        "Setup": done["setup"],
        "Model": done["model"].map(_model),
        "MINT accuracy": with_intervals(done, "mint_accuracy", missing=""),
        "MINT, paper": done["paper_mint_accuracy"].map(_printed),
        "Audited accuracy": with_intervals(done, "audited_accuracy", missing=""),
        "Audited, paper": done["paper_audited_accuracy"].map(_printed),
        "Calibrated": done["accuracy_calibrated"].map(short),
        "AUC": done["auc"].map(short),
        "TPR at 1 % FPR": done["tpr_at_1pct_fpr"].map(short),
        "Protocol": done["protocol"],
        "Members / external": _pair(done, "members", "external"),
        "Judged in / out": _pair(done, "judged_members", "judged_non_members"),
        "Epochs": done["epochs"].map(words),
        "Seeds": render.seeds(done, "mint_accuracy"),
        "Device": done["device"].map(words),
        "Variant": done["variant"].map(words),
    }
    text = pd.DataFrame(columns).reset_index(drop=True)
    return text if text["Variant"].any() else text.drop(columns="Variant")


def _not_run(done: pd.DataFrame) -> Part:
    """Return the paper's values of cells not run, laid out as its Table 1; "·" where run."""
    ran = set(map(tuple, done[_CELL].values)) & set(paper.TABLE1)
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for (dataset, setup, model), cell in paper.TABLE1.items():
        line = lines.setdefault(
            (dataset, setup), {"Dataset": paper.DATASETS[dataset], "Setup": setup}
        )
        printed = f"{_printed(cell.mint)} / {_printed(cell.audited)}"
        line[_model(model)] = "·" if (dataset, setup, model) in ran else printed
    text = pd.DataFrame(lines.values())
    real = set(map(tuple, done.loc[done["data"] == "real", _CELL].values)) & set(paper.TABLE1)
    caption = (
        f"Cells run: {len(ran)} of the paper's {len(paper.TABLE1)}, {len(real) or 'none'} of them "
        "on real data. The others, as the paper has them: MINT / audited accuracy; a dot stands "
        "for a cell that was run."
    )
    complete = (text.drop(columns=["Dataset", "Setup"]) == "·").all(axis="columns")
    return Part(caption, text[~complete])


def _caption(done: pd.DataFrame, profile: str) -> str:
    text = render.intro(
        profile,
        "aMINT beside the paper's Table 1. MINT accuracy is the mean of the accuracy on members "
        "and on non-members at probability .5, audited accuracy is measured on labelled test "
        "images; in brackets 95 % intervals. Calibrated: MINT accuracy at the threshold chosen on "
        "calibration images. TPR: true-positive rate, FPR: false-positive rate. Other methods are "
        "in comparison, runs that switch one thing in ablation.",
        done,
    )
    if (done["seeds"] > 1).any():
        text += (
            " Several seeds: the mean over them, Student's interval over seeds, and ± the standard "
            "deviation of MINT accuracy."
        )
    for title, ours in done.groupby("title", sort=False):
        said = dict.fromkeys(render.tracks(row) for _, row in ours.iterrows())
        text += "".join(f" {title}:{one}" for one in said if one)
    return text


def _pair(done: pd.DataFrame, *names: str) -> list[str]:
    return [" / ".join(map(render.count, pair)) for pair in done[[*names]].values]


def _printed(value: float) -> str:
    return short(value, digits=2)


def _model(name: str) -> str:
    return paper.MODELS.get(name, name)


TABLE = Table("table1", rows, document)

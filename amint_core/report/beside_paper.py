"""Table 1 for readers: our runs beside the paper's cells, then the cells that were not run."""

from __future__ import annotations

import pandas as pd

from amint_core.report import compact, paper
from amint_core.report.compact import Document, Part, short, words
from amint_core.report.tables import was_run


def document(table: pd.DataFrame, profile: str) -> Document:
    """Return Table 1 for readers.

    Args:
        table: as from `table1`.
    """
    captions = _captions(table, profile)
    parts = [Part(captions[0], ours(table)), Part(captions[1], not_run(table))]
    return Document("table1", "Table 1", profile, "", parts, short=("Calibrated",))


def ours(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `table1` that were run, as text for readers."""
    done = table[was_run(table)]
    columns = {
        "Dataset": done["title"],
        "Setup": done["setup"],
        "Model": done["model"].map(_model),
        "MINT accuracy": compact.with_intervals(done, "mint_accuracy"),
        "MINT, paper": done["paper_mint_accuracy"].map(_printed),
        "Audited accuracy": compact.with_intervals(done, "audited_accuracy"),
        "Audited, paper": done["paper_audited_accuracy"].map(_printed),
        "Calibrated": done["accuracy_calibrated"].map(short),
        "AUC": done["auc"].map(short),
        "TPR at 1 % FPR": done["tpr_at_1pct_fpr"].map(short),
        "Protocol": done["protocol"],
        "Members / external": compact.pair(done["members"], done["external"]),
        "Judged in / out": compact.pair(done["judged_members"], done["judged_non_members"]),
        "Epochs": done["epochs"].map(words),
        "Seeds": [compact.seeds(row, "mint_accuracy") for _, row in done.iterrows()],
        "Device": done["device"].map(words),
        "Variant": done["variant"].map(words),
    }
    text = pd.DataFrame(columns).reset_index(drop=True)
    return text.drop(columns=[name for name in ("Variant",) if not text[name].any()])


def not_run(table: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's values of cells not run, laid out as its Table 1; "·" where run."""
    done = {tuple(row) for row in table.loc[was_run(table), ["dataset", "setup", "model"]].values}
    rows = {}
    for dataset, setup, model in paper.TABLE1:
        cell = paper.TABLE1[dataset, setup, model]
        printed = f"{_printed(cell.mint)} / {_printed(cell.audited)}"
        row = rows.setdefault((paper.DATASETS[dataset], setup), {})
        row[_model(model)] = "·" if (dataset, setup, model) in done else printed
    left = {place: row for place, row in rows.items() if set(row.values()) != {"·"}}
    text = pd.DataFrame.from_dict(left, orient="index")
    if text.empty:
        return text
    text.index = pd.MultiIndex.from_tuples(list(left), names=["Dataset", "Setup"])
    return text.reset_index()


def _captions(table: pd.DataFrame, profile: str) -> tuple[str, str]:
    """Return the captions of `ours` and of `not_run`."""
    done = table[was_run(table)]
    text = (
        f"Profile {profile}: aMINT beside the paper's Table 1. MINT accuracy is the mean of the "
        "accuracy on members and on non-members at probability .5, audited accuracy is measured "
        "on labelled test images; in brackets 95 % intervals. Calibrated: MINT accuracy at the "
        "threshold chosen on calibration images. TPR: true-positive rate, FPR: false-positive "
        "rate. Other methods are in comparison, runs that switch one thing in ablation."
    )
    if (done["data"] == "STAND-IN").any():
        text += f" {compact.STANDIN}"
    if (done["seeds"] > 1).any():
        text += (
            " Several seeds: the mean over them, the mean of their intervals, and ± the standard "
            "deviation of MINT accuracy over seeds."
        )
    for title, rows in done.groupby("title", sort=False):
        said = dict.fromkeys(compact.tracks(row) for _, row in rows.iterrows())
        text += "".join(f" {title}:{one}" for one in said if one)
    rest = (
        f"Cells run: {_cells(done)} of the paper's {len(paper.TABLE1)}, "
        f"{_cells(done[done['data'] == 'real']) or 'none'} of them on real data. The others, as "
        "the paper has them: MINT / audited accuracy; a dot stands for a cell that was run."
    )
    return text, rest


def _cells(rows: pd.DataFrame) -> int:
    """Count the cells of the paper's grid that `rows` cover."""
    return len(set(map(tuple, rows[["dataset", "setup", "model"]].values)) & set(paper.TABLE1))


def _printed(value: float) -> str:
    return short(value, digits=2)


def _model(name: str) -> str:
    return paper.MODELS.get(name, name)

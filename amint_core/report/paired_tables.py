"""Differences between methods on the same images, with paired intervals, and their agreement."""

from __future__ import annotations

from typing import Any

import pandas as pd

from amint_core.evaluation import paired
from amint_core.report import compact
from amint_core.report.averages import DATA
from amint_core.report.by_method import compared, row_title
from amint_core.report.collect import thresholds
from amint_core.report.compact import Document, Part, short, signed

#: The method that all others are set against.
REFERENCE = "active"
FPR = 0.01
DIFFERENCES = ("auc_difference", "accuracy_difference", "tpr_at_1pct_fpr_difference")
AGREEMENT = ("both", "only_method", "only_reference", "neither", "kappa", "spearman")
#: Columns of differences.csv, in order.
COLUMNS = (
    *("cell", "title", "dataset", "model", "setup", "protocol", "recipe", "seed"),
    *("method", "target", "variant", "reference"),
    *(f"{name}{suffix}" for name in DIFFERENCES for suffix in ("", "_low", "_high")),
    *AGREEMENT,
    *("judged_members", "judged_non_members", "data", "run", "reference_run"),
)


def differences(
    table: pd.DataFrame, runs: pd.DataFrame, scores: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Set every method against the active one of the same cell and seed, on the same images.

    Args:
        table: as from `comparison`.
        runs: as from `read_runs`.
        scores: as from `scores_of`; runs whose scores are not there are left out.

    Returns:
        The columns `COLUMNS`, a row per pair of runs. Differences are the method's value minus the
        reference's; accuracies are taken at each run's own threshold (`collect.thresholds`), and
        agreement is that of the verdicts on judged members. Where a cell holds several active
        runs of a seed, the first in `comparison` is the reference.
    """
    by_id = runs.assign(own_threshold=thresholds(runs)).set_index("run")
    rows = []
    for _, cell in table.groupby("cell", sort=False):
        entries = [
            (row, by_id.loc[name].rename(name))
            for _, row in cell.iterrows()
            for name in row["runs"].split("; ")
            if name in scores
        ]
        rows += _against_reference(entries, scores)
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = ("seed", "judged_members", "judged_non_members")
    return found.astype(dict.fromkeys(counts, "Int64"))


def document(found: pd.DataFrame, table: pd.DataFrame, profile: str) -> Document:
    """Return the differences for readers: a part per cell, means over seeds.

    Args:
        found: as from `differences`.
        table: as from `comparison`.
    """
    parts = []
    for title, rows in compared(table).items():
        of_cell = found[found["cell"] == rows["cell"].iloc[0]]
        parts.append(Part(f"{title}.{compact.tracks(rows.iloc[0])}", _text(of_cell)))
    intro = (
        f"Profile {profile}: each method minus the active one on the same judged images, with "
        "paired 95 % intervals (AUC: DeLong's correlation; accuracy at each one's own threshold: "
        "Newcombe's paired interval; TPR at 1 % FPR: on the safe side). Agreement: shares of the "
        "judged members that both find, that only the method or only active MINT finds; Cohen's "
        "kappa of these verdicts; Spearman's rank correlation of the scores within members. "
        "Several seeds: means, those of the intervals included."
    )
    if not any(len(part.text) for part in parts):
        intro = f"Profile {profile}: no method has scores beside those of an active run."
    if (found["data"] == "STAND-IN").any():
        intro += f" {compact.STANDIN}"
    return Document("differences", "Differences to active MINT", profile, intro, parts)


def _against_reference(
    entries: list[tuple[pd.Series, pd.Series]], scores: dict[str, pd.DataFrame]
) -> list[dict[str, Any]]:
    references: dict[int, tuple[pd.Series, pd.Series]] = {}
    for row, run in entries:
        if row["method"] == REFERENCE:
            references.setdefault(run["seed"], (row, run))
    return [
        _pair(row, run, references[run["seed"]][1], scores)
        for row, run in entries
        if run["seed"] in references and references[run["seed"]][1].name != run.name
    ]


def _pair(
    row: pd.Series, run: pd.Series, reference: pd.Series, scores: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    both = paired.align(scores[run.name], scores[reference.name])
    cuts = run["own_threshold"], reference["own_threshold"]
    tracks = paired.groups_of(scores[run.name])
    measured = {
        "auc_difference": paired.auc_difference(*both, tracks),
        "accuracy_difference": paired.accuracy_difference(*both, cuts, tracks),
        "tpr_at_1pct_fpr_difference": paired.tpr_difference(*both, FPR, tracks),
    }
    values = {
        f"{name}{suffix}": metric[part]
        for name, metric in measured.items()
        for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    agreed = paired.agreement(*both, cuts)
    agreed |= {"only_method": agreed["first"], "only_reference": agreed["second"]}
    facts = {name: row[name] for name in COLUMNS if name in row}
    return {
        **facts,
        **values,
        **agreed,
        "seed": run["seed"],
        "reference": REFERENCE,
        "data": DATA[run["source"]],
        "run": run.name,
        "reference_run": reference.name,
    }


def _text(rows: pd.DataFrame) -> pd.DataFrame:
    texts = []
    for _, of_row in rows.groupby(["method", "target", "variant"], sort=False, dropna=False):
        mean = (
            of_row[[*AGREEMENT, *(name for name in COLUMNS if "difference" in name)]]
            .astype(float)
            .mean(skipna=False)
        )
        texts.append(
            {
                "Method": row_title(of_row.iloc[0]),
                "AUC": _interval(mean, "auc_difference"),
                "Accuracy": _interval(mean, "accuracy_difference"),
                "TPR at 1 % FPR": _interval(mean, "tpr_at_1pct_fpr_difference") or "–",
                "Both": short(mean["both"]),
                "Only method": short(mean["only_method"]),
                "Only active": short(mean["only_reference"]),
                "Kappa": short(mean["kappa"]) or "–",
                "Spearman": short(mean["spearman"]) or "–",
                "Seeds": str(len(of_row)),
            }
        )
    return pd.DataFrame(texts)


def _interval(mean: pd.Series, name: str) -> str:
    value, low, high = (mean[f"{name}{suffix}"] for suffix in ("", "_low", "_high"))
    return signed(value) and f"{signed(value)} [{signed(low)}, {signed(high)}]"

"""Differences between methods on the same images, with paired intervals, and their agreement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from amint_core.errors import ProtocolError
from amint_core.evaluation import paired
from amint_core.evaluation.metrics import Metric
from amint_core.methods import METHODS
from amint_core.report import compact
from amint_core.report.averages import DATA
from amint_core.report.by_method import compared, row_title
from amint_core.report.collect import VERDICT_FPR
from amint_core.report.compact import Document, Part, short

#: What a test is set against: the active one, or the same test of the plain model.
ACTIVE, ON_PLAIN = "active", "target=plain"
#: Measure → column of its difference.
DIFFERENCES = {
    "auc": "auc_difference",
    "accuracy_calibrated": "accuracy_difference",
    "tpr_at_1pct_fpr": "tpr_at_1pct_fpr_difference",
}
AGREEMENT = ("both", "only_method", "only_reference", "neither", "kappa", "spearman")
#: Columns of differences.csv, in order.
COLUMNS = (
    *("cell", "title", "dataset", "model", "setup", "protocol", "recipe", "seed"),
    *("method", "target", "variant", "reference"),
    *(f"{name}{suffix}" for name in DIFFERENCES.values() for suffix in ("", "_low", "_high")),
    *AGREEMENT,
    *("judged_members", "judged_non_members", "data", "run", "reference_run"),
)
#: Settings that tell apart the tests of one model.
_TEST = tuple(f"settings.{name}" for name in ("method", "shadows", "variance", "views"))


def differences(
    table: pd.DataFrame, runs: pd.DataFrame, scores: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Set tests of the same cell and seed against each other, on the same images.

    Every method stands against the active one (`reference` is "active"), and every test of the
    active model against the same test of the plain one ("target=plain").

    Args:
        table: as from `comparison`.
        runs: as from `read_runs`.
        scores: as from `scores_of`; runs whose scores are not there are left out.

    Returns:
        The columns `COLUMNS`, a row per pair of runs. Differences are the method's value minus the
        reference's; accuracies are taken at calibrated thresholds, empty where a run has none;
        agreement is that of the verdicts on judged members at `VERDICT_FPR`. Where a cell holds
        several active runs of a seed, the first in `comparison` is the reference.
    """
    by_id = runs.set_index("run")
    rows = []
    for _, cell in table.groupby("cell", sort=False):
        entries = [
            (row, by_id.loc[name])
            for _, row in cell.iterrows()
            for name in row["runs"].split("; ")
            if name in scores
        ]
        rows += filter(None, (_pair(*those, scores) for those in _pairs(entries)))
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = ("seed", "judged_members", "judged_non_members")
    return found.astype(dict.fromkeys(counts, "Int64"))


def document(found: pd.DataFrame, table: pd.DataFrame, profile: str) -> Document:
    """Return the differences for readers: two parts per cell, means over seeds.

    Args:
        found: as from `differences`.
        table: as from `comparison`.
    """
    parts = []
    for title, rows in compared(table).items():
        of_cell = found[found["cell"] == rows["cell"].iloc[0]]
        for reference, question, only in (
            (ACTIVE, "How far is active MINT ahead? Each method minus the active one.", "active"),
            (
                ON_PLAIN,
                "Does auditability open the model? Each test of the active model minus the same "
                "test of the plain one.",
                "on plain",
            ),
        ):
            caption = f"{title}. {question}{compact.tracks(rows.iloc[0])}"
            parts.append(Part(caption, _text(of_cell[of_cell["reference"] == reference], only)))
    intro = (
        f"Profile {profile}: two tests on the same judged images, with paired 95 % intervals of "
        "the difference (AUC: DeLong's correlation; accuracy at calibrated thresholds: Newcombe's "
        "paired interval; TPR at 1 % FPR: on the safe side). Agreement, where each test accuses "
        "1 % of the judged non-members: shares of the judged members that both find, that only one "
        "finds; Cohen's kappa of these verdicts; Spearman's rank correlation of the scores within "
        "members. A dash: a test has no calibrated threshold, the non-members cannot resolve 1 %, "
        "or a test says the same of all members. Several seeds: means, those of the intervals too."
    )
    if not any(len(part.text) for part in parts):
        intro = f"Profile {profile}: no method has scores beside those of an active run."
    if (found["data"] == "STAND-IN").any():
        intro += f" {compact.STANDIN}"
    return Document("differences", "Differences between tests", profile, intro, parts)


def differences_of(
    both: tuple[np.ndarray, np.ndarray, np.ndarray],
    cuts: tuple[float, float],
    tracks: np.ndarray | None,
) -> dict[str, Metric]:
    """Return the paired differences of two tests on the same images, by measure.

    Args:
        both: as from `paired.align`.
        cuts: both calibrated thresholds; no accuracy where either is NaN.
        tracks: as from `paired.groups_of`.
    """
    found = {
        "auc": paired.auc_difference(*both, tracks),
        "tpr_at_1pct_fpr": paired.tpr_difference(*both, VERDICT_FPR, tracks),
    }
    if not any(pd.isna(cut) for cut in cuts):
        found["accuracy_calibrated"] = paired.accuracy_difference(*both, cuts, tracks)
    return found


def _pairs(
    entries: list[tuple[pd.Series, pd.Series]],
) -> Iterator[tuple[pd.Series, pd.Series, str, pd.Series]]:
    """Yield each row and run of a cell with what it is set against, and the run of that."""
    active: dict[int, pd.Series] = {}
    on_plain: dict[tuple[Any, ...], pd.Series] = {}
    for row, run in entries:
        if row["method"] == ACTIVE:
            active.setdefault(run["seed"], run)
        elif row["target"] == "plain":
            on_plain.setdefault(_test(run), run)
    for row, run in entries:
        if run["seed"] in active and active[run["seed"]].name != run.name:
            yield row, run, ACTIVE, active[run["seed"]]
        if row["target"] == "active" and _test(run) in on_plain:
            yield row, run, ON_PLAIN, on_plain[_test(run)]


def _test(run: pd.Series) -> tuple[Any, ...]:
    """Return what tells a run's test from others; how many shadow models, only if it reads any."""
    read = METHODS[run["method"]].shadows > 0
    return run["seed"], *run[[*_TEST[:1], *(_TEST[1:] if read else ())]]


def _pair(
    row: pd.Series,
    run: pd.Series,
    kind: str,
    reference: pd.Series,
    scores: dict[str, pd.DataFrame],
) -> dict[str, Any] | None:
    try:
        both = paired.align(scores[run.name], scores[reference.name])
    except ProtocolError:
        return None  # by another version of the split: they judge different images
    cuts = run["threshold_calibrated"], reference["threshold_calibrated"]
    measured = differences_of(both, cuts, paired.groups_of(scores[run.name]))
    values = {
        f"{DIFFERENCES[name]}{suffix}": metric[part]
        for name, metric in measured.items()
        for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
    agreed = paired.agreement(*both, VERDICT_FPR)
    agreed |= {"only_method": agreed["first"], "only_reference": agreed["second"]}
    facts = {name: row[name] for name in COLUMNS if name in row}
    return {
        **facts,
        **values,
        **agreed,
        "seed": run["seed"],
        "reference": kind,
        "data": DATA[run["source"]],
        "run": run.name,
        "reference_run": reference.name,
    }


def _text(rows: pd.DataFrame, other: str) -> pd.DataFrame:
    texts = []
    for _, of_row in rows.groupby(["method", "target", "variant"], sort=False, dropna=False):
        measured = [*AGREEMENT, *(name for name in COLUMNS if "difference" in name)]
        mean = of_row[measured].astype(float).mean(skipna=False)
        texts.append(
            {
                "Method": row_title(of_row.iloc[0]),
                "AUC": _interval(mean, "auc_difference"),
                "Accuracy": _interval(mean, "accuracy_difference"),
                "TPR at 1 % FPR": _interval(mean, "tpr_at_1pct_fpr_difference"),
                "Both": short(mean["both"]),
                "Only method": short(mean["only_method"]),
                f"Only {other}": short(mean["only_reference"]),
                "Kappa": short(mean["kappa"]),
                "Spearman": short(mean["spearman"]),
                "Seeds": str(of_row["seed"].nunique()),
            }
        )
    return pd.DataFrame(texts).replace("", "–")


def _interval(mean: pd.Series, name: str) -> str:
    return compact.signed_interval(*(mean[f"{name}{suffix}"] for suffix in ("", "_low", "_high")))

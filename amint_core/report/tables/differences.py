"""Differences between tests on the same images, with paired intervals, and their agreement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from amint_core.config import settings_of
from amint_core.errors import ProtocolError
from amint_core.evaluation import paired
from amint_core.evaluation.metrics import Metric
from amint_core.evaluation.seeds import interval_of_mean
from amint_core.methods import METHODS
from amint_core.report import render
from amint_core.report.averages import DATA, laid_out
from amint_core.report.names import reads_shadows, row_title
from amint_core.report.read import PARTS, VERDICT_FPR, Results
from amint_core.report.registry import Table
from amint_core.report.render import Document, Part, short
from amint_core.report.tables import comparison

#: What a test is set against → the question that this answers, and the heading of what only that
#: finds: the head that learnt jointly; where no head did, the first one attached; or the same test
#: of the plain model.
REFERENCES = {
    "active": ("How far is active MINT ahead? Each method minus the active one.", "active"),
    "attached": (
        "How far is the attached head ahead? Each other test minus the first attached head.",
        "attached",
    ),
    "target=plain": (
        "Does auditability open the model? Each test of the active model minus the same test of "
        "the plain one.",
        "on plain",
    ),
}
#: Measure → column of its difference.
DIFFERENCES = {
    "auc": "auc_difference",
    "accuracy_calibrated": "accuracy_difference",
    "tpr_at_1pct_fpr": "tpr_at_1pct_fpr_difference",
    "audited_accuracy": "audited_accuracy_difference",
}
#: What two tests say of the same images, as from `paired.align`, and the images' tracks.
Judged = tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray | None]
AGREEMENT = ("both", "only_method", "only_reference", "neither", "kappa", "spearman")
_MEASURED = [f"{name}{suffix}" for name in DIFFERENCES.values() for suffix in PARTS.values()]
#: Columns of differences.csv, in order.
COLUMNS = (
    *("cell", "title", "dataset", "model", "setup", "protocol", "recipe", "seed"),
    *("method", "target", "variant", "reference", *_MEASURED, *AGREEMENT),
    *("judged_members", "judged_non_members", "data", "run", "reference_run"),
)


def rows(results: Results) -> pd.DataFrame:
    """Set tests of the same cell and seed against each other, on the same images.

    Every method stands against the active one (`reference` is "active"; for seeds without one,
    against the first attached head: "attached"), and every test of the active model against the
    same test of the plain one ("target=plain"); runs whose answers are not at hand are left out. Of
    a model that is not tested (`joint`, `plain`) the audited accuracy alone is compared: what the
    MINT loss costs.

    Returns:
        The columns `COLUMNS`, a row per pair of runs. Differences are the method's value minus the
        reference's; accuracies are taken at calibrated thresholds, empty where a run has none;
        agreement is that of the verdicts on judged members at `VERDICT_FPR`. Where a cell holds
        several active runs of a seed, the first in the comparison is the reference.
    """
    runs = results.runs.set_index("run", drop=False)
    found = []
    for _, cell in results.once(comparison.rows).groupby("cell", sort=False):
        entries = [
            (row, runs.loc[name])
            for _, row in cell.iterrows()
            for name in row["runs"].split("; ")
            if name in results.counted
        ]
        found += filter(None, (_pair(*those, results) for those in _pairs(entries)))
    return laid_out(pd.DataFrame(found), COLUMNS)


def document(results: Results) -> Document:
    """Return the differences for readers: two parts per cell, means over seeds."""
    found = results.once(rows)
    parts = []
    for title, cell in comparison.compared(results.once(comparison.rows)).items():
        of_cell = found[found["cell"] == cell["cell"].iloc[0]]
        for reference, (question, only) in REFERENCES.items():
            caption = f"{title}. {question}{render.tracks(cell.iloc[0])}"
            those = of_cell[of_cell["reference"] == reference]
            parts.append(Part(caption, _text(those, only)))
    text = (
        "two tests on the same judged images, with paired 95 % intervals of the difference (AUC: "
        "DeLong's correlation; accuracy at calibrated thresholds: Newcombe's paired interval; TPR "
        "at 1 % FPR: on the safe side; audited accuracy, of the classifier itself: Newcombe's). "
        "Agreement, where each test accuses 1 % of the judged "
        "non-members: shares of the judged members that both find, that only one finds; Cohen's "
        "kappa of these verdicts; Spearman's rank correlation of the scores within members. A "
        "dash: a test has no calibrated threshold, the non-members cannot resolve 1 %, or a test "
        "says the same of nearly all members. Several seeds: means, with Student's intervals."
    )
    if found.empty:
        text = "no method has scores beside those of an active run or an attached head."
    text = render.intro(results.profile, text, found)
    return Document("differences", "Differences between tests", results.profile, text, parts)


def differences_of(run: pd.Series, reference: pd.Series, results: Results) -> dict[str, Metric]:
    """Return the paired differences of two runs on the same images, by measure.

    Those of the tests are missing where one tests nothing or the two judge other images, that of
    the accuracy where one has no calibrated threshold, and that of the audited accuracy where the
    labelled images are others or there is no audited model.
    """
    both = _judged(run, reference, results)
    return _of_tests(both, run, reference) | _of_classifiers(run, reference, results)


def _of_tests(both: Judged | None, run: pd.Series, reference: pd.Series) -> dict[str, Metric]:
    if both is None:
        return {}
    judged, tracks = both
    cuts = run["threshold_calibrated"], reference["threshold_calibrated"]
    found = {
        "auc": paired.auc_difference(*judged, tracks),
        "tpr_at_1pct_fpr": paired.tpr_difference(*judged, VERDICT_FPR, tracks),
    }
    if not any(pd.isna(cut) for cut in cuts):
        found["accuracy_calibrated"] = paired.accuracy_difference(*judged, cuts, tracks)
    return found


def _of_classifiers(run: pd.Series, reference: pd.Series, results: Results) -> dict[str, Metric]:
    known = [METHODS[one["method"]] for one in (run, reference) if one["method"] in METHODS]
    if any(method.training and not method.training.classifies for method in known):
        return {}  # one of them learnt no classes, whatever its outputs say
    one, two = (results.answers.get(name["run"]) for name in (run, reference))
    if one is None or two is None or one.empty or not one.index.equals(two.index):
        return {}
    tracks = one["group"].to_numpy() if "group" in one else None
    rights = (rows["right"].to_numpy() for rows in (one, two))
    return {"audited_accuracy": paired.share_difference(*rights, tracks)}


def _judged(run: pd.Series, reference: pd.Series, results: Results) -> Judged | None:
    """Return what two tests say of the images that both judge, and the tracks; see `paired`."""
    tables = [results.scores.get(one["run"]) for one in (run, reference)]
    if any(table is None for table in tables):
        return None
    scores = paired.judged_by_both(*tables)
    try:
        return paired.align(*scores), paired.groups_of(scores[0])
    except ProtocolError:  # by another split, or another version of it: they judge other images
        return None


def _pairs(
    entries: list[tuple[pd.Series, pd.Series]],
) -> Iterator[tuple[pd.Series, pd.Series, str, pd.Series]]:
    """Yield each row and run of a cell with what it is set against, and the run of that."""
    heads: dict[int, tuple[str, pd.Series]] = {}
    for kind in ("active", "attached"):
        for row, run in entries:
            if row["method"] == kind:
                heads.setdefault(run["seed"], (kind, run))
    on_plain: dict[tuple[Any, ...], pd.Series] = {}
    for row, run in entries:
        if row["target"] == "plain":
            on_plain.setdefault(_test(run), run)
    for row, run in entries:
        if run["seed"] in heads and heads[run["seed"]][1]["run"] != run["run"]:
            yield row, run, *heads[run["seed"]]
        if row["target"] == "active" and _test(run) in on_plain:
            yield row, run, "target=plain", on_plain[_test(run)]


def _test(run: pd.Series) -> tuple[Any, ...]:
    """Return what tells a run's test from others, the model aside.

    How shadow models and views are used tells apart only tests that read shadow models.
    """
    aside = {"target", "method", *settings_of("averaged")}
    names = [name for name in settings_of("test") if name not in aside]
    read = names if reads_shadows(run["method"]) else ()
    return run["seed"], run["method"], *(run[f"settings.{name}"] for name in read)


def _pair(
    row: pd.Series, run: pd.Series, kind: str, reference: pd.Series, results: Results
) -> dict[str, Any] | None:
    both = _judged(run, reference, results)
    found = _of_tests(both, run, reference) | _of_classifiers(run, reference, results)
    if not found:
        return None
    values = {
        f"{DIFFERENCES[name]}{suffix}": metric[part]
        for name, metric in found.items()
        for part, suffix in PARTS.items()
    }
    if both is not None:
        values |= paired.agreement(*both[0], VERDICT_FPR)
        values |= {"only_method": values["first"], "only_reference": values["second"]}
    own = {"seed": run["seed"], "reference": kind, "data": DATA[run["source"]], "run": run["run"]}
    return {**row, **values, **own, "reference_run": reference["run"]}


def _text(those: pd.DataFrame, other: str) -> pd.DataFrame:
    texts = []
    for _, of_row in those.groupby(["method", "target", "variant"], sort=False, dropna=False):
        mean = of_row[[*_MEASURED, *AGREEMENT]].astype(float).mean(skipna=False)
        for name in DIFFERENCES.values():
            ends = [f"{name}_low", f"{name}_high"]
            found = interval_of_mean(*(of_row[one].astype(float) for one in (name, *ends)))
            mean[ends] = np.clip(found, -1, 1)  # Student's may leave what shares can differ by
        texts.append(
            {
                "Method": row_title(of_row.iloc[0]),
                "AUC": _interval(mean, "auc_difference"),
                "Accuracy": _interval(mean, "accuracy_difference"),
                "TPR at 1 % FPR": _interval(mean, "tpr_at_1pct_fpr_difference"),
                "Audited": _interval(mean, "audited_accuracy_difference"),
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
    return render.signed_interval(*(mean[f"{name}{suffix}"] for suffix in PARTS.values()))


TABLE = Table("differences", rows, document, of_scores=True)

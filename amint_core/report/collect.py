"""Read the runs of a profile into one table, a row per run."""

from __future__ import annotations

import json
import math
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import parquet as pq

from amint_core.config import RunConfig
from amint_core.errors import ResultsError
from amint_core.evaluation.metrics import threshold_at_fpr
from amint_core.files import read_json
from amint_core.locations import results_root, shown
from amint_core.recipes import RECIPES
from amint_core.report.method_names import method_order
from amint_core.report.paper import dataset_order, model_order, setup_order

#: Measured values: column → place in metrics.json, each {value, low, high}.
MEASURES = {
    "mint_accuracy": "mint.accuracy",
    "audited_accuracy": "audited.accuracy",
    "accuracy_calibrated": "mint.accuracy_calibrated",
    "auc": "mint.auc",
    "tpr_at_1pct_fpr": "mint.tpr_at_fpr.0.01",
    "tpr_at_01pct_fpr": "mint.tpr_at_fpr.0.001",
    "precision_at_1pct_prior": "mint.precision_at_prior.0.01",
    "precision_at_10pct_prior": "mint.precision_at_prior.0.1",
}
#: Measures that runs made before they existed do not have.
LATER = ("precision_at_1pct_prior", "precision_at_10pct_prior")
#: What is measured on transformed images: column → place in an entry of `transformations`.
TRANSFORMED = {
    "auc": "auc",
    "accuracy_calibrated": "accuracy_calibrated",
    "tpr_at_1pct_fpr": "tpr_at_fpr.0.01",
}
#: What identifies a run, and what a table says of it: column → place in metrics.json.
FACTS = {
    "run": "run.id",
    "dataset": "run.settings.dataset",
    "title": "data.title",
    "setup": "run.settings.setup",
    "model": "run.settings.model",
    "method": "run.settings.method",
    "target": "run.settings.target",
    "protocol": "run.settings.protocol",
    "recipe": "run.settings.recipe",
    "seed": "run.settings.seed",
    "source": "data.source",
    "fingerprint": "data.fingerprint",
    "members": "data.sizes.members",
    "external": "data.sizes.external",
    "judged_members": "mint.judged.members",
    "judged_non_members": "mint.judged.non_members",
    "judged_member_tracks": "mint.judged.tracks.members",
    "judged_non_member_tracks": "mint.judged.tracks.non_members",
    "judged_role": "mint.judged.role",
    "audited_role": "audited.role",
    "threshold_calibrated": "mint.threshold_calibrated",
    "epochs": "training.epochs",
    "best_epoch": "training.best_epoch",
    "seconds": "training.seconds",
    "shadows": "training.shadows.count",
    "shadow_seconds": "training.shadows.seconds",
    "device": "training.device",
    "hardware": "training.hardware",
    "audited_parameters": "training.parameters.audited",
    "head_parameters": "training.parameters.head",
}
#: False-positive rate on judged non-members at which methods say which images are members.
VERDICT_FPR = 0.01
_JUDGING = ["image", "member", "judged", "label", "method", "score"]
#: Facts without which a run cannot stand in a table.
NEEDED = ("run", "dataset", "title", "setup", "model", "method", "protocol", "seed", "source")


def profile_folder(profile: str) -> Path:
    """Return the folder of a profile's results.

    Raises:
        ResultsError: there is no such folder; the message names the nearest and how to fill it.
    """
    folder = results_root() / profile
    if not folder.is_dir():
        root = results_root()
        known = [found.name for found in root.iterdir() if found.is_dir()] if root.is_dir() else []
        raise ResultsError(
            f"Profile {profile!r} has no results in {shown(root)} (there: "
            f"{', '.join(known) or 'none'}). Run its grid first: make reproduce PROFILE={profile}."
        )
    return folder


def read_runs(profile: str) -> pd.DataFrame:
    """Read every finished run of a profile, in the paper's order.

    Returns:
        One row per run: the columns of `FACTS` and `MEASURES` (with `_low` and `_high`, NaN where
        a measure has no value), then `settings.*` for every setting, and `path` of the folder.

    Raises:
        ResultsError: the profile has no finished run, or a file of one is damaged (named).
    """
    folder = profile_folder(profile)
    files = sorted(folder.glob("runs/*/metrics.json"))
    if not files:
        raise ResultsError(
            f"{shown(folder / 'runs')} holds no finished run (no metrics.json), so there is "
            f"nothing to report. Run the grid first: make reproduce PROFILE={profile}."
        )
    rows = sorted((_row(read_metrics(file), file) for file in files), key=_order)
    runs = pd.DataFrame(rows)
    counts = [name for name, values in runs.items() if _are_counts(values)]
    return runs.astype({name: "Int64" for name in counts})


def unfinished(profile: str) -> list[str]:
    """Return the folders under a profile's runs that hold no metrics.json."""
    folders = sorted(path for path in profile_folder(profile).glob("runs/*") if path.is_dir())
    return [path.name for path in folders if not (path / "metrics.json").is_file()]


def read_metrics(source: Path | str) -> dict[str, Any]:
    """Read a run's metrics.json and check that a table can be made of it.

    Raises:
        ResultsError: the file is missing, damaged or lacks a part; the message names both.
    """
    source = Path(source)
    metrics = read_json(source)
    for place in (FACTS[name] for name in NEEDED):
        if at(metrics, place) is None:
            raise _damaged(source, f"lacks {place}")
    for name, place in MEASURES.items():
        measure = at(metrics, place)
        if measure is not None or name not in LATER:
            _check_measure(measure, place, source)
    transformed = metrics.get("transformations") or {}
    if not isinstance(transformed, dict):
        raise _damaged(source, "has transformations that are no table of names")
    for name, measured in transformed.items():
        for place in TRANSFORMED.values():
            _check_measure(at(measured, place), f"transformations.{name}.{place}", source)
    if metrics["data"]["source"] == "standin" and "STAND-IN" not in metrics["data"]["title"]:
        raise _damaged(source, "holds a stand-in whose data.title does not say STAND-IN")
    return metrics


def _check_measure(measure: Any, place: str, source: Path) -> None:
    if not isinstance(measure, dict) or "value" not in measure:
        raise _damaged(source, f"lacks {place}.value")
    for part in ("value", "low", "high"):
        _check_fraction(measure.get(part), f"{place}.{part}", source)


def _check_fraction(value: Any, place: str, source: Path) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _damaged(source, f"has {place} = {value!r}, which is no number")
    # Published defect 5 divides by the wrong count, so an accuracy may exceed 1.
    if not (math.isfinite(value) and value >= 0):
        raise _damaged(source, f"has {place} = {value!r}, which is no fraction")


def _damaged(source: Path, what: str) -> ResultsError:
    return ResultsError(
        f"{shown(source)} {what}. Delete {shown(source.parent)} and run it again to write it anew."
    )


def _row(metrics: dict[str, Any], source: Path) -> dict[str, Any]:
    row = {name: at(metrics, place) for name, place in FACTS.items()}
    if row["run"] != source.parent.name:
        raise _damaged(source, f"holds another run, {row['run']}")
    row |= measured(metrics, MEASURES)
    # Settings that came later than a run have their default in it.
    defaults = RunConfig.model_fields
    settings = {name: field.default for name, field in defaults.items() if not field.is_required()}
    for name, value in (settings | metrics["run"]["settings"]).items():
        listed = isinstance(value, list | tuple | dict)
        row[f"settings.{name}"] = json.dumps(value) if listed else value
    return row | {"path": source.parent}


def measured(content: dict[str, Any], places: dict[str, str]) -> dict[str, float]:
    """Return value, `_low` and `_high` of each measure; NaN where there is none."""
    row = {}
    for name, place in places.items():
        measure = at(content, place) or {}
        for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high")):
            row[f"{name}{suffix}"] = _number(measure.get(part))
    return row


def at(metrics: Any, place: str) -> Any:
    """Return what stands at a dotted place, or None; a key such as "0.01" may hold a dot itself."""
    if not place:
        return metrics
    if not isinstance(metrics, dict):
        return None
    parts = place.split(".")
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        if key in metrics:
            return at(metrics[key], ".".join(parts[length:]))
    return None


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    names = dataset_order(row["dataset"]), setup_order(row["setup"]), model_order(row["model"])
    recipes = list(RECIPES)
    recipe = recipes.index(row["recipe"]) if row["recipe"] in recipes else len(recipes)
    return (*names, row["title"], recipe, method_order(row["method"]), row["run"])


def _are_counts(values: pd.Series) -> bool:
    """Tell whether a column holds whole numbers, some of them perhaps missing."""
    present = [value for value in values if value is not None and value == value]
    return bool(present) and all(type(value) is int for value in present)


def judged(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that count for the metrics.

    Raises:
        ResultsError: no member, or no non-member, was judged.
    """
    rows = scores[scores["judged"]]
    if rows["member"].nunique() < 2:
        raise ResultsError(
            f"The scores hold {int(rows['member'].sum())} judged members and "
            f"{int((~rows['member']).sum())} judged non-members; a comparison needs both. Run "
            "again with holdout images (strict protocol) or test images (paper protocol)."
        )
    return rows


def scores_of(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Read the judged scores of those runs whose scores.parquet is there: run id → rows.

    Runs that test nothing (all scores NaN) are left out. The column `flagged` says whether a score
    lies above the run's threshold of `VERDICT_FPR`, which makes methods comparable; it is missing
    where the judged non-members cannot resolve that rate.

    Raises:
        ResultsError: a file is damaged (named), or judges members or non-members alone.
    """
    found = {}
    for name, folder in zip(runs["run"], runs["path"], strict=True):
        path = Path(folder) / "scores.parquet"
        rows = judged(_read_scores(path, _JUDGING)) if path.is_file() else None
        if rows is not None and rows["score"].notna().any():
            others = rows.loc[~rows["member"], "score"].to_numpy()
            cut = threshold_at_fpr(others, VERDICT_FPR)
            found[name] = rows if cut is None else rows.assign(flagged=rows["score"] > cut)
    return found


def answers_of(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Read what the audited models of those runs answer whose scores.parquet is there.

    Returns:
        Run id → a row per image of the role that its audited accuracy is measured on, indexed by
        the image's place in the dataset, with `right`, and `group` where images come in tracks.

    Raises:
        ResultsError: a file is damaged (named).
    """
    found = {}
    for name, folder, role in zip(runs["run"], runs["path"], runs["audited_role"], strict=True):
        path = Path(folder) / "scores.parquet"
        if path.is_file():
            rows = _read_scores(path, ["index", "role", "label", "predicted"])
            rows = rows[(rows["role"] == role) & (rows["label"] >= 0)]
            rows = rows.assign(right=rows["label"] == rows["predicted"])
            found[name] = rows.set_index("index").sort_index()
    return found


def with_verdicts(scores: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return those of `scores_of` that have the column `flagged`."""
    return {name: rows for name, rows in scores.items() if "flagged" in rows}


def _read_scores(path: Path, wanted: list[str]) -> pd.DataFrame:
    try:
        # Only images that come in tracks have a group.
        there = "group" in pq.read_schema(path).names
        return pd.read_parquet(path, columns=[*wanted, "group"] if there else wanted)
    except (OSError, ValueError, KeyError) as error:
        raise ResultsError(
            f"{shown(path)} is not a readable score table ({error}). Delete {shown(path.parent)} "
            "and run it again to write it anew."
        ) from error

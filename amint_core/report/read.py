"""Read the runs of a profile: what each was, and all that it measured in one long table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from amint_core.config import RunConfig, require_profile_name
from amint_core.errors import ResultsError
from amint_core.evaluation.metrics import threshold_at_fpr
from amint_core.evaluation.scores import JUDGED_FILE
from amint_core.locations import results_root, shown
from amint_core.recipes import RECIPES
from amint_core.report import paper
from amint_core.report.checked import (
    FACTS,
    MEASURES,
    PARTS,
    TRANSFORMED,
    at,
    read_metrics,
)
from amint_core.report.names import method_order, setup_title
from amint_core.store import finished_runs, run_file

#: False-positive rate on judged non-members at which methods say which images are members.
VERDICT_FPR = 0.01
#: Columns of a run's judged scores → what numpy calls their kind: texts, truth values, numbers.
_COLUMNS = {"role": "OTU", "member": "b", "judged": "b", "score": "f"}
_COLUMNS |= dict.fromkeys(("index", "label", "predicted"), "iu")


@dataclass(eq=False)
class Results:
    """All that a profile's runs left.

    Attributes:
        profile: its name.
        runs: a row per run in the paper's order: `FACTS`, then `settings.*`, then `path`.
        values: a row per measured value: `run`, `transformation` ("" for images as they are),
            `measure`, `value`, `low`, `high` (NaN where there is none).
    """

    profile: str
    runs: pd.DataFrame
    values: pd.DataFrame
    _made: dict[Callable, Any] = field(default_factory=dict, repr=False)

    def once(self, make: Callable[[Results], Any]) -> Any:
        """Return `make(self)`, computed the first time: several tables and figures ask for it."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    @cached_property
    def counted(self) -> dict[str, pd.DataFrame]:
        """Run id → the rows of its scores that count for a metric, where these are at hand.

        `image` is the image's index in its dataset, the same in runs of one fingerprint.

        Raises:
            ResultsError: a file is damaged (named).
        """
        paths = {run: Path(path) / JUDGED_FILE for run, path in self.runs[["run", "path"]].values}
        return {run: _counted(path) for run, path in paths.items() if path.is_file()}

    @cached_property
    def scores(self) -> dict[str, pd.DataFrame]:
        """Run id → its judged scores, where these are at hand; runs that test nothing are left out.

        The column `flagged` says whether a score lies above the run's threshold of `VERDICT_FPR`,
        which makes methods comparable; it is missing where the judged non-members cannot resolve
        that rate.

        Raises:
            ResultsError: a file is damaged (named), or judges members or non-members alone.
        """
        found = {}
        for name, table in self.counted.items():
            rows = judged(table)
            if rows["score"].notna().any():
                cut = threshold_at_fpr(rows.loc[~rows["member"], "score"].to_numpy(), VERDICT_FPR)
                found[name] = rows if cut is None else rows.assign(flagged=rows["score"] > cut)
        return found

    @cached_property
    def verdicts(self) -> dict[str, pd.DataFrame]:
        """Those of `scores` that have the column `flagged`."""
        return {name: rows for name, rows in self.scores.items() if "flagged" in rows}

    @cached_property
    def answers(self) -> dict[str, pd.DataFrame]:
        """Run id → a row per image that its audited accuracy is measured on, where at hand.

        Indexed by image, with `right`, and `group` where images come in tracks.
        """
        roles = self.runs.set_index("run")["audited_role"]
        found = {}
        for name, table in self.counted.items():
            rows = table[(table["role"] == roles[name]) & (table["label"] >= 0)]
            rows = rows.assign(right=rows["label"] == rows["predicted"])
            found[name] = rows.set_index("image").sort_index()
        return found


def read(profile: str) -> Results:
    """Read every finished run of a profile.

    Raises:
        ResultsError: the profile has no finished run, is of a timed grid, or a file of a run is
            damaged (named).
    """
    folder = profile_folder(profile)
    if is_timed(folder):
        raise ResultsError(
            f"{shown(folder)} holds the runs of `amint grid`, which have sheets and a figure of "
            f"their own: `amint report --profile {profile}` writes them."
        )
    files = finished_runs(folder, f"make reproduce PROFILE={profile}")
    found = [(_facts(metrics, file), metrics) for file in files for metrics in [read_metrics(file)]]
    found.sort(key=lambda pair: _order(pair[0]))
    runs = pd.DataFrame([facts for facts, _ in found])
    counts = [name for name, column in runs.items() if _are_counts(column)]
    values = pd.DataFrame([row for _, metrics in found for row in _values(metrics)])
    parts = dict.fromkeys(PARTS, float)
    return Results(profile, runs.astype(dict.fromkeys(counts, "Int64")), values.astype(parts))


def is_timed(folder: Path) -> bool:
    """Tell whether a profile's runs are of `amint grid`, which judges each both ways."""
    return (folder / "splits").is_dir()


def require_own_name(run: str, source: Path) -> None:
    """Refuse a run's metrics in a folder of another name.

    Raises:
        ResultsError: they are.
    """
    if run != source.parent.name:
        raise ResultsError(
            f"{shown(source)} lies in a folder of another name: it is of the run {run}. Call the "
            "folder so again, or move it out of the profile's results."
        )


def read_runs(profile: str) -> pd.DataFrame:
    """Read every finished run of a profile into one table; see `run_rows`.

    Raises:
        ResultsError: the profile has no finished run, or a file of one is damaged (named).
    """
    return run_rows(read(profile))


def run_rows(results: Results) -> pd.DataFrame:
    """Return one row per run, in the paper's order.

    Columns: those of `FACTS` and `MEASURES` (with `_low` and `_high`, NaN where a measure has no
    value), then `settings.*` for every setting, and `path` of the folder.
    """
    exact = results.values[results.values["transformation"] == ""]
    table = results.runs.join(wide(exact, ["run"]).reset_index("transformation", drop=True), "run")
    measured = [f"{name}{part}" for name in MEASURES for part in PARTS.values()]
    others = [name for name in results.runs if name not in FACTS]
    return table[[*FACTS, *measured, *others]]


def wide(values: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return a row per `keys` and transformation, with `measure`, `measure_low`, … as columns.

    Args:
        values: a row per `keys`, `transformation` and `measure`; all other columns are parts.
    """
    table = values.set_index([*keys, "transformation", "measure"]).unstack("measure", sort=False)
    table.columns = [f"{measure}{PARTS.get(part, f'_{part}')}" for part, measure in table.columns]
    return table


def profile_folder(profile: str) -> Path:
    """Return the folder of a profile's results.

    Raises:
        SettingsError: it is no name of a folder.
        ResultsError: there is no such folder; the message names those that are there.
    """
    require_profile_name(profile)
    folder = results_root() / profile
    if not folder.is_dir():
        root = results_root()
        known = sorted({found.parent.name for found in root.glob("*/runs")})
        raise ResultsError(
            f"Profile {profile!r} has no results in {shown(root)} (there: "
            f"{', '.join(known) or 'none'}). Run its grid first: make reproduce PROFILE={profile}."
        )
    return folder


def unfinished(profile: str) -> list[str]:
    """Return the folders under a profile's runs that hold no metrics.json."""
    folders = sorted(path for path in profile_folder(profile).glob("runs/*") if path.is_dir())
    return [path.name for path in folders if not (path / "metrics.json").is_file()]


def judged(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are judged.

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


def copied_in(metrics: dict[str, Any]) -> str:
    """Return the lossy format that a run's images were read from, such as "JPEG", or ""."""
    notes = at(metrics, "data.notes")
    said = " ".join(map(str, notes)) if isinstance(notes, list) else ""
    found = re.search(r"(\w+) files: close to the official pixels", said)
    return found[1] if found else ""


def said_of_copies(runs: pd.DataFrame) -> str:
    """Say in a sentence each which datasets of some runs were read from lossy copies; or nothing.

    Args:
        runs: with the columns `title`, and `copied_in` as from the function.
    """
    copies = runs.loc[runs["copied_in"] != "", ["title", "copied_in"]].drop_duplicates()
    return "".join(
        f" {title} here is a {kind} copy: close to the official pixels, not equal."
        for title, kind in copies.itertuples(index=False)
    )


def all_settings(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return a run's settings; those that came later than the run have their default in it."""
    fields = RunConfig.model_fields
    defaults = {name: field.default for name, field in fields.items() if not field.is_required()}
    return defaults | metrics["run"]["settings"]


def _facts(metrics: dict[str, Any], source: Path) -> dict[str, Any]:
    settings = all_settings(metrics)
    metrics = metrics | {"run": metrics["run"] | {"settings": settings}}
    facts = {name: at(metrics, place) for name, place in FACTS.items()}
    facts["setup"] = setup_title(settings)
    require_own_name(facts["run"], source)
    for name, value in settings.items():
        listed = isinstance(value, list | tuple | dict)
        facts[f"settings.{name}"] = json.dumps(value) if listed else value
    return facts | {"path": source.parent, "copied_in": copied_in(metrics)}


def _values(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a run's rows of the long table."""
    blocks = [("", metrics, MEASURES)]
    transformed = (metrics.get("transformations") or {}).items()
    blocks += [(name, block, TRANSFORMED) for name, block in transformed]
    return [
        {"run": at(metrics, FACTS["run"]), "transformation": transformation, "measure": measure}
        | {part: (at(block, place) or {}).get(part) for part in PARTS}
        for transformation, block, places in blocks
        for measure, place in places.items()
    ]


def _order(facts: dict[str, Any]) -> tuple[Any, ...]:
    place = (
        paper.dataset_order(facts["dataset"]),
        paper.setup_order(facts["setup"]),
        paper.model_order(facts["model"]),
    )
    recipes = list(RECIPES)
    recipe = recipes.index(facts["recipe"]) if facts["recipe"] in recipes else len(recipes)
    return (*place, facts["title"], recipe, method_order(facts["method"]), facts["run"])


def _are_counts(values: pd.Series) -> bool:
    """Tell whether a column holds whole numbers, some of them perhaps missing."""
    present = [value for value in values if value is not None and value == value]
    return bool(present) and all(type(value) is int for value in present)


def _counted(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(run_file(path))
        for name, kinds in _COLUMNS.items():
            if table[name].dtype.kind not in kinds:
                raise ValueError(f"{name} holds something else")
        return table.assign(image=table["index"])
    except Exception as error:  # pyarrow raises nearly every kind over damaged files
        raise ResultsError(
            f"{shown(path)} is not a readable table of scores ({error}). Delete "
            f"{shown(path.parent)} and run it again to write it anew."
        ) from error

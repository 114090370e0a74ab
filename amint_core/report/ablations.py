"""The ablation: what one thing, switched alone, does to MINT and to audited accuracy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from amint_core.config import RunConfig
from amint_core.evaluation import paired
from amint_core.evaluation.metrics import Metric
from amint_core.exceptions import ProtocolError
from amint_core.recipes import recipe_settings
from amint_core.report import compact
from amint_core.report.averages import (
    AVERAGED,
    IDENTITY,
    UNRELATED,
    averaged,
    groups,
    one_per_seed,
)
from amint_core.report.collect import VERDICT_FPR, answers_of
from amint_core.report.compact import Document, Part
from amint_core.report.method_names import method_title
from amint_core.report.style import model_title

#: Measures of the table, with their headings.
MEASURED = {
    "mint_accuracy": "MINT accuracy",
    "accuracy_calibrated": "Calibrated",
    "auc": "AUC",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
    "audited_accuracy": "Audited accuracy",
}
#: Measures whose difference has a paired interval.
PAIRED = ("accuracy_calibrated", "auc", "tpr_at_1pct_fpr", "audited_accuracy")
_ENDS = ("low", "high")
#: Columns of ablation.csv, in order.
COLUMNS = (
    *("dataset", "title", "model", "setup", "protocol", "recipe", "setting", "base", "switched"),
    *(
        f"{name}{suffix}"
        for name in MEASURED
        for suffix in ("", "_low", "_high", "_sd", "_difference", "_difference_sd")
    ),
    *(f"{name}_difference_{end}" for name in PAIRED for end in _ENDS),
    *("members", "external", "judged_members", "judged_non_members", "judged_role"),
    *("epochs", "seeds", "matched_seeds", "data", "device", "seconds", "runs", "base_runs"),
    "base_recipe",
)
#: Settings in which a run and its base agree: sizes that are not switched.
_CELL = tuple(
    f"settings.{name}"
    for name in ("protocol", "members", "calibration", "holdout", "test", "image_size")
)
Tables = dict[str, pd.DataFrame]
_IGNORED = (*AVERAGED, *UNRELATED)
_COPIES = {
    "augment_members": "member_transformations",
    "augment_external": "external_transformations",
}


@dataclass(frozen=True)
class Switch:
    """One setting that two runs differ in: its value in the base and in the other run.

    For `defects` the value is the one defect that only this side has, or "".
    """

    setting: str
    base: Any
    switched: Any

    def __str__(self) -> str:
        if self.setting == "defects":
            return f"defect {self.switched} on" if self.switched else f"defect {self.base} off"
        return f"{self.setting}: {_shown(self.base)} → {_shown(self.switched)}"


def ablation(runs: pd.DataFrame, scores: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Set every active run that differs from a base run in exactly one thing beside that base.

    Runs are of one cell where dataset, model, setup, protocol and sizes agree (but for the number
    of external images, which may be what is switched). Each recipe of a cell has a base: the run
    that overrides least of what the recipe states; of equals the one with the most neighbours that
    differ in one thing; of these the one nearest to the default settings. Beside it stand the runs
    of its recipe, and the bases of other recipes, that differ from it in one thing.

    One thing is one setting, one defect more or less, or augmented copies with the transformations
    that make them. `_difference` is the mean over the seeds that both have (`matched_seeds`; where
    there are none, the difference of the means), `_difference_sd` its spread over them,
    `_difference_low` and `_difference_high` the means of their paired 95 % intervals: empty where a
    run's scores are not there, or where the switch changes which images are judged.

    Args:
        runs: as from `read_runs`.
        scores: as from `scores_of`.

    Returns:
        The columns `COLUMNS`: per cell with such runs the base (empty `setting`), then a row per
        switched thing. No rows where no run differs from a base in one thing.
    """
    answers = answers_of(runs[runs["method"] == "active"])
    rows = [row for cell in _cells(runs) for row in _rows(cell, scores, answers)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = ("members", "external", "judged_members", "judged_non_members", "epochs", "seeds")
    return table.astype(dict.fromkeys((*counts, "matched_seeds"), "Int64"))


def with_earlier(table: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    """Return an ablation whose missing paired intervals are those of an earlier one.

    Scores are not kept as long as tables. An interval counts where the runs and their difference
    are still the same.
    """
    keys = ["runs", "base_runs"]
    before = earlier.reindex(columns=COLUMNS).astype(dict.fromkeys(keys, str))
    before = table[keys].astype(str).merge(before, on=keys, how="left")
    for name in PAIRED:
        difference = f"{name}_difference"
        pair = (one[difference].astype(float) for one in (before, table))
        same = np.isclose(*pair, rtol=0, atol=1e-12)  # a CSV may round the last digit
        for column in (f"{difference}_{end}" for end in _ENDS):
            known = before[column].astype(float).where(same)
            table[column] = table[column].astype(float).fillna(known)
    return table


def switched(runs: pd.DataFrame) -> set[str]:
    """Return the ids of the runs that switch one thing of their own recipe's base run."""
    cells = (_by_recipe(cell) for cell in _cells(runs))
    groups_ = (group for cell in cells for own in cell for group, _ in _switches(_base(own), own))
    return {name for group in groups_ for name in group["run"]}


def document(table: pd.DataFrame, profile: str) -> Document:
    """Return the ablation for readers: a part per base run."""
    names = ["dataset", "title", "model", "setup", "protocol", "base_recipe", "base_runs"]
    parts = [
        Part(_caption(rows.iloc[0]), _text(rows))
        for _, rows in table.groupby(names, sort=False, dropna=False)
    ]
    intro = (
        f"Profile {profile}: one thing switched at a time. In parentheses the difference to the "
        "base, over the seeds that both have, with its paired 95 % interval: how far other images "
        "would change it, not another training. The interval is left out of the accuracy at .5, "
        "where the judged images are not the same, and where the scores are not at hand. ± is the "
        "standard deviation of the AUC over seeds. MINT accuracy is taken at probability .5, "
        "calibrated at the threshold chosen on calibration images."
    )
    if not parts:
        intro = f"Profile {profile}: no active run differs from a base run in exactly one thing."
    if (table["data"] == "STAND-IN").any():
        intro += f" {compact.STANDIN}"
    return Document("ablation", "Ablation", profile, intro, parts)


def _cells(runs: pd.DataFrame) -> list[list[pd.DataFrame]]:
    """Return, per cell of active runs, its groups of runs that differ by seed alone."""
    active = runs[runs["method"] == "active"]
    if active.empty:
        return []
    cells = active.groupby([*IDENTITY, *_CELL], sort=False, dropna=False)
    return [[one_per_seed(group) for group in groups(cell, _IGNORED)] for _, cell in cells]


def _by_recipe(cell: list[pd.DataFrame]) -> list[list[pd.DataFrame]]:
    """Split the groups of a cell by recipe, in the order of their first runs."""
    found: dict[str, list[pd.DataFrame]] = {}
    for group in cell:
        found.setdefault(group["recipe"].iloc[0], []).append(group)
    return list(found.values())


def _base(own: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the base among the groups of one recipe; see `ablation`."""
    settings = [_settings(group) for group in own]
    neighbours = [sum(bool(_switch(one, two)) for two in settings) for one in settings]
    place = min(
        range(len(own)),
        key=lambda place: (
            _overrides(own[place], of_recipe=True),
            -neighbours[place],
            _overrides(own[place], of_recipe=False),
            own[place]["run"].iloc[0],
        ),
    )
    return own[place]


def _switches(base: pd.DataFrame, others: list[pd.DataFrame]) -> list[tuple[pd.DataFrame, Switch]]:
    """Return the groups that switch one thing of a base, in the order of what they switch."""
    found = [(group, _switch(_settings(base), _settings(group))) for group in others]
    return sorted([(group, one) for group, one in found if one], key=lambda pair: str(pair[1]))


def _settings(group: pd.DataFrame) -> dict[str, Any]:
    """Return the settings that count, lists as tuples."""
    first = group.iloc[0]
    left_out = {*_IGNORED, "settings.recipe"}  # a recipe is but a name of other settings
    names = [name for name in group if name.startswith("settings.") and name not in left_out]
    return {name.removeprefix("settings."): _plain(first[name]) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("["):
        return tuple(json.loads(value))
    return None if not isinstance(value, str) and pd.isna(value) else value


def _switch(base: dict[str, Any], other: dict[str, Any]) -> Switch | None:
    """Return the one thing in which two runs differ, or None if it is none or several."""
    differing = [name for name in base if base[name] != other[name]]
    for share, names in _COPIES.items():
        # Without copies it does not matter what would have happened to them.
        if names in differing and not (base[share] and other[share]):
            differing.remove(names)
    if len(differing) != 1:
        return None
    (name,) = differing
    if name != "defects":
        return Switch(name, _with_names(base, name), _with_names(other, name))
    fewer, more = set(base[name]) - set(other[name]), set(other[name]) - set(base[name])
    if len(fewer) + len(more) != 1:
        return None
    return Switch(name, "".join(fewer), "".join(more))


def _with_names(settings: dict[str, Any], name: str) -> Any:
    """Return a setting's value; a share of copies says what happens to them."""
    if name in _COPIES and settings[name]:
        return f"{settings[name]:g} by {', '.join(settings[_COPIES[name]])}"
    return settings[name]


def _overrides(group: pd.DataFrame, of_recipe: bool) -> int:
    """Count the settings that differ from the recipe's own, or from all those it leads to."""
    settings, first = _settings(group), group.iloc[0]
    own = {"defects": ()} | recipe_settings(first["recipe"], first["dataset"])
    if not of_recipe:
        fields = RunConfig.model_fields.items()
        defaults = {name: field.default for name, field in fields if not field.is_required()}
        own = defaults | own
    own = {name: tuple(value) if isinstance(value, list) else value for name, value in own.items()}
    own["defects"] = tuple(sorted(own["defects"]))
    return sum(settings[name] != value for name, value in own.items() if name in settings)


def _rows(cell: list[pd.DataFrame], scores: Tables, answers: Tables) -> list[dict[str, Any]]:
    """Return the rows of a cell: per recipe its base and what is switched of it."""
    recipes = _by_recipe(cell)
    bases = [_base(own) for own in recipes]
    rows = []
    for base, own in zip(bases, recipes, strict=True):
        switches = _switches(base, [*own, *(other for other in bases if other is not base)])
        if switches:
            part = {"base_recipe": base["recipe"].iloc[0], "base_runs": "; ".join(base["run"])}
            rows.append(averaged(base, COLUMNS) | part)
        for group, switch in switches:
            row = averaged(group, COLUMNS) | _differences(group, base, scores, answers) | part
            values = {"base": _shown(switch.base), "switched": _shown(switch.switched)}
            rows.append(row | {"setting": switch.setting, **values})
    return rows


def _differences(
    group: pd.DataFrame, base: pd.DataFrame, scores: Tables, answers: Tables
) -> dict[str, Any]:
    both = group.merge(base, on="seed", suffixes=("", "_base"))
    row: dict[str, Any] = {"matched_seeds": len(both)}
    for name in MEASURED:
        each = both[name] - both[f"{name}_base"]
        of_means = group[name].mean(skipna=False) - base[name].mean(skipna=False)
        row[f"{name}_difference"] = each.mean(skipna=False) if len(both) else of_means
        row[f"{name}_difference_sd"] = each.std(skipna=False) if len(both) > 1 else np.nan
    found = [_paired(pair, scores) | _paired_answers(pair, answers) for _, pair in both.iterrows()]
    for name in PAIRED:
        for end in _ENDS:
            bounds = pd.Series(
                [one[name][end] if name in one else None for one in found], dtype=float
            )
            row[f"{name}_difference_{end}"] = bounds.mean(skipna=False)
    return row


def _paired(pair: pd.Series, scores: Tables) -> dict[str, Metric]:
    """Return the differences of two runs on the same judged images; none where they are others."""
    if not {pair["run"], pair["run_base"]} <= set(scores):
        return {}
    own = scores[pair["run"]]
    try:
        both = paired.align(own, scores[pair["run_base"]])
    except ProtocolError:  # what is switched is the split itself
        return {}
    tracks = paired.groups_of(own)
    found = {
        "auc": paired.auc_difference(*both, tracks),
        "tpr_at_1pct_fpr": paired.tpr_difference(*both, VERDICT_FPR, tracks),
    }
    cuts = pair["threshold_calibrated"], pair["threshold_calibrated_base"]
    if not any(pd.isna(cut) for cut in cuts):
        found["accuracy_calibrated"] = paired.accuracy_difference(*both, cuts, tracks)
    return found


def _paired_answers(pair: pd.Series, answers: Tables) -> dict[str, Metric]:
    """Return the difference of two audited models on the same labelled images."""
    if not {pair["run"], pair["run_base"]} <= set(answers):
        return {}
    one, two = answers[pair["run"]], answers[pair["run_base"]]
    if one.empty or not one.index.equals(two.index):
        return {}
    tracks = one["group"].to_numpy() if "group" in one else None
    rights = (rows["right"].to_numpy() for rows in (one, two))
    return {"audited_accuracy": paired.share_difference(*rights, tracks)}


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "default"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _caption(row: pd.Series) -> str:
    return (
        f"{row['title']} · {model_title(row['model'])} · {row['setup']}, {method_title('active')}, "
        f"base: recipe {row['base_recipe']}, {row['protocol']} protocol, "
        f"{row['members']:,} members."
    )


def _title(row: pd.Series) -> str:
    text = str(Switch(row["setting"], row["base"], row["switched"]))
    return text if row["recipe"] == row["base_recipe"] else f"{text} (recipe {row['recipe']})"


def _text(rows: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "Switched": [
            "– (base)" if pd.isna(row["setting"]) else _title(row) for _, row in rows.iterrows()
        ]
    }
    for name, heading in MEASURED.items():
        parts = [name, f"{name}_difference", *(f"{name}_difference_{end}" for end in _ENDS)]
        values = rows.reindex(columns=parts).itertuples(index=False)
        columns[heading] = [compact.changed(*row) for row in values]
    columns["Seeds"] = [compact.seeds(row, "auc") for _, row in rows.iterrows()]
    return pd.DataFrame(columns)

"""The ablation: what one thing, switched alone, does to MINT and to audited accuracy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from amint_core.config import RunConfig
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
#: Columns of ablation.csv, in order.
COLUMNS = (
    *("dataset", "title", "model", "setup", "protocol", "recipe", "setting", "base", "switched"),
    *(
        f"{name}{suffix}"
        for name in MEASURED
        for suffix in ("", "_low", "_high", "_sd", "_difference", "_difference_sd")
    ),
    *("members", "external", "judged_members", "judged_non_members", "judged_role"),
    *("epochs", "seeds", "matched_seeds", "data", "device", "seconds", "runs", "base_runs"),
    "base_recipe",
)
#: Settings in which a run and its base agree: sizes that are not switched.
_CELL = tuple(
    f"settings.{name}"
    for name in ("protocol", "members", "calibration", "holdout", "test", "image_size")
)
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


def ablation(runs: pd.DataFrame) -> pd.DataFrame:
    """Set every active run that differs from a base run in exactly one thing beside that base.

    Runs are of one cell where dataset, model, setup, protocol and sizes agree (but for the number
    of external images, which may be what is switched). Each recipe of a cell has a base: the run
    that overrides least of what the recipe states; of equals the one with the most neighbours that
    differ in one thing; of these the one nearest to the default settings. Beside it stand the runs
    of its recipe, and the bases of other recipes, that differ from it in one thing.

    One thing is one setting, one defect more or less, or augmented copies with the transformations
    that make them. `_difference` is the mean over the seeds that both have (`matched_seeds`; where
    there are none, the difference of the means), `_difference_sd` its spread over them.

    Args:
        runs: as from `read_runs`.

    Returns:
        The columns `COLUMNS`: per cell with such runs the base (empty `setting`), then a row per
        switched thing. No rows where no run differs from a base in one thing.
    """
    rows = [row for cell in _cells(runs) for row in _rows(cell)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = ("members", "external", "judged_members", "judged_non_members", "epochs", "seeds")
    return table.astype(dict.fromkeys((*counts, "matched_seeds"), "Int64"))


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
        "base, over the seeds that both have; ± is the standard deviation of the AUC over seeds. "
        "MINT accuracy is taken at probability .5, calibrated at the threshold chosen on "
        "calibration images."
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


def _rows(cell: list[pd.DataFrame]) -> list[dict[str, Any]]:
    """Return the rows of a cell: per recipe its base and what is switched of it."""
    recipes = _by_recipe(cell)
    bases = [_base(own) for own in recipes]
    rows = []
    for base, own in zip(bases, recipes, strict=True):
        others = [other for other in bases if other is not base]
        rows += _part(base, _switches(base, [*own, *others]))
    return rows


def _part(base: pd.DataFrame, others: list[tuple[pd.DataFrame, Switch]]) -> list[dict[str, Any]]:
    if not others:
        return []
    part = {"base_recipe": base["recipe"].iloc[0], "base_runs": "; ".join(base["run"])}
    rows = [averaged(base, COLUMNS) | part]
    for group, switch in others:
        row = averaged(group, COLUMNS) | _differences(group, base) | part
        values = {"base": _shown(switch.base), "switched": _shown(switch.switched)}
        rows.append(row | {"setting": switch.setting, **values})
    return rows


def _differences(group: pd.DataFrame, base: pd.DataFrame) -> dict[str, Any]:
    both = group.merge(base, on="seed", suffixes=("", "_base"))
    row: dict[str, Any] = {"matched_seeds": len(both)}
    for name in MEASURED:
        each = both[name] - both[f"{name}_base"]
        of_means = group[name].mean(skipna=False) - base[name].mean(skipna=False)
        row[f"{name}_difference"] = each.mean(skipna=False) if len(both) else of_means
        row[f"{name}_difference_sd"] = each.std(skipna=False) if len(both) > 1 else np.nan
    return row


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
        pairs = zip(rows[name], rows[f"{name}_difference"], strict=True)
        columns[heading] = [compact.changed(*pair) for pair in pairs]
    columns["Seeds"] = [compact.seeds(row, "auc") for _, row in rows.iterrows()]
    return pd.DataFrame(columns)

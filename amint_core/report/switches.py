"""Runs that differ from a base run in exactly one thing: what the ablation is made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from amint_core.config import RunConfig
from amint_core.recipes import recipe_settings
from amint_core.report.averages import AVERAGED, IDENTITY, UNRELATED, groups, one_per_seed

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
        return f"{self.setting}: {shown(self.base)} → {shown(self.switched)}"


def switched(runs: pd.DataFrame) -> set[str]:
    """Return the ids of the runs that switch one thing of their own recipe's base run."""
    recipes = (own for cell in cells_of(runs) for own in by_recipe(cell))
    switching = (group for own in recipes for group, _ in switches_of(base_of(own), own))
    return {name for group in switching for name in group["run"]}


def cells_of(runs: pd.DataFrame) -> list[list[pd.DataFrame]]:
    """Return, per cell of active runs, its groups of runs that differ by seed alone."""
    active = runs[runs["method"] == "active"]
    if active.empty:
        return []
    cells = active.groupby([*IDENTITY, *_CELL], sort=False, dropna=False)
    return [[one_per_seed(group) for group in groups(cell, _IGNORED)] for _, cell in cells]


def by_recipe(cell: list[pd.DataFrame]) -> list[list[pd.DataFrame]]:
    """Split the groups of a cell by recipe, in the order of their first runs."""
    found: dict[str, list[pd.DataFrame]] = {}
    for group in cell:
        found.setdefault(group["recipe"].iloc[0], []).append(group)
    return list(found.values())


def base_of(own: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the base among the groups of one recipe; see `ablations.ablation`."""
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


def switches_of(
    base: pd.DataFrame, others: list[pd.DataFrame]
) -> list[tuple[pd.DataFrame, Switch]]:
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


def shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "default"
    return f"{value:g}" if isinstance(value, float) else str(value)

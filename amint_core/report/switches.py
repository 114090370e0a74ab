"""Runs that differ from a base run in exactly one thing: what the ablation is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from amint_core.config import RunConfig
from amint_core.recipes import RECIPES, recipe_settings
from amint_core.report.averages import ATTACK, AVERAGED, IDENTITY, over_seeds, settings
from amint_core.report.read import Results

#: Settings in which a run and its base agree: which images, but for how many external ones.
_CELL = [name for name in settings("data") if name not in (*AVERAGED, "settings.external")]
#: Settings that tell no two runs apart; a recipe is but a name of other settings.
_IGNORED = {*AVERAGED, *ATTACK, *settings("name")}
_COPIES = {
    "augment_members": "member_transformations",
    "augment_external": "external_transformations",
}


@dataclass(frozen=True)
class Switch:
    """One setting that two runs differ in: its value in the base and in the other run.

    For `defects` the value is the defects that only this side has, or "".
    """

    setting: str
    base: Any
    switched: Any

    def __str__(self) -> str:
        if self.setting == "defects":
            names, state = (self.switched, "on") if self.switched else (self.base, "off")
            return f"defect{'s' * (', ' in names)} {names} {state}"
        return f"{self.setting}: {shown(self.base)} → {shown(self.switched)}"


def switched(results: Results) -> set[str]:
    """Return the ids of the active runs that switch one thing of their own recipe's base run."""
    return {
        name
        for base, others in results.once(families)
        for entry, _ in others
        if entry["recipe"] == base["recipe"]
        for name in entry["runs"].split("; ")
    }


def families(results: Results) -> list[tuple[pd.Series, list[tuple[pd.Series, Switch]]]]:
    """Return, per cell and recipe of active runs, the base and what switches one thing of it.

    Runs are of one cell where dataset, model, setup, protocol and sizes agree (but for the number
    of external images, which may be what is switched). The base overrides least of what its recipe
    states; of equals it is the one with the most neighbours that differ in one thing; of these the
    one nearest to the default settings. What switches one thing of it are entries of its recipe,
    and the bases of other recipes, in the order of what they switch.
    """
    runs = results.runs
    entries = over_seeds(results, runs[runs["method"] == "active"], apart=ATTACK)
    return [
        family
        for _, cell in entries.groupby([*IDENTITY, *_CELL], sort=False, dropna=False)
        for family in _families(cell)
    ]


def _families(cell: pd.DataFrame) -> Iterator[tuple[pd.Series, list[tuple[pd.Series, Switch]]]]:
    recipes = [
        [entry for _, entry in own.iterrows()] for _, own in cell.groupby("recipe", sort=False)
    ]
    bases = [_base(own) for own in recipes]
    for base, own in zip(bases, recipes, strict=True):
        others = [*own, *(other for other in bases if other is not base)]
        found = [(other, _switch(_settings(base), _settings(other))) for other in others]
        found = [(other, switch) for other, switch in found if switch]
        yield base, sorted(found, key=lambda pair: str(pair[1]))


def _base(own: list[pd.Series]) -> pd.Series:
    """Return the base among the entries of one recipe."""
    values = [_settings(entry) for entry in own]

    def rank(place: int) -> tuple[int, int, int, str]:
        neighbours = sum(bool(_switch(values[place], other)) for other in values)
        overrides = [
            _overrides(own[place], values[place], of_recipe) for of_recipe in (True, False)
        ]
        return overrides[0], -neighbours, overrides[1], own[place]["runs"]

    return own[min(range(len(own)), key=rank)]


def _settings(entry: pd.Series) -> dict[str, Any]:
    """Return the settings that count, lists as tuples."""
    names = [name for name in entry.index if name.startswith("settings.") and name not in _IGNORED]
    return {name.removeprefix("settings."): _plain(entry[name]) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):  # a text that only begins as a list does
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
    # Several may go on or off at once: two together can do other things than each alone.
    fewer, more = (
        ", ".join(sorted(set(these) - set(those)))
        for these, those in ((base[name], other[name]), (other[name], base[name]))
    )
    return None if fewer and more else Switch(name, fewer, more)


def _with_names(values: dict[str, Any], name: str) -> Any:
    """Return a setting's value; a share of copies says what happens to them."""
    if name in _COPIES and values[name]:
        return f"{values[name]:g} by {', '.join(values[_COPIES[name]])}"
    return values[name]


def _overrides(entry: pd.Series, values: dict[str, Any], of_recipe: bool) -> int:
    """Count the settings that differ from the recipe's own, or from all those it leads to."""
    own = {"defects": ()}
    if entry["recipe"] in RECIPES:  # a run may come from a version that had others
        own |= recipe_settings(entry["recipe"], entry["dataset"])
    if not of_recipe:
        fields = RunConfig.model_fields.items()
        own = {name: field.default for name, field in fields if not field.is_required()} | own
    own["defects"] = tuple(sorted(own["defects"]))
    return sum(values[name] != value for name, value in own.items() if name in values)


def shown(value: Any) -> str:
    """Write a setting's value as a reader gets it."""
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "default"
    return f"{value:g}" if isinstance(value, float) else str(value)

"""Rows of the pages' tables of a profile's runs, from their committed metrics."""

from collections.abc import Iterator, Sequence
from functools import cache

import pandas as pd
from said_of_table1 import three

from amint_core.config import RunConfig
from amint_core.evaluation.seeds import interval_of_mean
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.methods import METHODS
from amint_core.recipes import RECIPES

#: How pages write a number of heads.
HEADS = {3: "three"}
SETTINGS = ("recipe", "method", "target", "seed")
#: Besides, of what sets heads on one model apart.
OF_HEADS = ("head_count", "head_copies", "head_epochs")
#: Measures that sentences name, besides those of the tables.
PRECISION = "precision at 0.01"
COLUMNS = ("auc", "calibrated", "tpr at 0.01", "tpr at 0.001", "audited")
KINDS = ("exact", "flip", "shift", "crop", "resize", "jpeg", "blur", "noise", "brightness")
#: Recipe, method, target: a row of a table.
Place = tuple[str, str, str]


@cache
def runs(profile: str) -> pd.DataFrame:
    """A row per run: what it was, and what its metrics say."""
    rows = []
    for file in sorted((project_root() / "results" / profile).glob("runs/*/metrics.json")):
        metrics = read_json(file)
        settings, mint = RunConfig(**metrics["run"]["settings"]), metrics["mint"] or {}
        tpr = mint.get("tpr_at_fpr") or {}
        rows.append(
            {name: getattr(settings, name) for name in (*SETTINGS, *OF_HEADS)}
            | {
                "auc": _value(mint.get("auc")),
                "calibrated": _value(mint.get("accuracy_calibrated")),
            }
            | {f"tpr at {rate}": _value(tpr.get(rate)) for rate in ("0.01", "0.001")}
            | {PRECISION: _value((mint.get("precision_at_prior") or {}).get("0.01"))}
            | {"audited": _value((metrics["audited"] or {}).get("accuracy"))}
            | {
                kind: _value(found["auc"])
                for kind, found in (metrics.get("transformations") or {}).items()
            }
        )
    return pd.DataFrame(rows)


def _value(found: dict | None) -> float | None:
    return None if found is None else found["value"]


def _shown(values: pd.Series) -> str:
    return three(values.mean()) if values.notna().all() else "–"


def _name(method: str, target: str) -> str:
    against = {"plain": "", "active": " on the auditable model"}
    return METHODS[method].title + against.get(target, f" on the {target} members")


def side_by_side(profile: str, places: Sequence[Place], column: str) -> list[str]:
    """Numbers that a sentence sets against each other: means over the seeds that all have."""
    found = runs(profile).set_index(list(SETTINGS))[column].sort_index()
    each = [found.loc[place] for place in places]
    seeds = set.intersection(*(set(one.index) for one in each))
    assert seeds, f"no seed has all of {places}"
    return [three(one.loc[sorted(seeds)].mean()) for one in each]


def alone(profile: str, place: Place, column: str) -> str:
    """A number that a sentence states by itself: the mean over the seeds that there are."""
    return side_by_side(profile, [place], column)[0]


def with_interval(profile: str, place: Place, measure: str) -> str:
    """A row's number with its interval, from the committed comparison."""
    table = pd.read_csv(project_root() / "results" / profile / "tables" / "comparison.csv")
    recipe, method, target = place
    own = table[(table["recipe"] == recipe) & (table["method"] == method)]
    (row,) = own[own["target"].isna() | (own["target"] == target)].to_dict("records")
    low, high = (three(row[f"{measure}_{end}"]) for end in ("low", "high"))
    return f"{three(row[measure])} [{low}, {high}]"


def difference(profile: str, place: Place, reference: str, measure: str) -> dict[str, float]:
    """What a test has more than its reference, from the committed differences: mean over seeds."""
    table = pd.read_csv(project_root() / "results" / profile / "tables" / "differences.csv")
    recipe, method, target = place
    own = table[(table["recipe"] == recipe) & (table["method"] == method)]
    own = own[(own["target"].isna() | (own["target"] == target)) & (own["reference"] == reference)]
    values = [own[f"{measure}_difference{suffix}"] for suffix in ("", "_low", "_high")]
    low, high = interval_of_mean(*values)
    return {"value": values[0].mean(), "low": low, "high": high}


def of_all_rows(profile: str, places: Sequence[Place], recipes: bool = True) -> Iterator[str]:
    """Yield a table's rows, means over the seeds that there are; places without runs have none."""
    found = runs(profile).set_index(list(SETTINGS[:3])).sort_index()
    for place in places:
        if place in found.index:
            own = found.loc[[place]]
            shown = " | ".join(_shown(own[name]) for name in COLUMNS)
            yield f"| {_words(place, recipes)} | {shown} | {len(own)} |"


def of_transformed(profile: str, places: Sequence[Place], recipes: bool = True) -> Iterator[str]:
    """Yield the rows of AUC on transformed images."""
    found = runs(profile).dropna(subset=["crop"]).set_index(list(SETTINGS[:3])).sort_index()
    for place in places:
        if place in found.index:
            shown = " | ".join(_shown(found.loc[[place], kind]) for kind in KINDS)
            yield f"| {_words(place, recipes)} | {shown} |"


def _words(place: Place, recipes: bool) -> str:
    recipe, method, target = place
    if recipes:
        return f"{recipe} | {_name(method, target)}"
    heads = RECIPES[recipe].get("head_count", 1)
    return _name(method, target) + (f", {HEADS[heads]} heads" if heads > 1 else "")

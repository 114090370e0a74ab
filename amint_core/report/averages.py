"""Which runs belong together, what they average to, and what sets them apart.

Three widening circles: runs that differ by seed alone are averaged to an *entry*; entries of one
*cell* besides differ only in how membership is tested, so that their methods can be compared (see
`tables/comparison.py`, which adds heads from elsewhere on the same finished model); and a *variant*
names whatever else sets an entry apart from its neighbours in a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from amint_core.config import settings_of
from amint_core.evaluation.seeds import interval_of_mean
from amint_core.report.names import has_target
from amint_core.report.read import Results, wide

#: Columns besides the settings in which runs of one entry agree.
IDENTITY = ("dataset", "setup", "model", "title", "fingerprint")
#: Columns that hold whole numbers; means of them are rounded.
COUNTS = (
    *("members", "external", "judged_members", "judged_non_members"),
    *("judged_member_tracks", "judged_non_member_tracks"),
    *("epochs", "seed", "seeds", "matched_seeds", "plain_seeds", "shadows"),
    *("audited_parameters", "head_parameters"),
)
_ROUNDED = (*COUNTS, "seconds", "shadow_seconds")
#: Words for `data.source`.
DATA = {"real": "real", "standin": "STAND-IN"}


def settings(*parts: str) -> tuple[str, ...]:
    """Return the columns of `config.settings_of`."""
    return tuple(f"settings.{name}" for name in settings_of(*parts))


#: Settings in which runs may differ and still be averaged.
AVERAGED = settings("averaged")
#: Settings in which runs of one cell may differ: how membership is tested.
TESTING = settings("test")
#: Settings that change neither the training nor the scores of an active run.
ATTACK = settings("attack")


def keys(table: pd.DataFrame, apart: Iterable[str] = ()) -> list[str]:
    """Return the columns in which runs must agree to be together.

    Args:
        table: runs of `Results`, or entries.
        apart: settings in which they may differ, besides `AVERAGED`.
    """
    left_out = {*AVERAGED, *apart}
    names = [name for name in table if name.startswith("settings.") and name not in left_out]
    return [*IDENTITY, *names]


def over_seeds(
    results: Results, runs: pd.DataFrame, transformed: bool = False, apart: Iterable[str] = ()
) -> pd.DataFrame:
    """Average runs that differ in nothing but the seed, in the order of their first runs.

    Of runs of one seed the first counts. A measure is empty where one of them has no value: a mean
    over fewer seeds than stated would mislead.

    Args:
        results: where the values are from.
        runs: those of its rows that are asked for.
        transformed: whether to tell of transformed images in place of images as they are.
        apart: settings in which they may differ besides.

    Returns:
        A row per entry, and per transformation in the column of that name. Columns: facts and
        settings, or all different values in words (counts: rounded means); each measure's mean,
        `_low` and `_high`, its 95 % interval over seeds (of one: the run's own; see
        `evaluation/seeds.py`), and `_sd`, the standard deviation over seeds (empty for one);
        `data`, `seeds`, `runs`.
    """
    those = results.values[(results.values["transformation"] != "") == transformed]
    runs = runs[runs["run"].isin(those["run"])]
    if runs.empty:
        return pd.DataFrame(columns=[*runs, "transformation", "data", "seeds", "runs"])
    runs = runs.assign(entry=runs.groupby(keys(runs, apart), sort=False, dropna=False).ngroup())
    runs = runs.drop_duplicates(["entry", "seed"])
    facts = [_facts(group) for _, group in runs.groupby("entry", sort=True)]
    facts = pd.DataFrame(facts, dtype=object).rename_axis("entry").reset_index()
    means = _means(those.merge(runs[["run", "entry"]], on="run"), facts["seeds"])
    return facts.merge(means.reset_index(), on="entry")


def _facts(group: pd.DataFrame) -> dict[str, Any]:
    facts = {name: joined(group[name]) for name in group if name not in ("entry", "run", "path")}
    if not has_target(facts["method"]):
        facts["target"] = None
    return facts | {
        "data": DATA[facts["source"]],
        "seeds": len(group),
        "runs": "; ".join(group["run"]),
    }


def _means(values: pd.DataFrame, seeds: pd.Series) -> pd.DataFrame:
    groups = values.groupby(["entry", "transformation", "measure"], sort=False)
    means = groups[["value"]].mean().assign(sd=groups["value"].std(ddof=1))
    bounds = [within(rates) for _, rates in groups]
    means = means.assign(**pd.DataFrame(bounds, means.index, ["low", "high"], dtype=float))
    known = groups[["value", "low", "high"]].count()
    wanted = seeds.reindex(known.index.get_level_values("entry")).to_numpy()
    for part in known:
        means[part] = means[part].where(known[part] == wanted)
    return wide(
        means.assign(sd=means["sd"].where(known["value"] == wanted)).reset_index(), ["entry"]
    )


def within(rates: pd.DataFrame) -> tuple[float, float]:
    """Return the interval of the mean of shares: the columns `value`, `low` and `high`."""
    low, high = interval_of_mean(*(rates[name].astype(float) for name in ("value", "low", "high")))
    return max(0.0, low), min(high, max(1.0, rates["value"].max()))


def joined(values: pd.Series) -> Any:
    """Return what all runs of an entry share, or their different values in words."""
    unique = values.dropna().unique()
    if len(unique) < 2:
        return unique[0] if len(unique) else None
    if values.name in _ROUNDED:
        return round(values.mean())
    return "; ".join(map(str, unique))


def variants(table: pd.DataFrame, told: Iterable[str], ignored: Iterable[str] = ()) -> pd.Series:
    """Say in which settings entries differ that agree in the columns `told`; None in none.

    Args:
        table: as from `over_seeds`.
        told: columns by which a reader tells them apart already.
        ignored: columns that need no telling.
    """
    left_out = {*AVERAGED, *ignored}
    names = sorted(
        name
        for name in table
        if (name.startswith("settings.") or name == "fingerprint") and name not in left_out
    )
    found = pd.Series([None] * len(table), table.index, dtype=object)
    for _, rows in table.groupby(list(told), sort=False, dropna=False):
        differing = [name for name in names if rows[name].astype(str).nunique() > 1]
        for place, row in rows.iterrows() if differing else ():
            values = (f"{name.removeprefix('settings.')}={row[name]}" for name in differing)
            found[place] = ", ".join(values)
    return found


def laid_out(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Return a table with these columns in order, whole numbers where they count."""
    table = table.reindex(columns=list(columns)).reset_index(drop=True)
    return table.astype({name: "Int64" for name in COUNTS if name in table})

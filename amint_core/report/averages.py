"""Which runs belong together, what they average to, and how their groups are told apart.

Three widening circles: runs that differ by seed alone are averaged; runs of one *cell* besides
differ only in how membership is tested, so that their methods can be compared; and a *variant*
names whatever else sets a group apart from its neighbours in a table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from amint_core.report.collect import MEASURES

#: Settings in which runs may differ and still be averaged: the seed, and those that change no
#: number, such as what else a run measures.
AVERAGED = (
    *("settings.seed", "settings.profile", "settings.workers"),
    *("settings.transformations", "settings.cpu_threads"),
)
#: Settings in which runs of one cell may differ: how membership is tested, and how it is computed.
TESTING = (
    *("settings.method", "settings.target", "settings.shadows", "settings.variance"),
    "settings.views",
)
#: Settings that change neither the training nor the scores of an active run.
UNRELATED = ("settings.target", "settings.shadows", "settings.variance")
#: Columns besides the settings in which runs of one group agree.
IDENTITY = ("dataset", "setup", "model", "title", "fingerprint")
#: Words for `data.source`.
DATA = {"real": "real", "standin": "STAND-IN"}
#: Columns that hold whole numbers; means of them are rounded.
COUNTS = (
    *("members", "external", "judged_members", "judged_non_members"),
    *("judged_member_tracks", "judged_non_member_tracks"),
    *("epochs", "seeds", "audited_parameters", "head_parameters", "shadows"),
)
_DURATIONS = ("seconds", "shadow_seconds")


def keys(runs: pd.DataFrame, apart: Iterable[str] = AVERAGED) -> list[str]:
    """Return the columns in which runs must agree to be of one group.

    Args:
        runs: as from `read_runs`.
        apart: settings in which they may differ.
    """
    settings = [name for name in runs if name.startswith("settings.") and name not in set(apart)]
    return [*IDENTITY, *settings]


def groups(runs: pd.DataFrame, apart: Iterable[str] = AVERAGED) -> list[pd.DataFrame]:
    """Split runs into groups that agree in `keys`, in the order of their first runs."""
    if runs.empty:
        return []
    return [group for _, group in runs.groupby(keys(runs, apart), sort=False, dropna=False)]


def one_per_seed(group: pd.DataFrame) -> pd.DataFrame:
    """Return the first run of each seed: runs that differ in what does not count are the same."""
    return group.drop_duplicates("seed")


def averaged(group: pd.DataFrame, columns: Iterable[str]) -> dict[str, Any]:
    """Return one row for runs that differ by seed alone.

    Measures are means over seeds, `_sd` their standard deviation (NaN for one seed), `_low` and
    `_high` the means of the runs' own 95 % intervals; counts are rounded means.

    Args:
        columns: facts to carry over; where runs differ in one, all values in words.
    """
    row: dict[str, Any] = {
        name: joined(group[name])
        for name in (*columns, *IDENTITY)
        if name in group and name not in MEASURES
    }
    for name in MEASURES:
        for column in (name, f"{name}_low", f"{name}_high"):
            # A mean over fewer seeds than `seeds` says would mislead: empty where one is empty.
            row[column] = group[column].mean(skipna=False)
        row[f"{name}_sd"] = group[name].std(ddof=1, skipna=False) if len(group) > 1 else np.nan
    first = group.iloc[0]
    row |= {name: first[name] for name in group if name.startswith("settings.")}
    data = DATA[first["source"]]
    return row | {"data": data, "seeds": len(group), "runs": "; ".join(group["run"])}


def joined(values: pd.Series) -> Any:
    """Return what all runs of a row share, or their different values in words."""
    unique = values.dropna().unique()
    if len(unique) < 2:
        return unique[0] if len(unique) else None
    if values.name in (*COUNTS, *_DURATIONS):
        return round(values.mean())
    return "; ".join(map(str, unique))


def name_variants(
    rows: list[dict[str, Any]], same: tuple[str, ...], ignored: Iterable[str] = ()
) -> None:
    """Fill `variant` with the settings in which rows that agree in `same` differ.

    Args:
        rows: as from `averaged`; changed in place. None where nothing differs.
        same: columns by which a reader tells rows apart already.
        ignored: columns that need no telling.
    """
    alike: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        alike.setdefault(tuple(row[name] for name in same), []).append(row)
    for together in alike.values():
        settings = [name for name in together[0] if name.startswith("settings.")]
        compared = {*settings, "fingerprint"} - {*AVERAGED, *ignored}
        differing = [name for name in compared if len({str(row[name]) for row in together}) > 1]
        for row in together:
            values = (f"{name.removeprefix('settings.')}={row[name]}" for name in sorted(differing))
            row["variant"] = ", ".join(values) or None

"""The transformations: is a member still recognised when its image has been changed?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from amint_core.config import EXACT
from amint_core.data.transforms import TRANSFORMATIONS
from amint_core.recipes import RECIPES
from amint_core.report import compact
from amint_core.report.averages import COUNTS, averaged, groups, name_variants
from amint_core.report.by_method import cell_title
from amint_core.report.collect import TRANSFORMED, measured, read_metrics
from amint_core.report.compact import Document, Part, short
from amint_core.report.method_names import entry_title, has_target, method_order
from amint_core.report.style import headed, heat_map, styled

HEADINGS = {
    "auc": "AUC",
    "accuracy_calibrated": "Calibrated accuracy",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
}
#: Columns of transformations.csv, in order.
COLUMNS = (
    *("title", "dataset", "model", "setup", "protocol", "method", "target", "recipe", "views"),
    *("variant", "transformation"),
    *(f"{name}{suffix}" for name in TRANSFORMED for suffix in ("", "_low", "_high", "_sd")),
    *("members", "judged_members", "judged_non_members"),
    *("judged_member_tracks", "judged_non_member_tracks", "epochs", "seeds", "data", "runs"),
)
#: Settings that say what is measured, not what is run.
#: What recipes are set beside each other in.
PLACE = ["title", "model", "setup", "protocol"]


def transformations(runs: pd.DataFrame) -> pd.DataFrame:
    """Tell how members are recognised after each transformation, averaged over seeds.

    Args:
        runs: as from `read_runs`; those that measured no transformations are left out.

    Returns:
        The columns `COLUMNS`: a row per recipe (with method, target, views and what else differs)
        and transformation, the exact image first.
    """
    found = {run["run"]: _transformed(run) for _, run in runs.iterrows()}
    those = runs[runs["run"].map(lambda name: bool(found[name]))]
    entries = []
    for group in groups(those):
        entry = averaged(group, COLUMNS) | {"views": group["settings.views"].iloc[0]}
        if not has_target(entry["method"]):
            entry["target"] = None
        entries.append((entry, [found[name] for name in group["run"]]))
    told = ("method", "target", "recipe", "views")
    name_variants(
        [entry for entry, _ in entries],
        (*PLACE, *told),
        ignored=[f"settings.{name}" for name in told],
    )
    entries.sort(key=lambda pair: method_order(pair[0]["method"]))
    rows = [row for entry, seeds in entries for row in _rows(entry, seeds)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({name: "Int64" for name in COUNTS if name in table})


def document(table: pd.DataFrame, profile: str) -> Document:
    """Return the transformations for readers: a part per measure and cell."""
    parts = [
        Part(f"{heading}: {place_title(rows)}.{compact.tracks(rows.iloc[0])}", _text(rows, measure))
        for _, rows in table.groupby(PLACE, sort=False)
        for measure, heading in HEADINGS.items()
    ]
    intro = (
        f"Profile {profile}: judged members and non-members are both transformed, then told apart. "
        "AUC .5 is chance. The threshold of the calibrated accuracy is the one of exact images. "
        "Views: how a query is scored. Intervals are in transformations.csv."
    )
    if (table["seeds"] > 1).any():
        intro += f" {compact.SEEDS}"
    if not parts:
        intro = f"Profile {profile}: no run measured transformed images."
    if (table["data"] == "STAND-IN").any():
        intro += f" {compact.STANDIN}"
    return Document("transformations", "Transformed images", profile, intro, parts)


@styled
def transformations_figure(table: pd.DataFrame, profile: str) -> Figure:
    """Draw the AUC of each recipe on each transformation as a heat map, a panel per cell.

    Args:
        table: as from `transformations`; it must not be empty.
    """
    panels = [_grid(rows, "auc") for _, rows in table.groupby(PLACE, sort=False)]
    titles = [place_title(rows) for _, rows in table.groupby(PLACE, sort=False)]
    heights = [len(grid) + 2.2 for grid in panels]
    figure, column = plt.subplots(
        *(len(panels), 1),
        figsize=(10, 0.42 * sum(heights) + 0.9),
        squeeze=False,
        height_ratios=heights,
    )
    headed(figure, f"AUC on transformed images: profile {profile}")
    for axes, grid, title in zip(column[:, 0], panels, titles, strict=True):
        heat_map(axes, grid, 0.5, 1.0)
        axes.set_title(title)
    return figure


def _transformed(run: pd.Series) -> dict[str, dict[str, float]]:
    """Return transformation → measures of a run; empty where it measured none."""
    content = read_metrics(run["path"] / "metrics.json").get("transformations") or {}
    return {name: measured(entry, TRANSFORMED) for name, entry in content.items()}


def _rows(entry: dict[str, Any], seeds: list[dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    names = sorted({name for seed in seeds for name in seed}, key=_place_of)
    rows = []
    for name in names:
        # Empty where one seed lacks it: a mean over fewer seeds than stated would mislead.
        values = pd.DataFrame([seed.get(name, {}) for seed in seeds])
        mean = values.mean(skipna=False) if len(values.columns) else pd.Series(dtype=float)
        spread = values.std(skipna=False) if len(seeds) > 1 else pd.Series(dtype=float)
        row = {column: mean.get(column, np.nan) for column in mean.index}
        row |= {f"{measure}_sd": spread.get(measure, np.nan) for measure in TRANSFORMED}
        rows.append(entry | {"transformation": name} | row)
    return rows


def _place_of(name: str) -> tuple[int, str]:
    known = [EXACT, *TRANSFORMATIONS]
    return (known.index(name), "") if name in known else (len(known), name)


def place_title(rows: pd.DataFrame) -> str:
    """Name what the rows of one place have in common."""
    first = rows.iloc[0]
    return cell_title(pd.Series({**first, "recipe": None, "cell_variant": None}))


def _grid(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return entries × transformations of one measure."""
    names = rows.apply(recipe_title, axis=1)
    wide = rows.assign(entry=names).pivot(index="entry", columns="transformation", values=measure)
    columns = sorted(wide.columns, key=_place_of)
    return wide.loc[list(dict.fromkeys(names)), columns]


def recipe_title(row: pd.Series) -> str:
    """Name the recipe of a row, with its method, views not its own and what else differs."""
    parts = [row["recipe"]]
    if row["method"] != "active":
        parts.insert(0, entry_title(row["method"], row["target"]))
    if row["views"] != RECIPES.get(row["recipe"], {}).get("views", "one"):
        parts.append(f"views: {row['views']}")
    parts += [row["variant"]] if isinstance(row["variant"], str) else []
    return ", ".join(parts)


def _text(rows: pd.DataFrame, measure: str) -> pd.DataFrame:
    grid = _grid(rows, measure)
    text = grid.map(lambda value: short(value) or "–").reset_index().rename_axis(columns=None)
    text = text.rename(columns={"entry": "Recipe"})
    seeds = rows.assign(entry=rows.apply(recipe_title, axis=1)).groupby("entry")["seeds"].first()
    return text.assign(Seeds=text["Recipe"].map(seeds).astype(str))

"""The transformations: is a member still recognised when its image has been changed?"""

from __future__ import annotations

import pandas as pd

from amint_core.config import EXACT
from amint_core.data.transforms import TRANSFORMATIONS
from amint_core.report import render
from amint_core.report.averages import laid_out, over_seeds, variants
from amint_core.report.names import method_order, place_title, recipe_title
from amint_core.report.read import TRANSFORMED, Results
from amint_core.report.registry import Table
from amint_core.report.render import Document, Part, short

HEADINGS = {
    "auc": "AUC",
    "accuracy_calibrated": "Calibrated accuracy",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
}
#: What recipes are set beside each other in.
PLACE = ["title", "model", "setup", "protocol"]
#: Columns of transformations.csv, in order.
COLUMNS = (
    *("title", "dataset", "model", "setup", "protocol", "method", "target", "recipe", "views"),
    *("variant", "transformation"),
    *(f"{name}{suffix}" for name in TRANSFORMED for suffix in ("", "_low", "_high", "_sd")),
    *("members", "judged_members", "judged_non_members"),
    *("judged_member_tracks", "judged_non_member_tracks", "epochs", "seeds", "data", "runs"),
)


def rows(results: Results) -> pd.DataFrame:
    """Tell how members are recognised after each transformation, averaged over seeds.

    Returns:
        The columns `COLUMNS`: a row per recipe (with method, target, views and what else differs)
        and transformation, the exact image first. Runs that measured none are left out.
    """
    table = over_seeds(results, results.runs, transformed=True)
    table["views"] = table.get("settings.views")
    told = ("method", "target", "recipe", "views")
    ignored = [f"settings.{name}" for name in told]
    table["variant"] = variants(table, (*PLACE, *told), ignored)
    names = [EXACT, *TRANSFORMATIONS]
    place = {name: number for number, name in enumerate(names)}
    table = table.assign(
        first=table["method"].map(method_order),
        entry=table["runs"].map({runs: n for n, runs in enumerate(table["runs"].unique())}),
        then=table["transformation"].map(lambda name: (place.get(name, len(names)), name)),
    )
    return laid_out(table.sort_values(["first", "entry", "then"]), COLUMNS)


def grid(recipes: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return recipes × transformations of one measure, in the order of the rows of one place."""
    titles = recipes.apply(recipe_title, axis="columns")
    wide = recipes.assign(entry=titles).pivot(
        index="entry", columns="transformation", values=measure
    )
    order = recipes["transformation"].drop_duplicates()
    known = [name for name in (EXACT, *TRANSFORMATIONS) if name in set(order)]
    others = sorted(set(order) - set(known))
    return wide.loc[titles.drop_duplicates(), [*known, *others]]


def document(results: Results) -> Document:
    """Return the transformations for readers: a part per measure and place."""
    table = results.once(rows)
    parts = [
        Part(_caption(heading, recipes.iloc[0]), _text(recipes, measure))
        for _, recipes in table.groupby(PLACE, sort=False)
        for measure, heading in HEADINGS.items()
    ]
    text = (
        "judged members and non-members are both transformed, then told apart. AUC .5 is chance. "
        "The threshold of the calibrated accuracy is the one of exact images. Views: how a query "
        "is scored. Intervals are in transformations.csv."
    )
    if not parts:
        text = "no run measured transformed images."
    text = render.intro(results.profile, text, table, seeds=True)
    return Document("transformations", "Transformed images", results.profile, text, parts)


def _caption(heading: str, row: pd.Series) -> str:
    return f"{heading}: {place_title(row)}.{render.tracks(row)}"


def _text(recipes: pd.DataFrame, measure: str) -> pd.DataFrame:
    text = grid(recipes, measure).map(lambda value: short(value) or "–")
    seeds = recipes.groupby(recipes.apply(recipe_title, axis="columns"))["seeds"].first()
    text = text.assign(Seeds=seeds.astype(str))
    return text.rename_axis(index="Recipe", columns=None).reset_index()


TABLE = Table("transformations", rows, document)

"""The comparison: every method that was run, side by side on the same images."""

from __future__ import annotations

from typing import Any

import pandas as pd

from amint_core.methods import METHODS
from amint_core.report import paper, render
from amint_core.report.averages import TESTING, keys, laid_out, over_seeds, settings, variants
from amint_core.report.names import (
    TARGETS,
    cell_title,
    is_weak,
    method_group,
    method_order,
    method_title,
    published_shadows,
    row_title,
)
from amint_core.report.read import MEASURES, Results
from amint_core.report.registry import Table
from amint_core.report.render import Document, Part, short, with_intervals, words

#: Columns of comparison.csv, in order.
COLUMNS = (
    *("cell", "title", "dataset", "model", "setup", "protocol", "recipe", "cell_variant"),
    *("group", "method", "method_title", "target", "shadows", "published_shadows", "variant"),
    *(f"{name}{suffix}" for name in MEASURES for suffix in ("", "_low", "_high", "_sd")),
    *("paper_mint_accuracy", "paper_audited_accuracy"),
    *("members", "external", "judged_members", "judged_non_members", "judged_role"),
    *("judged_member_tracks", "judged_non_member_tracks"),
    *("audited_role", "epochs", "seeds", "data", "device", "seconds", "shadow_seconds", "runs"),
)
_NAMED = ("title", "model", "setup", "protocol", "recipe")


def rows(results: Results) -> pd.DataFrame:
    """Set the methods of each cell side by side, averaged over seeds.

    A cell holds runs that share images and training: every setting but those of the test itself
    (`averages.TESTING`), seed and profile. A head that would stand alone joins the others of its
    setup that were trained on the same finished model, whatever their recipes are called.

    Returns:
        The columns `COLUMNS`, a row per method and target of a cell: aMINT, passive, attacks,
        controls. `target` is empty where a method tests the model that it trains; `variant` tells
        apart several rows of one method, `cell_variant` several cells of one name.
    """
    table = over_seeds(results, results.runs)
    cells = table.groupby(keys(table, apart=TESTING), sort=False, dropna=False).ngroup()
    joined = _cells_with_lone_heads(table, cells)
    table = table.assign(cell=joined.rank(method="dense").astype(int))
    table["moved"] = joined != cells
    table["variant"] = _told_apart(table, table["moved"])
    order = sorted(table.index, key=lambda place: _order(table.loc[place]))
    table = table.loc[order].reset_index(drop=True)
    table["cell_variant"] = _cell_variants(table)
    methods = table["method"]
    table["group"], table["method_title"] = methods.map(method_group), methods.map(method_title)
    table["published_shadows"] = methods.map(published_shadows)
    place = ["dataset", "setup", "model", "method", "target"]
    printed = [paper.method_values(*row) for row in table[place].values]
    table["paper_mint_accuracy"] = pd.Series([mint for mint, _ in printed], dtype=float)
    table["paper_audited_accuracy"] = pd.Series([audited for _, audited in printed], dtype=float)
    return laid_out(table, COLUMNS)


def _cells_with_lone_heads(table: pd.DataFrame, cells: pd.Series) -> pd.Series:
    """Return the cells, lone heads put with the most tests of the same finished model.

    Args:
        table: as from `over_seeds`.
        cells: (N,) numbers of the cells before.
    """
    kinds = [METHODS[name].training if name in METHODS else None for name in table["method"]]
    found = table.assign(
        cell=cells,
        size=cells.map(cells.value_counts()),
        trunk=[kind and kind.starts_from and kind.starts_from.name for kind in kinds],
        # A model that a second stage follows is trained by another loop.
        stages=table["settings.head_epochs"] > 0,
    )
    heads = found[[kind is not None and kind.trains == "head" for kind in kinds]]
    apart = (*TESTING, *settings("head"), "settings.recipe")
    joined = cells.copy()
    for _, same in heads.groupby([*keys(heads, apart), "trunk", "stages"], dropna=False):
        fullest = same.loc[same["size"].idxmax(), "cell"]
        joined[same.index[same["size"] == 1]] = fullest
    return joined


def _told_apart(table: pd.DataFrame, moved: pd.Series) -> pd.Series:
    """Say what tells rows of one method in a cell apart, and a `moved` head from the cell."""
    told, shown_anyway = ("cell", "method", "target"), ("settings.method", "settings.target")
    # What a recipe sets says more than its name.
    found = variants(table, told, ignored=(*shown_anyway, "settings.recipe"))
    found = found.fillna(variants(table, told, ignored=shown_anyway))
    for place in table.index[moved & found.isna()]:
        row = table.loc[place]
        first = table[(table["cell"] == row["cell"]) & ~moved].iloc[0]
        differing = [name for name in settings("head") if str(row[name]) != str(first[name])]
        found[place] = ", ".join(
            f"{name.removeprefix('settings.')}={row[name]}"
            for name in differing or ["settings.recipe"]
        )
    return found


def compared(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the cells of two or more tests: title → rows."""
    cells = (cell for _, cell in table.groupby("cell", sort=False) if len(cell) > 1)
    return {cell_title(cell.iloc[0], "cell_variant"): cell for cell in cells}


def document(results: Results) -> Document:
    """Return the comparison for readers: a part per cell of two or more tests."""
    table = results.once(rows)
    cells = compared(table)
    parts = [Part(_caption(title, cell), _text(cell)) for title, cell in cells.items()]
    alone = table["cell"].nunique() - len(cells)
    text = _intro(table, results.profile, alone)
    return Document("comparison", "Comparison of methods", results.profile, text, parts)


def _cell_variants(table: pd.DataFrame) -> pd.Series:
    """Say what sets cells of one name apart; cells of one method alone count for themselves."""
    sizes = table.groupby("cell")["cell"].transform("size")
    # The settings of a cell are those of any of its rows, but for how membership is tested, and for
    # heads that came from another.
    heads = table.assign(alone=sizes == 1).sort_values("moved", kind="stable")
    heads = heads.drop_duplicates("cell").set_index("cell").sort_index()
    return table["cell"].map(variants(heads, (*_NAMED, "alone"), ignored=TESTING))


def _order(row: pd.Series) -> tuple[Any, ...]:
    group, place, name = method_order(row["method"])
    target = list(TARGETS).index(row["target"]) + 1 if row["target"] in TARGETS else 0
    return row["cell"], group, target, place, name, words(row["variant"])


def _intro(table: pd.DataFrame, profile: str, alone: int) -> str:
    text = (
        "methods on the same images. Accuracy at .5: the mean of the accuracy on members and on "
        "non-members at the paper's threshold (attacks: at the method's own); calibrated: at the "
        "threshold chosen on calibration images; in brackets 95 % intervals. TPR: true-positive "
        "rate, FPR: false-positive rate. Precision at 1 %: the share of members among the accused "
        "where 1 % of all images are members, at the threshold that metrics.json names "
        "(`precision_at_prior`). A dash: the images at hand cannot resolve it or leave everything "
        "open, the method has no such threshold, or it is no test. The paper's accuracies are at "
        "its own sizes and on other images; it states no model for its attacks and no setup for "
        "passive MINT. ± is the standard deviation of the AUC over seeds."
    )
    learn = [name for name, method in METHODS.items() if method.outsiders]
    if (table["method"].isin(learn) & (table["target"] == "active")).any():
        text += (
            " On the active model RMIA and gMINT take known non-members from calibration, as its "
            "head has learned from the external images that they take elsewhere."
        )
    if alone:
        text += f" Cells in which one method alone was run are in comparison.csv only: {alone}."
    return render.intro(profile, text, table, seeds=True)


def _caption(title: str, cell: pd.DataFrame) -> str:
    first = cell.iloc[0]
    controls = [name for name in METHODS if METHODS[name].group == "control"]
    missing = [method_title(name) for name in controls if name not in set(cell["method"])]
    text = (
        f"{title}: {render.count(first['members'])} members in training, "
        f"{render.count(first['judged_members'])} members and "
        f"{render.count(first['judged_non_members'])} non-members judged. "
    )
    if cell["judged_non_members"].nunique() > 1:
        text += (
            "Tests that read shadow models judge those non-members alone that these could be "
            f"trained on ({render.count(cell['judged_non_members'].min())}). "
        )
    text += f"Controls not run: {', '.join(missing)}." if missing else "All controls run."
    text += render.tracks(first)
    weak = [f"{row_title(row)} ({_shadows(row)})" for _, row in cell.iterrows() if is_weak(row)]
    if weak:
        text += f" Fewer shadow models than published; expect less power: {', '.join(weak)}."
    return text


def _shadows(row: pd.Series) -> str:
    """Write how many shadow models a test used, of how many in its paper."""
    if pd.isna(row["shadows"]):
        return ""
    return f"{row['shadows']}, paper {row['published_shadows']}"


def _text(cell: pd.DataFrame) -> pd.DataFrame:
    columns = {
        "Method": [row_title(row) for _, row in cell.iterrows()],
        "Group": cell["group"],
        "Accuracy at .5": with_intervals(cell, "mint_accuracy"),
        "Paper": cell["paper_mint_accuracy"].map(lambda value: short(value, digits=2)),
        "Calibrated": with_intervals(cell, "accuracy_calibrated"),
        "AUC": with_intervals(cell, "auc"),
        "TPR at 1 % FPR": with_intervals(cell, "tpr_at_1pct_fpr"),
        "TPR at 0.1 % FPR": with_intervals(cell, "tpr_at_01pct_fpr"),
        "Precision at 1 %": with_intervals(cell, "precision_at_1pct_prior"),
        "Precision at 10 %": with_intervals(cell, "precision_at_10pct_prior"),
        "Audited accuracy": with_intervals(cell, "audited_accuracy"),
        "Audited, paper": cell["paper_audited_accuracy"].map(lambda value: short(value, digits=2)),
        "Shadow models": [_shadows(row) for _, row in cell.iterrows()],
        "Seeds": render.seeds(cell),
    }
    text = pd.DataFrame(columns).reset_index(drop=True)
    rarely = ("Paper", "Audited, paper", "Shadow models")
    return text.drop(columns=[name for name in rarely if not text[name].any()])


TABLE = Table("comparison", rows, document)

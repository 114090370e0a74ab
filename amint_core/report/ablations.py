"""The ablation: what one thing, switched alone, does to MINT and to audited accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from amint_core.errors import ProtocolError
from amint_core.evaluation import paired
from amint_core.evaluation.metrics import Metric
from amint_core.report import compact
from amint_core.report.averages import averaged
from amint_core.report.collect import answers_of
from amint_core.report.compact import Document, Part
from amint_core.report.method_names import method_title
from amint_core.report.paired_tables import differences_of
from amint_core.report.style import model_title
from amint_core.report.switches import Switch, base_of, by_recipe, cells_of, shown, switches_of

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
Tables = dict[str, pd.DataFrame]


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
    rows = [row for cell in cells_of(runs) for row in _rows(cell, scores, answers)]
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


def _rows(cell: list[pd.DataFrame], scores: Tables, answers: Tables) -> list[dict[str, Any]]:
    """Return the rows of a cell: per recipe its base and what is switched of it."""
    recipes = by_recipe(cell)
    bases = [base_of(own) for own in recipes]
    rows = []
    for base, own in zip(bases, recipes, strict=True):
        switches = switches_of(base, [*own, *(other for other in bases if other is not base)])
        if switches:
            part = {"base_recipe": base["recipe"].iloc[0], "base_runs": "; ".join(base["run"])}
            rows.append(averaged(base, COLUMNS) | part)
        for group, switch in switches:
            row = averaged(group, COLUMNS) | _differences(group, base, scores, answers) | part
            values = {"base": shown(switch.base), "switched": shown(switch.switched)}
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
    cuts = pair["threshold_calibrated"], pair["threshold_calibrated_base"]
    return differences_of(both, cuts, paired.groups_of(own))


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

"""The ablation: what one thing, switched alone, does to MINT and to audited accuracy."""

from __future__ import annotations

from typing import Any

import pandas as pd

from amint_core.evaluation.seeds import interval_of_mean
from amint_core.report import render
from amint_core.report.averages import laid_out
from amint_core.report.names import method_title, model_title
from amint_core.report.read import Results, run_rows
from amint_core.report.registry import Table
from amint_core.report.render import Document, Part
from amint_core.report.switches import Switch, families, shown
from amint_core.report.tables.differences import differences_of

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


def rows(results: Results) -> pd.DataFrame:
    """Set every active run that differs from a base run in exactly one thing beside that base.

    What a base is, see `switches.families`. One thing is one setting, one defect more or less, or
    augmented copies with the transformations that make them. `_difference` is the mean over the
    seeds that both have (`matched_seeds`; where there are none, the difference of the means),
    `_difference_sd` its spread over them, `_difference_low` and `_difference_high` its 95 %
    interval over seeds (of one: the paired one; see `evaluation/seeds.py`): empty where a run's
    scores are not at hand, or where the switch changes which images are judged.

    Returns:
        The columns `COLUMNS`: per cell with such runs the base (empty `setting`), then a row per
        switched thing. No rows where no run differs from a base in one thing.
    """
    runs = run_rows(results).set_index("run", drop=False)
    found: list[dict[str, Any]] = []
    for base, others in results.once(families):
        part = {"base_recipe": base["recipe"], "base_runs": base["runs"]}
        if others:
            found.append({**base, **part})
        for entry, switch in others:
            values = {"base": shown(switch.base), "switched": shown(switch.switched)}
            differences = _differences(entry, base, runs, results)
            found.append({**entry, **differences, **part, "setting": switch.setting, **values})
    return laid_out(pd.DataFrame(found), COLUMNS)


def document(results: Results) -> Document:
    """Return the ablation for readers: a part per base run."""
    table = results.once(rows)
    names = ["dataset", "title", "model", "setup", "protocol", "base_recipe", "base_runs"]
    parts = [
        Part(_caption(of_base.iloc[0]), _text(of_base))
        for _, of_base in table.groupby(names, sort=False, dropna=False)
    ]
    text = (
        "one thing switched at a time. In parentheses the difference to the base, over the seeds "
        "that both have, with its 95 % interval: of one seed the paired one, which tells how far "
        "other images would change it, not another training; of several over seeds. The interval "
        "is left out of the accuracy at .5, where the judged images are not the same, and where "
        "the scores are not at hand. ± is the standard deviation of the AUC over seeds. MINT "
        "accuracy is taken at probability .5, calibrated at the threshold chosen on calibration "
        "images."
    )
    if not parts:
        text = "no active run differs from a base run in exactly one thing."
    text = render.intro(results.profile, text, table)
    return Document("ablation", "Ablation", results.profile, text, parts)


def _differences(
    entry: pd.Series, base: pd.Series, runs: pd.DataFrame, results: Results
) -> dict[str, Any]:
    one, two = (runs.loc[names.split("; ")] for names in (entry["runs"], base["runs"]))
    both = one.merge(two, on="seed", suffixes=("", "_base"))
    row: dict[str, Any] = {"matched_seeds": len(both)}
    for name in MEASURED:
        each = both[name] - both[f"{name}_base"]
        of_means = entry[name] - base[name]
        row[f"{name}_difference"] = each.mean(skipna=False) if len(both) else of_means
        row[f"{name}_difference_sd"] = each.std(skipna=False)
    found = [
        differences_of(runs.loc[pair["run"]], runs.loc[pair["run_base"]], results)
        for _, pair in both.iterrows()
    ]
    for name in PAIRED:
        known = found and all(name in one for one in found)
        parts = [[one[name][part] for one in found] for part in ("value", *_ENDS)] if known else []
        ends = interval_of_mean(*parts) if known else (None, None)
        row |= {f"{name}_difference_{end}": at for end, at in zip(_ENDS, ends, strict=True)}
    return row


def _caption(row: pd.Series) -> str:
    return (
        f"{row['title']} · {model_title(row['model'])} · {row['setup']}, {method_title('active')}, "
        f"base: recipe {row['base_recipe']}, {row['protocol']} protocol, "
        f"{row['members']:,} members."
    )


def _title(row: pd.Series) -> str:
    if pd.isna(row["setting"]):
        return "– (base)"
    text = str(Switch(row["setting"], row["base"], row["switched"]))
    return text if row["recipe"] == row["base_recipe"] else f"{text} (recipe {row['recipe']})"


def _text(of_base: pd.DataFrame) -> pd.DataFrame:
    columns = {"Switched": [_title(row) for _, row in of_base.iterrows()]}
    for name, heading in MEASURED.items():
        parts = [name, f"{name}_difference", *(f"{name}_difference_{end}" for end in _ENDS)]
        values = of_base.reindex(columns=parts).itertuples(index=False)
        columns[heading] = [render.changed(*row) for row in values]
    return pd.DataFrame(columns | {"Seeds": render.seeds(of_base)})


# Its paired intervals follow from scores.
TABLE = Table("ablation", rows, document, of_scores=True)

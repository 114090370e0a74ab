"""The weight of membership: what λ buys in MINT and costs in audited accuracy."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from amint_core.config import settings_of
from amint_core.recipes import defects_of
from amint_core.report import render
from amint_core.report.averages import ATTACK, keys, laid_out, over_seeds, variants, within
from amint_core.report.names import cell_title
from amint_core.report.read import PARTS, Results, run_rows
from amint_core.report.registry import Table
from amint_core.report.render import Document, Part, with_intervals

#: Measures of the table, with their headings.
MEASURED = {
    "auc": "AUC",
    "accuracy_calibrated": "Calibrated",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
    "audited_accuracy": "Audited accuracy",
}
_PARTS = ("", "_low", "_high", "_sd")
#: Columns of lambda.csv, in order.
COLUMNS = (
    *("curve", "title", "dataset", "model", "setup", "protocol", "recipe", "variant"),
    "lambda_mint",
    *(f"{name}{suffix}" for name in MEASURED for suffix in _PARTS),
    *(f"plain_audited_accuracy{part}" for part in _PARTS),
    *("audited_accuracy_difference", "matched_seeds", "plain_seeds"),
    *("members", "external", "judged_members", "judged_non_members", "judged_role"),
    *("judged_member_tracks", "judged_non_member_tracks"),
    *("epochs", "seeds", "data", "runs", "plain_runs"),
)
_LAMBDA = "settings.lambda_mint"
#: Settings in which the points of a curve may differ.
_APART = (*ATTACK, _LAMBDA)


def rows(results: Results) -> pd.DataFrame:
    """Set active runs that differ in λ (`lambda_mint`) alone in a row, averaged over seeds.

    `plain_` is the same model trained alone, on the same images, with the settings that it shares
    with the active ones; empty where it was not run. `audited_accuracy_difference` is active minus
    plain, the mean over the seeds that both have (`matched_seeds`).

    Returns:
        The columns `COLUMNS`: per curve of two or more λ a row for each, from small to large. No
        rows where no two active runs differ in λ alone.
    """
    active = results.runs[results.runs["method"] == "active"]
    table = over_seeds(results, active, apart=ATTACK)
    curves = table.groupby(keys(table, apart=_APART), sort=False, dropna=False)
    table = table[curves[_LAMBDA].transform("nunique") > 1] if len(table) else table
    table = table.assign(curve=pd.factorize(curves.ngroup()[table.index])[0] + 1)
    heads = table.drop_duplicates("curve").set_index("curve")
    named = variants(heads, ("title", "model", "setup", "protocol", "recipe"), ignored=_APART)
    table = table.assign(
        variant=table["curve"].map(named), lambda_mint=table[_LAMBDA].astype(float)
    )
    table = table.sort_values(["curve", "lambda_mint"], kind="stable")
    alone = [
        _alone(row, table[table["curve"] == row["curve"]], results) for _, row in table.iterrows()
    ]
    return laid_out(table.join(pd.DataFrame(alone, index=table.index)), COLUMNS)


def named_curves(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the curves: title → rows."""
    return {cell_title(rows.iloc[0]): rows for _, rows in table.groupby("curve", sort=False)}


def document(results: Results) -> Document:
    """Return the curves for readers: a part per curve."""
    table = results.once(rows)
    parts = [
        Part(_caption(title, points), _text(points))
        for title, points in named_curves(table).items()
    ]
    text = (
        "active runs that differ in λ alone, the weight of the MINT loss beside the audited "
        "model's own (settings lambda_mint and lambda_audited). In brackets 95 % intervals, in "
        "parentheses the difference to the same model trained alone, over the seeds that both "
        "have; ± is the standard deviation of the AUC over seeds."
    )
    if not parts:
        text = "no two active runs differ in λ alone."
    text = render.intro(results.profile, text, table)
    return Document("lambda", "The weight of membership", results.profile, text, parts)


def _alone(row: pd.Series, curve: pd.DataFrame, results: Results) -> dict[str, Any]:
    """Return the plain models that the runs of a curve would share, set beside one of its rows."""
    twins = results.once(_twins)
    runs = results.once(run_rows).set_index("run", drop=False)
    of_curve = {name for names in curve["runs"] for name in names.split("; ")}
    plain = runs[(runs["method"] == "plain") & twins.isin(twins[list(of_curve)])]
    plain = plain.drop_duplicates("seed")
    both = runs.loc[row["runs"].split("; ")].merge(plain, on="seed", suffixes=("", "_plain"))
    each = both["audited_accuracy"] - both["audited_accuracy_plain"]
    parts = {f"audited_accuracy{part}": name for name, part in PARTS.items()}
    low, high = within(plain.rename(columns=parts)) if len(plain) else (None, None)
    return {
        "plain_audited_accuracy": plain["audited_accuracy"].mean(skipna=False),
        "plain_audited_accuracy_low": low,
        "plain_audited_accuracy_high": high,
        "plain_audited_accuracy_sd": plain["audited_accuracy"].std(skipna=False),
        "plain_seeds": len(plain) or pd.NA,
        "plain_runs": "; ".join(plain["run"]) or None,
        "audited_accuracy_difference": each.mean(skipna=False),
        "matched_seeds": len(both),
    }


def _twins(results: Results) -> pd.Series:
    """Return run id → what the model trained alone depends on, the seed included, as text."""
    apart = {"defects", *settings_of("averaged")} - {"seed"}
    names = [name for name in settings_of("data", "model") if name not in apart]
    defects = set(defects_of("data", "model"))
    return pd.Series(
        {
            run["run"]: str(
                [
                    *run[["fingerprint", "audited_role", *(f"settings.{name}" for name in names)]],
                    sorted(defects & set(json.loads(run["settings.defects"]))),
                ]
            )
            for _, run in results.runs.iterrows()
        }
    )


def _caption(title: str, points: pd.DataFrame) -> str:
    first = points.iloc[0]
    text = f"{title}: {render.count(first['members'])} members, {first['epochs']} epochs. "
    if pd.isna(first["plain_audited_accuracy"]):
        text += "The model alone was not run."
    else:
        parts = [first[f"plain_audited_accuracy{part}"] for part in ("", "_low", "_high")]
        value, seeds = render.measured(*parts), first["plain_seeds"]
        text += f"The model trained alone: {value}, seeds: {seeds}."
    return text + render.tracks(first)


def _text(points: pd.DataFrame) -> pd.DataFrame:
    columns = {"λ": [f"{value:g}" for value in points["lambda_mint"]]}
    for name, heading in MEASURED.items():
        columns[heading] = with_intervals(points, name)
    differences = points["audited_accuracy_difference"].map(render.signed)
    columns[MEASURED["audited_accuracy"]] = [
        f"{text} ({difference})" if difference else text
        for text, difference in zip(columns[MEASURED["audited_accuracy"]], differences, strict=True)
    ]
    return pd.DataFrame(columns | {"Seeds": render.seeds(points)})


TABLE = Table("lambda", rows, document)

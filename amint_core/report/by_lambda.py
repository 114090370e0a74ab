"""The weight of membership: what λ buys in MINT and costs in audited accuracy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from amint_core.report import compact
from amint_core.report.averages import (
    AVERAGED,
    COUNTS,
    UNRELATED,
    averaged,
    groups,
    name_variants,
    one_per_seed,
)
from amint_core.report.collect import read_metrics
from amint_core.report.compact import Document, Part
from amint_core.report.style import BLACK, BLUE, GREEN, SKY, foot, headed, run_title, styled
from amint_core.settings import create
from amint_core.training.store import training_settings

#: Measures of the table, with their headings.
MEASURED = {
    "auc": "AUC",
    "accuracy_calibrated": "Calibrated",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
    "audited_accuracy": "Audited accuracy",
}
_PARTS = ("", "_low", "_high", "_sd")
_AUDITED = tuple(f"audited_accuracy{part}" for part in _PARTS)
#: Columns of lambda.csv, in order.
COLUMNS = (
    *("curve", "title", "dataset", "model", "setup", "protocol", "recipe", "variant"),
    "lambda_mint",
    *(f"{name}{suffix}" for name in MEASURED for suffix in _PARTS),
    *(f"plain_{name}" for name in _AUDITED),
    *("audited_accuracy_difference", "matched_seeds", "plain_seeds"),
    *("members", "external", "judged_members", "judged_non_members", "judged_role"),
    *("judged_member_tracks", "judged_non_member_tracks"),
    *("epochs", "seeds", "data", "runs", "plain_runs"),
)
_LAMBDA = "settings.lambda_mint"
_PLACE = ("title", "model", "setup", "protocol", "recipe")
#: What the left panel of the figure shows, with its colour.
_MINT = {"auc": BLUE, "accuracy_calibrated": SKY}


def lambda_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Set active runs that differ in λ (`lambda_mint`) alone in a row.

    `plain_` is the same model trained alone, on the same images, with the settings that it shares
    with the active ones; empty where it was not run. `audited_accuracy_difference` is active minus
    plain, the mean over the seeds that both have (`matched_seeds`).

    Args:
        runs: as from `read_runs`.

    Returns:
        The columns `COLUMNS`: per curve of two or more λ a row for each, from small to large,
        averaged over seeds. No rows where no two active runs differ in λ alone.
    """
    plain = runs[runs["method"] == "plain"].copy()
    plain["twin"] = [_twin(run) for _, run in plain.iterrows()]
    active = runs[runs["method"] == "active"]
    curves = [
        _points(curve, plain)
        for curve in groups(active, (*AVERAGED, *UNRELATED, _LAMBDA))
        if curve[_LAMBDA].nunique() > 1
    ]
    # What sets curves apart is what sets the first points of them apart.
    heads = [dict(rows[0]) for rows in curves]
    name_variants(heads, _PLACE, ignored=(*UNRELATED, _LAMBDA))
    rows = [
        row | {"curve": number, "variant": head["variant"]}
        for number, (points, head) in enumerate(zip(curves, heads, strict=True), 1)
        for row in sorted(points, key=lambda row: row["lambda_mint"])
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = [name for name in (*COUNTS, "matched_seeds", "plain_seeds") if name in table]
    return table.astype(dict.fromkeys(counts, "Int64"))


def document(table: pd.DataFrame, profile: str) -> Document:
    """Return the curves for readers: a part per curve.

    Args:
        table: as from `lambda_curves`.
    """
    parts = [
        Part(_caption(title, rows) + compact.tracks(rows.iloc[0]), _text(rows))
        for title, rows in _curves(table)
    ]
    intro = (
        f"Profile {profile}: active runs that differ in λ alone, the weight of the MINT loss "
        "beside the audited model's own (settings lambda_mint and lambda_audited). In brackets "
        "95 % intervals, in parentheses the difference to the same model trained alone, over the "
        "seeds that both have; ± is the standard deviation of the AUC over seeds."
    )
    if (table["data"] == "STAND-IN").any():
        intro += f" {compact.STANDIN}"
    return Document("lambda", "The weight of membership", profile, intro, parts)


@styled
def lambda_figure(table: pd.DataFrame, profile: str) -> Figure:
    """Draw MINT and audited accuracy against λ with 95 % intervals, a row of panels per curve.

    A λ of 0 has no place on a logarithmic axis and is left to the table.

    Args:
        table: as from `lambda_curves`; it must not be empty.
    """
    curves = dict(_curves(table))
    size = (10, 2.9 * len(curves) + 1.2)
    figure, grid = plt.subplots(len(curves), 2, figsize=size, squeeze=False)
    headed(figure, f"What λ buys and costs: profile {profile}")
    for (title, rows), (left, right) in zip(curves.items(), grid, strict=True):
        for name, color in _MINT.items():
            _line(left, rows, name, color)
        _line(right, rows, "audited_accuracy", GREEN)
        _alone(right, rows)
        left.set(title=title, ylabel="MINT", xlabel="λ (lambda_mint)", xscale="log")
        right.set(ylabel="audited accuracy", xlabel="λ (lambda_mint)", xscale="log")
    colors = {**_MINT, "audited_accuracy": GREEN}
    names = {"accuracy_calibrated": "calibrated MINT accuracy"}
    handles = [
        Line2D([], [], color=color, marker="o", label=names.get(name, MEASURED[name]))
        for name, color in colors.items()
    ]
    if table["plain_audited_accuracy"].notna().any():
        handles.append(Line2D([], [], label="the model trained alone", **_ALONE))
    foot(figure, handles, curves, "95 % intervals; dots are means over seeds. ")
    return figure


_ALONE = {"color": BLACK, "linewidth": 1.2, "linestyle": "--"}


def _twin(run: pd.Series) -> str:
    """Return what the model alone depends on: equal for runs whose plain models are the same."""
    metrics = read_metrics(run["path"] / "metrics.json")
    settings = training_settings(create(**metrics["run"]["settings"]), "plain")
    data = metrics["data"]
    asked = run["audited_role"]
    return json.dumps([settings, data["fingerprint"], data["split"], asked], sort_keys=True)


def _points(curve: pd.DataFrame, plain: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row per λ of a curve, with the plain models that its runs would share."""
    twins = one_per_seed(plain[plain["twin"].isin([_twin(run) for _, run in curve.iterrows()])])
    alone = averaged(twins, ()) if len(twins) else {"seeds": pd.NA, "runs": None}
    told = {
        **{f"plain_{name}": alone.get(name, np.nan) for name in _AUDITED},
        **{f"plain_{name}": alone[name] for name in ("seeds", "runs")},
    }
    return [
        _row(one_per_seed(group), twins) | told for group in groups(curve, (*AVERAGED, *UNRELATED))
    ]


def _row(group: pd.DataFrame, twins: pd.DataFrame) -> dict[str, Any]:
    both = group.merge(twins, on="seed", suffixes=("", "_plain"))
    each = both["audited_accuracy"] - both["audited_accuracy_plain"]
    return averaged(group, COLUMNS) | {
        "lambda_mint": float(group[_LAMBDA].iloc[0]),
        "audited_accuracy_difference": each.mean(skipna=False) if len(both) else np.nan,
        "matched_seeds": len(both),
    }


def _curves(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for _, rows in table.groupby("curve", sort=False):
        first = rows.iloc[0]
        title = f"{run_title(first['title'], first['model'], first['setup'])} · {first['recipe']}"
        title += "" if first["protocol"] == "strict" else f" · {first['protocol']} protocol"
        variant = first["variant"]
        yield f"{title} ({variant})" if isinstance(variant, str) else title, rows


def _caption(title: str, rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    text = f"{title}: {compact.count(first['members'])} members, {first['epochs']} epochs. "
    if pd.isna(first["plain_audited_accuracy"]):
        return text + "The model alone was not run."
    value = compact.measured(*(first[f"plain_{name}"] for name in _AUDITED[:3]))
    return text + f"The model trained alone: {value}, seeds: {first['plain_seeds']}."


def _text(rows: pd.DataFrame) -> pd.DataFrame:
    columns = {"λ": [f"{value:g}" for value in rows["lambda_mint"]]}
    for name, heading in MEASURED.items():
        columns[heading] = [text or "–" for text in compact.with_intervals(rows, name)]
    differences = rows["audited_accuracy_difference"].map(compact.signed)
    columns[MEASURED["audited_accuracy"]] = [
        f"{text} ({difference})" if difference else text
        for text, difference in zip(columns[MEASURED["audited_accuracy"]], differences, strict=True)
    ]
    columns["Seeds"] = [compact.seeds(row, "auc") for _, row in rows.iterrows()]
    return pd.DataFrame(columns)


def _line(axes: Axes, rows: pd.DataFrame, name: str, color: str) -> None:
    shown = rows[(rows["lambda_mint"] > 0) & rows[name].notna()]
    places, values = shown["lambda_mint"], shown[name]
    axes.plot(places, values, "o-", color=color, markersize=5)
    axes.vlines(places, shown[f"{name}_low"], shown[f"{name}_high"], color=color, linewidth=2.2)


def _alone(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw the accuracy of the model alone as a line, and its interval as a band."""
    value, low, high = (rows[f"plain_{name}"].iloc[0] for name in _AUDITED[:3])
    if not np.isnan(value):
        axes.axhline(value, **_ALONE)
        axes.axhspan(low, high, color=BLACK, alpha=0.08, linewidth=0)

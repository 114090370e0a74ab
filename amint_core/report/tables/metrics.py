"""The metrics of one run beside the paper's values, as its notebook shows them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from amint_core.config import settings_of
from amint_core.report import paper
from amint_core.report.checked import MEASURES, at
from amint_core.report.names import entry_title, run_title, setup_title
from amint_core.report.render import short
from amint_core.report.switches import shown

#: Rows of a run's table → their measures.
METRICS = {
    "MINT accuracy (probability .5)": "mint_accuracy",
    "MINT accuracy (calibrated threshold)": "accuracy_calibrated",
    "MINT AUC": "auc",
    "TPR at 1 % FPR": "tpr_at_1pct_fpr",
    "TPR at 0.1 % FPR": "tpr_at_01pct_fpr",
    "Precision where 1 % are members": "precision_at_1pct_prior",
    "Precision where 10 % are members": "precision_at_10pct_prior",
    "Audited accuracy": "audited_accuracy",
}


def metrics_table(metrics: dict[str, Any]) -> pd.DataFrame:
    """Put a run's metrics beside the paper's values.

    Args:
        metrics: as in metrics.json.

    Returns:
        A row per metric: `ours`, `95 % interval`, `paper` ("" where it has none) and, only
        where a metric has no value, `note`. The columns' name is the run's title.
    """
    settings = metrics["run"]["settings"]
    method, target = settings["method"], settings.get("target")
    place = settings["dataset"], setup_title(settings), settings["model"]
    mint, audited = paper.method_values(*place, method, target)
    papers = {"MINT accuracy (probability .5)": mint, "Audited accuracy": audited}
    found = {name: at(metrics, MEASURES[measure]) for name, measure in METRICS.items()}
    # Runs made before a metric existed do not have it.
    rows = [_metric(name, found[name], papers.get(name)) for name in METRICS if found[name]]
    title = run_title(metrics["data"]["title"], settings["model"], setup_title(settings))
    title += "" if method == "active" else f" · {entry_title(method, target)}"
    table = pd.DataFrame(rows).set_index("metric").rename_axis(columns=title)
    return table.drop(columns=[name for name in ("note",) if not table[name].any()])


#: What runs side by side are compared in: column → measure.
_COMPARED = {
    "MINT accuracy at .5": "mint_accuracy",
    "calibrated": "accuracy_calibrated",
    "AUC": "auc",
    "TPR at 1 % FPR": "tpr_at_1pct_fpr",
    "audited accuracy": "audited_accuracy",
}


def side_by_side(metrics: dict[str, Any], *others: dict[str, Any]) -> pd.DataFrame:
    """Put runs that differ from a first one in some settings into one table.

    Args:
        metrics: as in metrics.json, of the first run.
        others: the same of the others.

    Returns:
        A row per run, named after its method and what else differs; its columns are texts. A dash
        stands where a run has no such number.
    """
    first = metrics["run"]["settings"]
    rows = {}
    for one in (metrics, *others):
        name = _beside(first, one["run"]["settings"])
        rows[name] = {
            column: short((at(one, MEASURES[measure]) or {}).get("value")) or "–"
            for column, measure in _COMPARED.items()
        }
    title = run_title(metrics["data"]["title"], first["model"], setup_title(first))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(columns=title)


def _beside(first: dict[str, Any], settings: dict[str, Any]) -> str:
    """Name a run's method and the settings, of those that make a model, that `first` lacks."""
    differing = [
        name
        for name in settings_of("data", "model", "head")
        if settings.get(name) != first.get(name)
    ]
    title = entry_title(settings["method"], settings.get("target"))
    values = (f"{name} = {shown(settings.get(name))}" for name in differing)
    return ", ".join([title, *values])


def _metric(name: str, measure: dict[str, Any], printed: float | None) -> dict[str, str]:
    bounds = measure.get("low"), measure.get("high")
    return {
        "metric": name,
        "ours": short(measure["value"]) or "–",
        "95 % interval": "" if None in bounds else f"{short(bounds[0])} to {short(bounds[1])}",
        "paper": short(printed, digits=2),
        "note": measure.get("reason") or "",
    }

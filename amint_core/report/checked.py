"""A run's metrics.json, checked: every part that a table or a figure reads is there, and is what it
should be. Anyone may have written the file.
"""

from __future__ import annotations

import math
from numbers import Real
from pathlib import Path
from typing import Any

from amint_core.config import RunConfig
from amint_core.errors import ResultsError
from amint_core.locations import shown
from amint_core.store import run_json

#: Measure → its place in metrics.json, each {value, low, high}.
MEASURES = {
    "mint_accuracy": "mint.accuracy",
    "audited_accuracy": "audited.accuracy",
    "accuracy_calibrated": "mint.accuracy_calibrated",
    "auc": "mint.auc",
    "tpr_at_1pct_fpr": "mint.tpr_at_fpr.0.01",
    "tpr_at_01pct_fpr": "mint.tpr_at_fpr.0.001",
    "precision_at_1pct_prior": "mint.precision_at_prior.0.01",
    "precision_at_10pct_prior": "mint.precision_at_prior.0.1",
}
#: Measures that runs made before they existed do not have.
LATER = ("precision_at_1pct_prior", "precision_at_10pct_prior")
#: What is measured on transformed images, too: measure → place in an entry of `transformations`.
TRANSFORMED = {
    "auc": "auc",
    "accuracy_calibrated": "accuracy_calibrated",
    "tpr_at_1pct_fpr": "tpr_at_fpr.0.01",
}
#: What a run was, but for its settings: column → place in metrics.json.
FACTS = {
    "run": "run.id",
    "dataset": "run.settings.dataset",
    "title": "data.title",
    "setup": "run.settings.setup",
    "model": "run.settings.model",
    "method": "run.settings.method",
    "target": "run.settings.target",
    "protocol": "run.settings.protocol",
    "recipe": "run.settings.recipe",
    "seed": "run.settings.seed",
    "source": "data.source",
    "fingerprint": "data.fingerprint",
    "members": "data.sizes.members",
    "external": "data.sizes.external",
    "judged_members": "mint.judged.members",
    "judged_non_members": "mint.judged.non_members",
    "judged_member_tracks": "mint.judged.tracks.members",
    "judged_non_member_tracks": "mint.judged.tracks.non_members",
    "judged_role": "mint.judged.role",
    "audited_role": "audited.role",
    "threshold_calibrated": "mint.threshold_calibrated",
    "epochs": "training.epochs",
    "best_epoch": "training.best_epoch",
    "seconds": "training.seconds",
    "shadows": "training.shadows.count",
    "shadow_seconds": "training.shadows.seconds",
    "device": "training.device",
    "hardware": "training.hardware",
    "audited_parameters": "training.parameters.audited",
    "head_parameters": "training.parameters.head",
}
#: Facts without which a run cannot stand in a table.
NEEDED = ("run", "dataset", "title", "setup", "model", "method", "protocol", "seed", "source")
#: Facts that are whole numbers, and those that are numbers; the others are texts.
_COUNTS = ("seed", "members", "external", "epochs", "best_epoch", "shadows")
_COUNTS += ("judged_members", "judged_non_members")
_COUNTS += ("judged_member_tracks", "judged_non_member_tracks")
_COUNTS += ("audited_parameters", "head_parameters")
_NUMBERS = ("seconds", "shadow_seconds", "threshold_calibrated")
_LONGEST = 1000  # characters of a text
PARTS = {"value": "", "low": "_low", "high": "_high"}


def read_metrics(source: Path | str) -> dict[str, Any]:
    """Read a run's metrics.json and check that a table can be made of it.

    Raises:
        ResultsError: the file is missing, damaged or lacks a part; the message names both.
    """
    source = Path(source)
    metrics = run_json(source)
    for place in (FACTS[name] for name in NEEDED):
        if at(metrics, place) is None:
            raise damaged(source, f"lacks {place}")
    for name, place in FACTS.items():
        _check_fact(name, at(metrics, place), place, source)
    _check_settings(metrics["run"]["settings"], source)
    for name, place in MEASURES.items():
        measure = at(metrics, place)
        if measure is not None or name not in LATER:
            _check_measure(measure, place, source)
    transformed = metrics.get("transformations") or {}
    if not isinstance(transformed, dict):
        raise damaged(source, "has transformations that are no table of names")
    for name, entry in transformed.items():
        if not is_text(name):
            raise damaged(source, f"has transformations.{name!r}, which is no name")
        for place in TRANSFORMED.values():
            _check_measure(at(entry, place), f"transformations.{name}.{place}", source)
    if metrics["data"]["source"] == "standin" and "STAND-IN" not in metrics["data"]["title"]:
        raise damaged(source, "holds a stand-in whose data.title does not say STAND-IN")
    return metrics


def at(metrics: Any, place: str) -> Any:
    """Return what stands at a dotted place, or None; a key such as "0.01" may hold a dot itself."""
    if not place:
        return metrics
    if not isinstance(metrics, dict):
        return None
    parts = place.split(".")
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        if key in metrics:
            return at(metrics[key], ".".join(parts[length:]))
    return None


def _check_measure(measure: Any, place: str, source: Path) -> None:
    if not isinstance(measure, dict) or "value" not in measure:
        raise damaged(source, f"lacks {place}.value")
    for part in PARTS:
        value = measure.get(part)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            raise damaged(source, f"has {place}.{part} = {in_short(value)}, which is no number")
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise damaged(source, f"has {place}.{part} = {value!r}, which is no fraction")


def damaged(source: Path, what: str) -> ResultsError:
    """Return the error of a run's file that is not what a run writes."""
    return ResultsError(
        f"{shown(source)} {what}. Delete {shown(source.parent)} and run it again to write it anew."
    )


def _check_fact(name: str, value: Any, place: str, source: Path) -> None:
    if value is None:
        return
    if name in _COUNTS:
        fits, kind = type(value) is int and 0 <= value < 2**63, "no count"
    elif name in _NUMBERS:
        fits, kind = is_number(value), "no number"
    else:
        fits, kind = is_text(value), "no text of one line"
    if not fits:
        raise damaged(source, f"has {place} = {in_short(value)}, which is {kind}")
    if name == "source" and value not in ("real", "standin"):
        raise damaged(source, f"has {place} = {value!r}, which is neither 'real' nor 'standin'")


def _check_settings(settings: Any, source: Path) -> None:
    """Refuse settings that no run has: a known one of another type, or an unknown one of any."""
    if not isinstance(settings, dict):
        raise damaged(source, "has run.settings that are no table of names")
    for name, value in settings.items():
        field = RunConfig.model_fields.get(name)
        default = None if field is None or field.is_required() else field.default
        if not is_text(name) or not _is_like(value, default):
            raise damaged(source, f"has the setting {name!r} = {in_short(value)}")


def _is_like(value: Any, default: Any) -> bool:
    """Tell whether a setting's value is of its default's type; a default of None fits any."""
    if isinstance(default, tuple):
        return isinstance(value, list) and all(map(is_text, value))
    if default is None:
        parts = value if isinstance(value, list) else [value]
        return all(
            part is None or isinstance(part, bool) or is_text(part) or is_number(part)
            for part in parts
        )
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, str):
        return is_text(value)
    return is_number(value) and (isinstance(default, float) or type(value) is int)


def is_number(value: Any) -> bool:
    """Tell whether a value is a number that a table can show."""
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and math.isfinite(value) and abs(value) < 2**63


def is_text(value: Any) -> bool:
    """Tell whether a value is a text that can be printed in a line of a table."""
    return isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST


def in_short(value: Any) -> str:
    """Return what an error shows of a value."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:79]}…"

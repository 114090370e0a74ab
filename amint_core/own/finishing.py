"""What `fit` and `attach` end with: the model in its folder with its card, found there again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from amint_core import provenance
from amint_core.audit.auditable import AuditableModel, auditable
from amint_core.audit.model_folder import MANIFEST, TIMM, load, save
from amint_core.audit.preprocessing import Preprocessing
from amint_core.config import RunConfig
from amint_core.errors import AmintError, ModelError
from amint_core.files import atomic_path
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.model.zoo import timm_any
from amint_core.own import card, code
from amint_core.own.deal import Roles
from amint_core.store import read_sealed, remove
from amint_core.training.repeatable import repeatable

#: The training's epochs, beside the model.
HISTORY = "history.csv"
#: In a card: digest of the weights that the training began from.
BEGAN_FROM = "began_from"
#: So many members are scored for the folder, as known ones; more would only take time.
MOST_MEMBERS = 2_000


def finished(
    place: Path | None, made_of: dict[str, Any], enhanced: EnhancedAuditedModel
) -> AuditableModel | None:
    """Return what the same call has left in a folder before; None where it has not."""
    if place is None or not all((place / name).is_file() for name in (MANIFEST, HISTORY)):
        return None
    try:
        told = read_sealed(place / MANIFEST)["card"].get("made_of")
        if told != made_of:
            return None
        found = load(place, model=enhanced.audited)
    except (AmintError, KeyError, AttributeError, TypeError):  # damaged, or something else's
        return None
    print(f"Already trained with this code, settings and data: loaded {place.name}.")
    return found


def is_told_of(card: Mapping[str, Any], roles: Roles, settings: RunConfig) -> bool:
    """Tell whether a finished model's card and reference are of these images, labels and groups,
    and of these views: not all of them does a training depend on."""
    return card.get("told_of") == _told_of(roles, settings)


def told_anew(
    made: AuditableModel,
    roles: Roles,
    settings: RunConfig,
    verb: str,
    made_of: dict[str, Any],
    place: Path,
) -> AuditableModel:
    """Return a finished model, its reference and card made anew where they are of other images."""
    if is_told_of(made.card, roles, settings):
        return made
    history, start = pd.read_csv(place / HISTORY), made.card.get(BEGAN_FROM, "")
    given = made.enhanced, roles, settings, verb, made_of, history, place
    return handed_out(*given, start=start, hardware=made.card.get("hardware", "unknown"))


def _told_of(roles: Roles, settings: RunConfig) -> dict[str, str]:
    found, dataset = {"views": settings.views}, roles.dataset
    for role in ("members", "calibration", "holdout"):
        rows = roles.rows[role]
        parts = dataset.hashes[rows], dataset.labels[rows], dataset.groups[rows]
        found[role] = hashlib.sha256(b"".join(one.tobytes() for one in parts)).hexdigest()
    return found


def handed_out(
    enhanced: EnhancedAuditedModel,
    roles: Roles,
    settings: RunConfig,
    verb: str,
    made_of: dict[str, Any],
    history: pd.DataFrame,
    place: Path | None,
    alone: nn.Module | None = None,
    start: str = "",
    hardware: str = "",
) -> AuditableModel:
    """Make a trained model ready for audits, write its card and its folder.

    Args:
        alone: the classifier that was trained without the head, for the price; None: there is none.
        start: digest of the weights that its training began from; "": not known.
        hardware: what trained it; "": this machine, just now.
    """
    how = roles.preprocessing
    strangers = roles.pixels("calibration")
    members = roles.dataset.pixels[roles.some("members", MOST_MEMBERS)]
    name = timm_name(enhanced.audited, how)
    made = auditable(enhanced, how, strangers, members, views=settings.views, architecture=name)
    example = torch.zeros(2, how.channels, how.height, how.width)
    told = {
        "verb": verb,
        "images": {role: len(rows) for role, rows in roles.rows.items()},
        **card.figures(made, roles),
        "price": {
            **card.price(enhanced, example, joint=verb == "fit"),
            "seconds": round(float(history["seconds"].sum()), 1),
        },
        "epochs": len(history),
        "seed": settings.seed,
        "hardware": hardware or _hardware(enhanced, settings),
        "made_of": made_of,
        **({BEGAN_FROM: start} if start else {}),
        "told_of": _told_of(roles, settings),
        "classes": list(roles.dataset.class_names),
    }
    if alone is not None:
        told["price"][card.ACCURACY_LOST] = card.accuracy_lost(made, alone, roles)
    made = replace(made, card=told)
    if place is not None:
        remove(place / HISTORY)  # an earlier model's; without one the folder is not `finished`
        save(made, place)
        with atomic_path(place / HISTORY) as temporary:
            history.to_csv(temporary, index=False)
    return made


def _hardware(enhanced: EnhancedAuditedModel, settings: RunConfig) -> str:
    """Name what trained the model: a replay of its training needs another of that kind."""
    with repeatable(settings.cpu_threads):
        return provenance.hardware(next(enhanced.parameters()).device)


def timm_name(audited: nn.Module, how: Preprocessing) -> str:
    """Return the name under which timm builds this very model again; "" where it does not."""
    told = getattr(audited, "pretrained_cfg", None)
    name = told.get("architecture", "") if isinstance(told, Mapping) else ""
    classes = getattr(audited, "num_classes", 0)
    if not name or not classes:
        return ""
    try:
        with torch.random.fork_rng():
            built = timm_any.build(name, how.channels, how.height, classes)
    except ModelError:
        return ""
    return TIMM + name if code.digest(built) == code.digest(audited) else ""

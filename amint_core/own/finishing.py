"""What `fit` and `attach` share: the model with its head, and the folder in the end."""

from __future__ import annotations

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
from amint_core.files import atomic_path, read_json
from amint_core.model.mint import EnhancedAuditedModel, enhance
from amint_core.model.zoo import timm_any
from amint_core.own import card, code
from amint_core.own.deal import Roles
from amint_core.own.taps import find_taps
from amint_core.training.device import repeatable

#: So many members are scored for the folder, as known ones; more would only take time.
MOST_MEMBERS = 2_000


def headed(
    model: nn.Module, roles: Roles, taps: list[str] | str, settings: RunConfig
) -> EnhancedAuditedModel:
    """Give a model its head, no larger than the model itself, with weights that follow from the
    seed."""
    how = roles.preprocessing
    device = next(model.parameters()).device
    example = torch.zeros(2, how.channels, how.height, how.width, device=device)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        named = find_taps(model, example) if taps == "auto" else _as_list(taps)
        enhanced = enhance(model, named, example, settings.head, width="fit")
    return enhanced.to(device)


def _as_list(taps: list[str] | str) -> list[str]:
    return [taps] if isinstance(taps, str) else list(taps)


def finished(
    place: Path | None, made_of: dict[str, Any], enhanced: EnhancedAuditedModel
) -> AuditableModel | None:
    """Return what the same call has left in a folder before; None where it has not."""
    if place is None or not (place / MANIFEST).is_file():
        return None
    try:
        told = read_json(place / MANIFEST)["card"].get("made_of")
        if told != made_of:
            return None
        found = load(place, model=enhanced.audited)
    except (AmintError, KeyError, AttributeError):  # damaged, or of something else: made again
        return None
    print(f"Already trained with this code, settings and data: loaded {place.name}.")
    return found


def handed_out(
    enhanced: EnhancedAuditedModel,
    roles: Roles,
    settings: RunConfig,
    verb: str,
    made_of: dict[str, Any],
    history: pd.DataFrame,
    place: Path | None,
) -> AuditableModel:
    """Make a trained model ready for audits, write its card and its folder."""
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
        "hardware": _hardware(enhanced, settings),
        "made_of": made_of,
    }
    made = replace(made, card=told)
    if place is not None:
        save(made, place)
        with atomic_path(place / "history.csv") as temporary:
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

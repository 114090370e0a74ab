"""What `fit` and `attach` share: the model with its head, and the folder in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from amint_core.audit.auditable import AuditableModel, auditable
from amint_core.audit.model_folder import MANIFEST, load, save
from amint_core.config import RunConfig
from amint_core.errors import AmintError
from amint_core.files import atomic_path, read_json
from amint_core.model.mint import EnhancedAuditedModel, enhance
from amint_core.own import card
from amint_core.own.deal import Roles
from amint_core.own.taps import find_taps

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
    strangers, members = roles.pixels("calibration"), roles.pixels("members")[:MOST_MEMBERS]
    made = auditable(enhanced, how, strangers, members, views=settings.views)
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
        "made_of": made_of,
    }
    made = auditable_with(made, told)
    if place is not None:
        save(made, place)
        with atomic_path(place / "history.csv") as temporary:
            history.to_csv(temporary, index=False)
    return made


def auditable_with(model: AuditableModel, told: dict[str, Any]) -> AuditableModel:
    """Return the model with a card."""
    return AuditableModel(
        model.enhanced,
        model.preprocessing,
        model.calibration,
        model.members,
        model.views,
        model.architecture,
        told,
    )

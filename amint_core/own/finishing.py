"""What `fit` and `attach` share: the model with its head, and the folder in the end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from amint_core import provenance
from amint_core.audit.auditable import AuditableModel, auditable
from amint_core.audit.model_folder import MANIFEST, TIMM, load, require_own_folder, save
from amint_core.audit.preprocessing import Preprocessing
from amint_core.config import HEAD_WIDTHS, RunConfig, require_sizes
from amint_core.errors import AmintError, DataError, ModelError, SettingsError
from amint_core.files import atomic_path, require_free
from amint_core.locations import given_path
from amint_core.model.mint import EnhancedAuditedModel, enhance
from amint_core.model.preflight import look, noise_like, require_unwrapped
from amint_core.model.reading import classifier_of, evaluating, trainable
from amint_core.model.zoo import timm_any
from amint_core.own import card, code
from amint_core.own.deal import Roles
from amint_core.own.taps import find_taps
from amint_core.store import read_sealed, remove
from amint_core.training.device import repeatable

#: The training's epochs, beside the model.
HISTORY = "history.csv"
#: In a card: digest of the weights that the training began from.
BEGAN_FROM = "began_from"
#: Of a head: "auto", "fit" or the channels that it reads each tap into.
HeadWidth = int | Literal["auto", "fit"]
#: A narrower head recognises few members, however small the model: results/audit/own_heads.csv.
NARROWEST = 32
#: So many members are scored for the folder, as known ones; more would only take time.
MOST_MEMBERS = 2_000


def headed(
    model: nn.Module,
    roles: Roles,
    taps: list[str] | str,
    settings: RunConfig,
    width: HeadWidth,
) -> EnhancedAuditedModel:
    """Give a model its head, with weights that follow from the seed.

    Args:
        model: the classifier.
        roles: whose images it is for.
        taps: names of modules that the head reads, or "auto".
        settings: the head's kind, and the seed.
        width: of the head; "fit": as wide as it can be without more parameters than the model;
            "auto": the same, but no narrower than `NARROWEST`.

    Raises:
        ModelError: no head can read the model.
        SettingsError: the width is none, or the head has one size.
        DataError: an image is of a class that the model does not tell.
    """
    _require_width(width, settings)
    how = roles.preprocessing
    device = next(model.parameters()).device
    example = torch.zeros(2, how.channels, how.height, how.width, device=device)
    _require_own_answers(model, example)
    # Taps are found, and a head is sized, by what can be trained.
    with torch.random.fork_rng(), trainable(model, True):
        torch.manual_seed(settings.seed)
        asked = [taps] if isinstance(taps, str) else list(taps)
        named = find_taps(model, example) if taps == "auto" else asked
        with_head = partial(
            enhance, model, named, example, settings.head, low_pass=settings.low_pass
        )
        enhanced = with_head(width="fit" if width == "auto" else width)
        if width == "auto" and getattr(enhanced.head, "width", NARROWEST) < NARROWEST:
            torch.manual_seed(settings.seed)
            enhanced = with_head(width=NARROWEST)
        _require_classes(enhanced, example, roles)
    return enhanced.to(device)


def place_of(folder: Path | str | None) -> Path | None:
    """Return where a model is to go, checked before anything is trained; None: nowhere.

    Raises:
        SettingsError: it is no usable path.
        ResultsError: files of another origin would be replaced there.
    """
    if folder is None:
        return None
    place = given_path(folder)
    require_own_folder(place)
    if not (place / MANIFEST).exists():
        require_free(place, [HISTORY], "the model")
    return place


def require_classifier(model: object) -> None:
    """Refuse what cannot be given a head: a name, a scripted model, weights in another precision.

    Raises:
        ModelError: says which of these, and what to give.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{type(model).__name__} is no torch.nn.Module. Give the classifier itself, one of "
            "timm's as timm.create_model(NAME)."
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(
            "The model is scripted or traced, and its modules cannot be tapped. Give the one that "
            "it was made from."
        )
    require_unwrapped(model)
    odd = {one.dtype for one in model.parameters()} - {torch.float32}
    if odd:
        raise ModelError(f"The model has weights in {min(map(str, odd))}. Give model.float().")
    if not any(True for _ in model.parameters()) or any(p.is_meta for p in model.parameters()):
        raise ModelError("The model has no weights. Give a classifier with weights, not on 'meta'.")


def _require_own_answers(model: nn.Module, example: Tensor) -> None:
    """Refuse a model whose answer for an image depends on the others that are asked with it.

    Images in question and references would be compared in different company.
    """
    look(model, example)  # refuses images that the model does not take
    several, answer = noise_like(example), classifier_of(model)
    among, alone = answer(several)[:1], answer(several[:1])
    if not among.isfinite().all():
        raise ModelError(
            "The model's logits are no finite numbers, so it has diverged. Give one that was "
            "trained well."
        )
    if not torch.allclose(among, alone, rtol=1e-3, atol=1e-3 * float(among.abs().max())):
        raise ModelError(
            "In evaluation mode the model answers otherwise for an image alone than for the same "
            "one among others, or at random. Let it use running statistics (BatchNorm with "
            "track_running_stats=True), and draw nothing there."
        )


def _require_classes(enhanced: EnhancedAuditedModel, example: Tensor, roles: Roles) -> None:
    with evaluating(enhanced), torch.no_grad():
        classes = enhanced(example)[0].shape[1]
    if classes < 2:
        raise ModelError(
            "The model has one output. Give a classifier of two classes or more: an output for "
            "each, of which the largest is the answer."
        )
    for role, rows in roles.rows.items():
        labels = roles.dataset.labels[rows]
        if len(labels) and labels.max() >= classes:
            raise DataError(
                f"An image of {role} has class {labels.max()}, but the model tells {classes} "
                f"classes, 0 to {classes - 1}. Give a model with more outputs."
            )


def _require_width(width: HeadWidth, settings: RunConfig) -> None:
    if width in ("auto", "fit"):
        return
    least, most = HEAD_WIDTHS
    if type(width) is not int or not least <= width <= most:
        raise SettingsError(
            f"head_width = {width!r}: give a whole number from {least} to {most}, or 'auto' or "
            "'fit'."
        )
    require_sizes(settings.head, width)


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
    return handed_out(made.enhanced, roles, settings, verb, made_of, history, place, start=start)


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
) -> AuditableModel:
    """Make a trained model ready for audits, write its card and its folder.

    Args:
        alone: the classifier that was trained without the head, for the price; None: there is none.
        start: digest of the weights that its training began from; "": not known.
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
        "hardware": _hardware(enhanced, settings),
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

"""What `fit` and `attach` begin with: is this a classifier, where is it to go, and its head."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from amint_core.audit.model_folder import MANIFEST, require_own_folder
from amint_core.config import HEAD_WIDTHS, RunConfig, require_sizes
from amint_core.errors import DataError, ModelError, SettingsError
from amint_core.files import require_free
from amint_core.locations import given_path
from amint_core.model.mint import EnhancedAuditedModel, enhance
from amint_core.model.preflight import look, noise_like, require_unwrapped
from amint_core.model.reading import classifier_of, evaluating, trainable
from amint_core.own.deal import Roles
from amint_core.own.finishing import HISTORY
from amint_core.own.taps import find_taps

#: Of a head: "auto", "fit" or the channels that it reads each tap into.
HeadWidth = int | Literal["auto", "fit"]
#: A narrower head recognises few members, however small the model: results/audit/own_heads.csv.
NARROWEST = 32


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
        more = {"low_pass": settings.low_pass, "count": settings.head_count}
        with_head = partial(enhance, model, named, example, settings.head, **more)
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

"""The audited models, by name: the paper's six, three of ours, and any other of timm's.

To add a model: write its file beside these, name it in `AUDITED`, and pin its parameter count in
`tests/test_models.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING

from amint_core.errors import ModelError, unknown_name
from amint_core.model.zoo.architecture import SETUPS, Architecture
from amint_core.model.zoo.timm_any import find_taps, is_timm_model, timm_architecture, timm_names
from amint_core.registry import Registry

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "AUDITED",
    "SETUPS",
    "Architecture",
    "architecture",
    "code_of",
    "create",
    "default_taps",
    "is_known",
    "known_names",
]

#: In the order of the paper's columns; then models of ours.
AUDITED: Registry[Architecture] = Registry(
    __name__,
    {
        "mobilenet": "mobilenet:MOBILENET",
        "resnet50": "resnet:RESNET50",
        "resnet101": "resnet:RESNET101",
        "densenet121": "densenet:DENSENET121",
        "xception": "xception:XCEPTION",
        "vit": "vit:VIT",
        "convnet": "convnet:CONVNET",
        "resnet8": "resnet8:RESNET8",
        "tiny": "tiny:TINY",
    },
)


def known_names() -> list[str]:
    """Return the names of the registered models."""
    return list(AUDITED)


def is_known(name: str) -> bool:
    """Tell whether `name` is a registered model or one of timm's."""
    return name in AUDITED or is_timm_model(name)


def architecture(name: str) -> Architecture:
    """Return what the model `name` is.

    For a timm model that is not registered `taps` is empty: see `default_taps`.

    Raises:
        ModelError: there is no such model; the message names the nearest.
    """
    if name in AUDITED:
        return AUDITED[name]
    if not is_timm_model(name):
        near = difflib.get_close_matches(str(name).lower(), timm_names(), n=1)
        hint = f", e.g. {near[0]!r}" if near and near[0] not in AUDITED else ""
        message = unknown_name("model", name, AUDITED)
        raise ModelError(f"{message} Any timm model works too{hint}.")
    return timm_architecture(name)


def code_of(name: str) -> tuple[str | Callable, ...]:
    """Return where the code of model `name` begins, for `provenance.code_fingerprint`."""
    return AUDITED.roots(name) if name in AUDITED else (timm_architecture(name).build,)


def create(name: str, channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Build the model `name` with random weights from torch's current generator.

    Args:
        name: a registered model, or any of timm's.
        channels: 1 for grey, 3 for colour images.
        image_size: side of the square images, in pixels.
        num_classes: length of the logits that the model returns, (B, num_classes).

    Raises:
        ModelError: there is no such model, or it cannot take such images.
    """
    chosen = architecture(name)
    chosen.check_input(channels, image_size, num_classes)
    return chosen.build(channels, image_size, num_classes)


def default_taps(name: str, module: nn.Module, setup: str) -> tuple[str, str]:
    """Return the names of the two modules that `setup` reads, shallower first.

    Args:
        name: the model's name.
        module: the model itself, from `create`.
        setup: "entry", "middle" or "output".

    Raises:
        ModelError: there is no such model or setup, or the model has no such modules.
    """
    if setup not in SETUPS:
        raise ModelError(unknown_name("setup", setup, SETUPS))
    chosen = architecture(name)
    if name not in AUDITED:
        return find_taps(name, module, setup)
    taps = chosen.taps[setup]
    absent = set(taps) - {found for found, _ in module.named_modules()}
    if absent:
        raise ModelError(
            f"Model {name!r} has no module {min(absent)!r}, which setup {setup!r} reads. Build it "
            "with create(); if you did, this version of timm names its modules otherwise: install "
            "the locked one, or give `taps` yourself."
        )
    return taps

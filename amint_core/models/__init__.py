"""The audited models, by name."""

from __future__ import annotations

import importlib

_NAMES = ("mobilenet", "resnet50", "resnet101", "densenet121", "xception", "vit", "tiny")


def known_names() -> list[str]:
    """Return the names of the registered models."""
    return list(_NAMES)


def is_known(name: str) -> bool:
    """Tell whether `name` is a registered model or one of timm's."""
    return name in _NAMES or importlib.import_module("timm").is_model(name)

"""Make a run's settings: filled in, and checked against every registry before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from amint_core.config import RunConfig, given_values
from amint_core.data import DATASETS
from amint_core.data.transforms import AUGMENTATIONS, TRANSFORMATIONS
from amint_core.errors import SettingsError, unknown_name
from amint_core.methods import METHODS
from amint_core.methods.case import Method
from amint_core.model.zoo import is_known, known_names


def create(**given: Any) -> RunConfig:
    """Build the settings of a run.

    Raises:
        SettingsError: a name is unknown (with the nearest valid one), or a value does not fit.
    """
    method = METHODS.get(str(given.get("method", "active")))
    if method is not None and not method.asks_head and "views" not in given:
        given["views"] = "one"  # a recipe's views are of the MINT head's answers
    try:
        settings = RunConfig(**given)
    except ValidationError as error:
        problems = [RunConfig.in_words(problem) for problem in error.errors()]
        raise SettingsError("Settings refused. " + " ".join(problems)) from None
    _check_names(settings)
    _check_method(settings, METHODS[settings.method])
    return settings


def from_namespace(namespace: Mapping[str, Any]) -> RunConfig:
    """Build settings from a notebook's `globals()`.

    Every plain value counts as a setting, so that a mistyped papermill parameter, for which
    papermill itself only warns, is refused here. So is a setting whose name now holds
    something else.
    """
    values = given_values(namespace, also=RunConfig.model_fields)
    plain = {name: one.item() if hasattr(one, "item") else one for name, one in values.items()}
    return create(**plain)


def _check_names(settings: RunConfig) -> None:
    if not is_known(settings.model):
        raise SettingsError(
            unknown_name("model", settings.model, known_names()) + " Any timm model works too."
        )
    for kind, names, known in (
        ("dataset", (settings.dataset,), DATASETS),
        ("method", (settings.method,), METHODS),
        ("transformation", settings.member_transformations, AUGMENTATIONS),
        ("transformation", settings.external_transformations, AUGMENTATIONS),
        ("transformation", settings.transformations, TRANSFORMATIONS),
    ):
        for name in names:
            if name not in known:
                raise SettingsError(unknown_name(kind, name, known))


def _check_method(settings: RunConfig, method: Method) -> None:
    if method.shadows > settings.shadows:
        raise SettingsError(
            f"method = {settings.method!r} needs {method.shadows} or more shadow models; "
            f"shadows = {settings.shadows}."
        )
    if method.known_members and not settings.calibration:
        raise SettingsError(
            f"method = {settings.method!r} learns from members that are not judged, and "
            "calibration = 0 judges them all. Set calibration above 0: half of the members "
            "then go with the calibration images."
        )
    active = settings.target == "active"
    if method.outsiders and active and not settings.calibration:
        raise SettingsError(
            f"method = {settings.method!r} on an active model learns non-members from the "
            "calibration images, and calibration = 0. Set it above 0."
        )
    if method.training and active:
        raise SettingsError(
            f"method = {settings.method!r} trains a model of its own, so target = 'active' names "
            "none. Leave target at 'plain'."
        )
    if settings.views != "one" and not method.asks_head:
        raise SettingsError(
            f"views = {settings.views!r} are of a MINT head's answers, and method = "
            f"{settings.method!r} asks none. Leave views at 'one'."
        )
    if settings.transformations and method.transformed is None:
        raise SettingsError(
            f"transformations are measured for methods that look at the transformed image, and "
            f"{settings.method!r} does not. Leave transformations empty."
        )

"""Make a run's settings: filled in, and checked against every registry before anything starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError, model_validator

from amint_core import config
from amint_core.config import choices, given_values
from amint_core.data import DATASETS
from amint_core.errors import SettingsError, unknown_name
from amint_core.methods import METHODS
from amint_core.methods.method import Method
from amint_core.model.zoo import is_known, known_names
from amint_core.recipes import RECIPES
from amint_core.training.kinds import ATTACHED, KINDS

#: Passes of the second stage where a method has two and the run does not say.
HEAD_EPOCHS = 10


class RunConfig(config.RunConfig):
    """The settings of one run as people give them, checked against every registry.

    Raises:
        SettingsError: a name is unknown (with the nearest valid one), or a value does not fit.
    """

    def __init__(self, /, **given: Any) -> None:
        with _in_our_words():
            super().__init__(**given)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_method(cls, given: Any) -> Any:
        """Fill in what the method leaves no choice of; the recipe fills in the rest afterwards."""
        method = METHODS.get(str(given.get("method", "active")))
        if method is None:
            return given
        given = dict(given)
        if not method.asks_head and "views" not in given:
            given["views"] = "one"  # a recipe's views are of the MINT head's answers
        told = {**RECIPES.get(str(given.get("recipe")), {}), **given}
        if method.training == ATTACHED and "head_epochs" not in told:
            given["head_epochs"] = HEAD_EPOCHS  # two stages are its only way to be trained
        return given

    @model_validator(mode="after")
    def _check_registries(self) -> RunConfig:
        _check_names(self)
        _check_method(self, METHODS[self.method])
        return self

    @classmethod
    def create(cls, **given: Any) -> RunConfig:
        """Build the settings of a run, as the class itself does.

        Raises:
            SettingsError: a name is unknown (with the nearest valid one), or a value does not fit.
        """
        return cls(**given)

    @classmethod
    def from_namespace(cls, namespace: Mapping[str, Any], but: Collection[str] = ()) -> RunConfig:
        """Build settings from a notebook's `globals()`.

        Every plain value counts as a setting, so that a mistyped papermill parameter, for which
        papermill itself only warns, is refused here. So is a setting whose name now holds
        something else.

        Args:
            namespace: the notebook's names.
            but: its parameters that are no settings.
        """
        values = given_values(namespace, also=cls.model_fields)
        values = {name: value for name, value in values.items() if name not in but}
        plain = {name: one.item() if hasattr(one, "item") else one for name, one in values.items()}
        return cls.create(**plain)

    def beside(self, **changes: Any) -> RunConfig:
        """Return the settings of a run that stands beside this one: the same but for `changes`.

        It measures no transformations, and what the other method cannot have falls to its default.

        Raises:
            SettingsError: a change names no setting, or does not fit the others.
        """
        given = self.model_dump(exclude={"transformations"}) | changes
        method = METHODS.get(given["method"])
        if method is not None and not method.asks_head and "views" not in changes:
            del given["views"]
        return type(self).create(**given)


create, from_namespace = RunConfig.create, RunConfig.from_namespace


def of_ones_own(**given: Any) -> config.RunConfig:
    """Build the settings of a training on images and a model of one's own, which have no names.

    Raises:
        SettingsError: a setting is unknown, or a value does not fit.
    """
    with _in_our_words():
        return config.RunConfig(**{"dataset": "own", "model": "own", **given})


@contextmanager
def _in_our_words() -> Iterator[None]:
    """Turn what pydantic says of values that do not fit into a SettingsError."""
    try:
        yield
    except ValidationError as error:
        problems = [_in_words(problem) for problem in error.errors()]
        raise SettingsError("Settings refused. " + " ".join(problems)) from None


def _in_words(problem: Mapping[str, Any]) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    if problem["type"] == "missing":
        return f"{name} is missing: give one."
    if problem["type"] == "literal_error":
        valid = choices(RunConfig.model_fields[name].annotation)
        return unknown_name(name, problem["input"], valid)
    if problem["type"] == "string_type" and isinstance(problem["input"], int | float):
        return (
            f"{name} = {_shown(problem['input'])} is a number, and perhaps was written otherwise. "
            "Give it as text: in quotes, or by papermill's -r."
        )
    return f"{name} = {_shown(problem['input'])}: {problem['msg'].rstrip('.')}."


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "(a number of thousands of digits)"
    return text if len(text) <= 200 else f"{text[:199]}…"


def _check_names(settings: RunConfig) -> None:
    if not is_known(settings.model):
        raise SettingsError(
            unknown_name("model", settings.model, known_names()) + " Any timm model works too."
        )
    for kind, known in (("dataset", DATASETS), ("method", METHODS)):
        if getattr(settings, kind) not in known:
            raise SettingsError(unknown_name(kind, getattr(settings, kind), known))


def _check_method(settings: RunConfig, method: Method) -> None:
    if method.shadows and settings.head_epochs:
        raise SettingsError(
            f"method = {settings.method!r} trains shadow models, which learn in one stage as their "
            "target must. Take a recipe of one stage, such as 'best'."
        )
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
    active = KINDS[settings.target].with_external
    if method.outsiders and active and not settings.calibration:
        raise SettingsError(
            f"method = {settings.method!r} on target = {settings.target!r} learns non-members from "
            "the calibration images, and calibration = 0. Set it above 0."
        )
    if KINDS[settings.target].declares != "all" and not settings.calibration:
        raise SettingsError(
            f"target = {settings.target!r} tells its head of the members that are not judged, and "
            "calibration = 0 judges them all. Set calibration above 0."
        )
    if method.training and active:
        raise SettingsError(
            f"method = {settings.method!r} trains a model of its own, so target = "
            f"{settings.target!r} names none. Leave target at 'plain'."
        )
    if method.training == ATTACHED and not settings.head_epochs:
        raise SettingsError(
            "method = 'attached' trains its head in a second stage, and head_epochs = 0 asks for "
            f"none. Set it to {HEAD_EPOCHS}, or take method = 'passive'."
        )
    if settings.head_epochs and method.training and not method.training.classifies:
        raise SettingsError(
            f"method = {settings.method!r} has no model to train first, and head_epochs = "
            f"{settings.head_epochs} asks for two stages. Set head_epochs = 0, and take a recipe "
            "of one stage."
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

"""Shadow models: classifiers of an auditor's own, which say how easy an image is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from amint_core.audit.preprocessing import Preprocessing
from amint_core.audit.scoring import Classify
from amint_core.audit.statement import hash_of_weights
from amint_core.errors import AmintError, ModelError
from amint_core.memory import is_of_memory
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.model.reading import classifier_of


@runtime_checkable
class WithHead(Protocol):
    """A model with its head and its preprocessing, as `AuditableModel` is one."""

    enhanced: EnhancedAuditedModel
    preprocessing: Preprocessing


#: A model, or a function from (B, C, H, W) images to (B, classes) logits.
Shadow = WithHead | nn.Module | Classify


def classifiers(shadows: Shadow | Iterable[Shadow], model: WithHead) -> list[Classify]:
    """Return how each shadow model classifies images as the model in question takes them.

    Args:
        shadows: one or several; their modes and weights stay as they are.
        model: the one in question.

    Raises:
        ModelError: one is no classifier, takes images prepared otherwise, or is the model in
            question itself.
    """
    given = listed(shadows)
    weights = hash_of_weights(model.enhanced.audited.state_dict()) if given else ""
    return [
        _checked(number, _classify(number, each, model.preprocessing, weights))
        for number, each in enumerate(given, 1)
    ]


def listed(shadows: Shadow | Iterable[Shadow]) -> list[Shadow]:
    """Return one shadow model, or several, as a list."""
    single = isinstance(shadows, Path | str | nn.Module) or callable(shadows)
    return [shadows] if single or isinstance(shadows, WithHead) else list(shadows)


def _classify(number: int, shadow: Any, how: Preprocessing, weights: str) -> Classify:
    if isinstance(shadow, WithHead):
        if shadow.preprocessing != how:
            raise ModelError(
                f"Shadow model {number} takes images prepared as {shadow.preprocessing}, the model "
                f"in question as {how}. Train it with the preprocessing of the "
                "latter."
            )
        shadow = shadow.enhanced.audited
    if not isinstance(shadow, nn.Module):
        if not callable(shadow):
            raise ModelError(
                f"Shadow model {number} is a {type(shadow).__name__}, no classifier. A folder is "
                "read by amint.load."
            )
        return shadow
    if hash_of_weights(shadow.state_dict()) == weights:
        raise ModelError(
            f"Shadow model {number} has the weights of the model in question, which says nothing "
            "about itself. Train one on other images."
        )
    return classifier_of(shadow)


def _checked(number: int, classify: Classify) -> Classify:
    """Say of whatever goes wrong that it is the shadow model's."""

    def checked(images: Tensor) -> Tensor:
        try:
            logits = torch.as_tensor(classify(images)).detach().cpu().double()
        except Exception as error:  # a model of the auditor's own may raise anything
            if is_of_memory(error):
                raise
            name = "" if isinstance(error, AmintError) else f"{type(error).__name__}: "
            raise ModelError(
                f"Shadow model {number} cannot classify images of shape {tuple(images.shape[1:])}, "
                f"as the model in question takes them. {name}{error}"
            ) from error
        if logits.ndim != 2 or len(logits) != len(images) or not logits.isfinite().all():
            raise ModelError(
                f"Shadow model {number} returned shape {tuple(logits.shape)} for {len(images)} "
                "images, or numbers that are not finite. It must return (images, classes) logits."
            )
        return logits

    return checked

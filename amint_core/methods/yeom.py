"""Yeom: whoever is classified with less loss than a member on average is called a member."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.methods.method import Method
from amint_core.methods.posteriors import cross_entropy, labels_of

if TYPE_CHECKING:
    from amint_core.methods.case import Case


def yeom(loss: np.ndarray, known_members: np.ndarray) -> np.ndarray:
    """Return the mean loss of known members minus each image's loss.

    Args:
        loss: (N,) cross-entropy under the target.
        known_members: (N,) bool: members that the attacker knows of.
    """
    return loss[known_members].mean() - loss


def score(case: Case) -> np.ndarray:
    """Return (N,) scores; 0 is the published threshold, the training loss."""
    return yeom(cross_entropy(case.logits, labels_of(case)), case.known_members)


METHOD = Method(
    name="yeom",
    title="Yeom (loss threshold)",
    group="attack",
    summary="Says member where the loss is below the average training loss (Yeom et al., "
    "'Privacy Risk in Machine Learning', CSF 2018).",
    score=score,
    known_members=True,
    transformed="among_others",
)

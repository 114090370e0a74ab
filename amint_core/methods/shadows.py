"""Shadow models: the target's twins, trained on other images of the same population."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shadows:
    """What shadow models answer on the N images of a case.

    Attributes:
        inside: (S, N) bool: whether shadow model s was trained on image n.
        logits: (S, N, classes) float32 class logits.
    """

    inside: np.ndarray
    logits: np.ndarray

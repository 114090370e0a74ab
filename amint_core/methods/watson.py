"""Watson: the loss threshold, corrected for how hard the image is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.methods.method import Method
from amint_core.methods.posteriors import (
    beside_shadows,
    cross_entropy,
    labels_of,
    mean_over,
    require_outside,
)

if TYPE_CHECKING:
    from amint_core.methods.case import Case


def watson(loss: np.ndarray, shadow_loss: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return each image's mean loss under models not trained on it, minus its loss.

    Args:
        loss: (N,) cross-entropy under the target.
        shadow_loss: (S, N) cross-entropy under the shadow models.
        inside: (S, N) bool, as in `Shadows`.

    Raises:
        SettingsError: an image has no shadow model that was not trained on it.
    """
    require_outside(inside)
    return mean_over(shadow_loss, ~inside) - loss


def score(case: Case) -> np.ndarray:
    """Return (N,) scores; at 0 the target finds the image as hard as models that never saw it.

    Of images that it has not seen either, half score higher: 0 is no threshold.
    """
    return watson(*beside_shadows(case, cross_entropy, labels_of(case)))


METHOD = Method(
    name="watson",
    title="Watson (difficulty calibration)",
    group="attack",
    summary="Compares the loss with that under models not trained on the image (Watson et al., "
    "'On the Importance of Difficulty Calibration in Membership Inference Attacks', ICLR 2022).",
    score=score,
    thresholds=("calibrated",),
    shadows=2,
    check_shadows=lambda inside, settings: require_outside(inside),
    transformed="among_others",
)

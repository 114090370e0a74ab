"""BaVarIA: LiRA with priors on each image's mean and variance, for few shadow models.

Brännvall, "Exponential-Family Membership Inference: From LiRA and RMIA to BaVarIA", 2026, arXiv
2603.11799; its Student-t form, with the constants of the author's public code
(rickardbrannvall/exponential-family-mia). Scaled logits φ are Gaussian over models, as in LiRA, one
Gaussian for models trained on the image (IN) and one for the others (OUT). Their mean and variance
are not estimated but integrated over: with a normal-inverse-gamma prior, and n models on that side
whose φ have mean m and sum of squared deviations s,

    κ = κ₀ + n    μ = (κ₀ μ₀ + n m) / κ    α = α₀ + n / 2    β = β₀ + s / 2 + κ₀ n (m - μ₀)² / 2κ

and φ of a further model follows Student's distribution with 2α degrees of freedom, centre μ and
squared scale β (κ + 1) / ακ. The prior is that of all images: μ₀ is the mean of φ over all images
and models of the side, β₀ = (α₀ - 1) times their variance. A side without models is the prior,
which is all that the offline form knows of IN; so is that of an image that no model was trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.methods.method import Method
from amint_core.methods.posteriors import (
    beside_shadows,
    labels_of,
    require_both_sides,
    scaled_logits,
)

if TYPE_CHECKING:
    from amint_core.methods.case import Case

#: κ₀ and α₀ of the author's code: the prior's mean weighs as much as one model, and α₀ = 2 is the
#: least whole number with which the prior predictive has a finite variance.
KAPPA, ALPHA = 1.0, 2.0
#: Least β₀: shadow models that agree to the last digit would be divided by 0.
_LEAST_BETA = 1e-12


def online(phi: np.ndarray, shadow_phi: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return each image's log predictive ratio log p(φ | IN) - log p(φ | OUT); 0 is natural.

    Args:
        phi: (N,) scaled logits under the target.
        shadow_phi: (S, N) scaled logits under the shadow models.
        inside: (S, N) bool: whether shadow model s was trained on image n.

    Raises:
        SettingsError: an image was in every shadow model's training, or no image in any.
    """
    require_both_sides(inside, "lira_offline")
    return _log_density(phi, shadow_phi, inside, inside) - _log_density(
        phi, shadow_phi, ~inside, ~inside
    )


def offline(phi: np.ndarray, shadow_phi: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the same with the prior in place of what IN models say of an image; see `online`."""
    require_both_sides(inside, "lira_offline")
    nothing = np.zeros_like(inside)
    return _log_density(phi, shadow_phi, inside, nothing) - _log_density(
        phi, shadow_phi, ~inside, ~inside
    )


def _log_density(
    phi: np.ndarray, shadow_phi: np.ndarray, side: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Return (N,) log densities of φ under a side's posterior predictive.

    Args:
        phi: (N,) where they are taken.
        shadow_phi: (S, N).
        side: (S, N) bool: whose φ make the prior.
        seen: (S, N) bool: whose φ are known of each image.
    """
    from scipy.stats import t

    prior = shadow_phi[side]
    centre, beta = prior.mean(), max((ALPHA - 1) * prior.var(), _LEAST_BETA)
    count = seen.sum(0)
    mean = np.where(seen, shadow_phi, 0).sum(0) / np.maximum(count, 1)
    kappa, alpha = KAPPA + count, ALPHA + count / 2
    squares = np.where(seen, (shadow_phi - mean) ** 2, 0).sum(0)
    beta = beta + squares / 2 + KAPPA * count * (mean - centre) ** 2 / (2 * kappa)
    centre = (KAPPA * centre + count * mean) / kappa
    return t.logpdf(phi, 2 * alpha, centre, np.sqrt(beta * (kappa + 1) / (alpha * kappa)))


def _read(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `online` and `offline` take."""
    return beside_shadows(case, scaled_logits, labels_of(case))


ONLINE = Method(
    name="bavaria_online",
    title="BaVarIA (online)",
    group="attack",
    summary="LiRA's likelihood ratio with a prior on each image's mean and variance, for few "
    "shadow models (Brännvall, arXiv 2603.11799).",
    score=lambda case: online(*_read(case)),
    shadows=2,
    check_shadows=lambda inside, settings: require_both_sides(inside, "lira_offline"),
    transformed="among_others",
)
OFFLINE = Method(
    name="bavaria_offline",
    title="BaVarIA (offline)",
    group="attack",
    summary="The same, knowing of the models trained on an image only what holds of all images "
    "(Brännvall, arXiv 2603.11799).",
    score=lambda case: offline(*_read(case)),
    thresholds=("calibrated",),
    shadows=2,
    check_shadows=lambda inside, settings: require_both_sides(inside, "lira_offline"),
    transformed="among_others",
)

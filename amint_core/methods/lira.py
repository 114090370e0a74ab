"""LiRA: is the target's confidence that of models trained on the image, or of models that were not?

Carlini et al., "Membership Inference Attacks From First Principles", S&P 2022, arXiv 2112.03570.
Scaled logits φ are taken to be Gaussian over models, one Gaussian for shadow models trained on the
image (IN) and one for the others (OUT), each with the image's own mean. The variances are pooled
(`variance`), always as deviations from each image's own mean, divided by their degrees of freedom:

| variance | pooled over | needs |
|---|---|---|
| global | all images | an image with two IN (online) and one with two OUT models |
| per_class | one class; a class without degrees of freedom takes the global one | the same |
| per_image | nothing | two IN (online) and two OUT models for each image |

The authors' code differs: medians for means, and for "global" the spread over images and models
together, which takes differences between images for noise; TensorFlow Privacy pools as we do.

An image that no shadow model was trained on (an external one) has no IN mean and no IN variance of
its own. It takes its OUT mean plus the mean gap between IN and OUT of the images of its class (of
all images, where its class has no gap), and under `per_image` the IN variance of its class. An
image that all were trained on is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.config import Variance
from amint_core.errors import SettingsError
from amint_core.methods.method import Method
from amint_core.methods.posteriors import (
    beside_shadows,
    labels_of,
    mean_over,
    require_outside,
    scaled_logits,
)

if TYPE_CHECKING:
    from amint_core.methods.case import Case


#: Fewest and most shadow models behind the published results; the paper advises the variance
#: "global" below 64 (half of them IN, half OUT).
_PUBLISHED_SHADOWS = (64, 256)
#: Fewest shadow models: trained on half of the images, two are inside and two outside of each.
LEAST_SHADOWS = 4
#: Least variance: shadow models that agree to the last digit would be divided by 0.
_LEAST_VARIANCE = 1e-12


def online(
    phi: np.ndarray,
    shadow_phi: np.ndarray,
    inside: np.ndarray,
    labels: np.ndarray,
    variance: Variance = "global",
) -> np.ndarray:
    """Return each image's log likelihood ratio log p(φ | IN) - log p(φ | OUT); 0 is natural.

    Args:
        phi: (N,) scaled logits under the target.
        shadow_phi: (S, N) scaled logits under the shadow models.
        inside: (S, N) bool: whether shadow model s was trained on image n.
        labels: (N,) classes, from 0.
        variance: over what the variances are pooled; see the module's table.

    Raises:
        SettingsError: too few shadow models for the variance asked for.
    """
    from scipy.stats import norm

    check(inside, variance, online=True)
    mean_out, variance_out = _gaussians(shadow_phi, ~inside, labels, variance)
    mean_in, variance_in = _gaussians(shadow_phi, inside, labels, variance)
    gap = _of_class(mean_in - mean_out, labels)
    mean_in = np.where(np.isnan(mean_in), mean_out + gap, mean_in)
    return norm.logpdf(phi, mean_in, np.sqrt(variance_in)) - norm.logpdf(
        phi, mean_out, np.sqrt(variance_out)
    )


def offline(
    phi: np.ndarray,
    shadow_phi: np.ndarray,
    inside: np.ndarray,
    labels: np.ndarray,
    variance: Variance = "global",
) -> np.ndarray:
    """Return how many standard deviations φ lies above the OUT mean.

    The published score 1 - Pr[Z > φ] is the normal distribution function of this one: the same
    order of images, but far from 0 it does not round to 1. At 0 it accuses half of the
    non-members, by construction, so 0 is no threshold.

    Args and Raises: as `online`.
    """
    check(inside, variance, online=False)
    mean_out, variance_out = _gaussians(shadow_phi, ~inside, labels, variance)
    return (phi - mean_out) / np.sqrt(variance_out)


def check(inside: np.ndarray, variance: Variance, online: bool) -> None:
    """Refuse shadow models that leave a Gaussian without a mean or the variance asked for.

    Args:
        inside: (S, N) bool: whether shadow model s was trained on image n.
        variance: see the module's table.
        online: whether both Gaussians are read, or that of OUT alone.

    Raises:
        SettingsError: too few shadow models.
    """
    require_outside(inside)
    for side, chosen in {"outside": ~inside, **({"inside": inside} if online else {})}.items():
        count, each = chosen.sum(0), variance == "per_image"
        if not (count > 1).any() or (each and (count == 1).any()):
            raise SettingsError(
                f"variance = {variance!r} needs {'each' if each else 'an'} image {side} of two "
                f"shadow models or more; {int((count == 1).sum())} images are {side} of only one, "
                f"with shadows = {len(inside)}. Set shadows higher, such as {2 * len(inside)}"
                + (", or variance = 'global'." if each else ".")
            )


def _gaussians(
    phi: np.ndarray, chosen: np.ndarray, labels: np.ndarray, variance: Variance
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) means, NaN where no model is chosen, and (N,) variances of (S, N) φ."""
    count = chosen.sum(0)
    mean = mean_over(phi, chosen)
    squares = np.where(chosen, (phi - mean) ** 2, 0).sum(0)
    pooled = _pooled(squares, np.maximum(count - 1, 0), labels, variance)
    return mean, np.maximum(pooled, _LEAST_VARIANCE)


def _pooled(
    squares: np.ndarray, freedom: np.ndarray, labels: np.ndarray, variance: Variance
) -> np.ndarray:
    """Return (N,) variances of (N,) sums of squares with their (N,) degrees of freedom."""
    result = np.full(len(labels), squares.sum() / freedom.sum())
    if variance != "global":
        in_class, freedom_in_class = (np.bincount(labels, x)[labels] for x in (squares, freedom))
        result = np.divide(in_class, freedom_in_class, out=result, where=freedom_in_class > 0)
    if variance == "per_image":
        result = np.divide(squares, freedom, out=result, where=freedom > 0)
    return result


def _of_class(gap: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the (N,) mean gap in each image's class; the mean of all where a class has none."""
    there = ~np.isnan(gap)
    result = np.full(len(gap), gap[there].mean())
    total = np.bincount(labels, np.where(there, gap, 0))[labels]
    count = np.bincount(labels, there)[labels]
    return np.divide(total, count, out=result, where=count > 0)


def _read(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Variance]:
    """Return what `online` and `offline` take."""
    labels = labels_of(case)
    return *beside_shadows(case, scaled_logits, labels), labels, case.settings.variance


ONLINE = Method(
    name="lira_online",
    title="LiRA (online)",
    group="attack",
    summary="Likelihood ratio of the confidence under models trained on the image and under models "
    "that were not (Carlini et al., S&P 2022).",
    score=lambda case: online(*_read(case)),
    shadows=LEAST_SHADOWS,
    check_shadows=lambda inside, settings: check(inside, settings.variance, online=True),
    published_shadows=_PUBLISHED_SHADOWS,
    transformed="among_others",
)
OFFLINE = Method(
    name="lira_offline",
    title="LiRA (offline)",
    group="attack",
    summary="How far the confidence lies above that of models not trained on the image (Carlini et "
    "al., S&P 2022).",
    score=lambda case: offline(*_read(case)),
    thresholds=("calibrated",),
    shadows=LEAST_SHADOWS,
    check_shadows=lambda inside, settings: check(inside, settings.variance, online=False),
    published_shadows=_PUBLISHED_SHADOWS,
    transformed="among_others",
)

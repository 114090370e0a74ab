"""RMIA: does learning the target make this image more likely than it makes others?

Zarifzadeh et al., "Low-Cost High-Power Membership Inference Attacks", ICML 2024, arXiv 2312.03262.
With p the posterior of the true class (as a soft-margin Taylor softmax, see `taylor_loss`: plain
posteriors of a well-learned set are all but 1 and tell little), an image x dominates a population
image z where

    (p(x | target) / p(x)) / (p(z | target) / p(z)) ≥ γ,

and its published score is the share of z that it dominates. p(x) is what models say that know
nothing of the target: online the mean of models trained on x and of models that were not, both
sides weighing the same; offline an estimate from the latter alone.

All images are compared with the same z, so that the share rises with x's own ratio alone, whatever
γ is, and it ends at 1: all x beyond the last z tie there, more non-members than a low
false-positive rate allows. The score here is therefore the logarithm of x's ratio, less the median
of those of z: the same order without the ties, above 0 where x dominates more than half of z.

The population z are draws from the distribution that the target was not trained on, and are
measured as x is. Online they are calibration images, which shadow models are trained on like x.
Offline they are the run's external images; of an active target, whose head learned from those, the
calibration images.

An external image, or any other that no shadow model was trained on, has no IN side. Online takes
the offline form for it, with the a that fits the images that have both sides (least squares); the
authors tune a on reference models, too. Without calibration images z are such images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.errors import DataError
from amint_core.methods.method import Method
from amint_core.methods.posteriors import (
    beside_shadows,
    labels_of,
    require_both_sides,
    require_outside,
    taylor_loss,
)

if TYPE_CHECKING:
    from amint_core.methods.case import Case

#: Fewest and most shadow models behind the published results; offline reads half of them.
_PUBLISHED_SHADOWS = (2, 254)
#: a in p_IN = a p_OUT + (1 - a), from which p(x) = ((1 + a) p_OUT + (1 - a)) / 2: the value of the
#: authors' configurations for CIFAR-10; their library has .3, their CIFAR-100 .6.
OFFLINE_A = 0.33


def online(
    log_p: np.ndarray, shadow_log_p: np.ndarray, inside: np.ndarray, population: np.ndarray
) -> np.ndarray:
    """Return (N,) logarithms of each image's ratio p(x | target) / p(x), less the median of z.

    Half of the non-members dominate half of the population, so 0 is no threshold.

    Args:
        log_p: (N,) log posterior of the true class under the target.
        shadow_log_p: (S, N) the same under the shadow models.
        inside: (S, N) bool: whether shadow model s was trained on image n.
        population: (N,) bool: which of the images are the population z.

    Raises:
        DataError: the population is empty.
        SettingsError: an image was in every shadow model's training, or no image in any.
    """
    require_both_sides(inside, "rmia_offline")
    log_in, log_out = _log_mean(shadow_log_p, inside), _log_mean(shadow_log_p, ~inside)
    both = inside.any(0)
    estimate = _from_outside(log_out, _fitted_a(np.exp(log_in[both]), np.exp(log_out[both])))
    expected = np.where(both, np.logaddexp(log_in, log_out) - np.log(2), estimate)
    return _beside(log_p - expected, population)


def offline(
    log_p: np.ndarray,
    shadow_log_p: np.ndarray,
    inside: np.ndarray,
    population: np.ndarray,
    offline_a: float = OFFLINE_A,
) -> np.ndarray:
    """Return the same as `online`, with p(x) from the models not trained on x (see `OFFLINE_A`)."""
    require_outside(inside)
    expected = _from_outside(_log_mean(shadow_log_p, ~inside), offline_a)
    return _beside(log_p - expected, population)


def _from_outside(log_out: np.ndarray, a: float) -> np.ndarray:
    """Return (N,) log p(x), given (N,) log p_OUT, where p_IN = a p_OUT + (1 - a)."""
    with np.errstate(divide="ignore"):  # log 0 where a is 1
        rest = np.log((1 - a) / 2)
    return np.logaddexp(log_out + np.log((1 + a) / 2), rest)


def _fitted_a(p_in: np.ndarray, p_out: np.ndarray) -> float:
    """Return the a in [0, 1] of `1 - p_IN = a (1 - p_OUT)` with the least squared error."""
    squares = float(((1 - p_out) ** 2).sum())
    return float(np.clip(((1 - p_in) * (1 - p_out)).sum() / squares, 0, 1)) if squares else 1.0


def _log_mean(log_p: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return (N,) log of the mean posterior over the chosen models; -inf where none is."""
    from scipy.special import logsumexp

    with np.errstate(divide="ignore"):  # log 0 where none is chosen
        total = logsumexp(np.where(chosen, log_p, -np.inf), axis=0)
    return total - np.log(np.maximum(chosen.sum(0), 1))


def _beside(log_ratio: np.ndarray, population: np.ndarray) -> np.ndarray:
    """Return (N,) log ratios less the median of the population's."""
    if not population.any():
        raise DataError(
            "RMIA compares images with a population that did not train the target: the external "
            "images or, of an active target, the calibration images. This run has none. Set "
            "external, or for target = 'active' calibration, above 0."
        )
    return log_ratio - np.median(log_ratio[population])


def _read(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `online` and `offline` take, but for the population."""
    loss, shadow_loss, inside = beside_shadows(case, taylor_loss, labels_of(case))
    return -loss, -shadow_loss, inside


def _drawn_like_x(case: Case) -> np.ndarray:
    """Return (N,) bool: calibration images that a shadow model knows, or else all outsiders."""
    calibration = (case.images["role"] == "calibration").to_numpy()
    drawn = calibration & case.shadows.inside.any(0)
    return drawn if drawn.any() else case.outsiders


ONLINE = Method(
    name="rmia_online",
    title="RMIA (online)",
    group="attack",
    summary="How much more learning the target favours this image than others (Zarifzadeh et al., "
    "ICML 2024).",
    score=lambda case: online(*_read(case), _drawn_like_x(case)),
    thresholds=("calibrated",),
    shadows=2,
    check_shadows=lambda inside, settings: require_both_sides(inside, "rmia_offline"),
    outsiders=True,
    published_shadows=_PUBLISHED_SHADOWS,
    transformed="among_others",
)
OFFLINE = Method(
    name="rmia_offline",
    title="RMIA (offline)",
    group="attack",
    summary="The same with shadow models not trained on the image alone (Zarifzadeh et al., ICML "
    "2024).",
    score=lambda case: offline(*_read(case), case.outsiders),
    thresholds=("calibrated",),
    shadows=2,
    check_shadows=lambda inside, settings: require_outside(inside),
    outsiders=True,
    published_shadows=_PUBLISHED_SHADOWS,
    transformed="among_others",
)

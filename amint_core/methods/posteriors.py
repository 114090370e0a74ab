"""Class posteriors of the audited model and of its shadow models, as the attacks read them.

All values are float64 and, but for `taylor_loss`, come from the logits by way of
φ = log p_y - log(1 - p_y), so that a posterior near 1 loses no digits: such posteriors are where
members and non-members differ.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.polynomial import polyval

from amint_core.errors import DataError, ModelError, SettingsError

if TYPE_CHECKING:
    from amint_core.methods.case import Case


def labels_of(case: Case) -> np.ndarray:
    """Return the (N,) int64 classes whose posteriors are read.

    An image without a label (-1) takes the class that the target predicts, under every model.

    Raises:
        DataError: a label is no class of the target.
        ModelError: a logit of the target is not finite.
    """
    check_finite(case.logits, "audited model")
    labels, classes = case.labels, case.logits.shape[1]
    if labels.max() >= classes:
        raise DataError(
            f"An image has label {labels.max()}, but the audited model knows the classes 0 to "
            f"{classes - 1}. Build the model for the dataset's number of classes."
        )
    return np.where(labels < 0, case.logits.argmax(1), labels)


def scaled_logits(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N,) φ = log p_y - log(1 - p_y) of (N, classes) logits and (N,) labels."""
    from scipy.special import logsumexp

    others = logits.astype(np.float64)  # a copy
    rows = np.arange(len(labels))
    own = others[rows, labels].copy()
    others[rows, labels] = -np.inf
    return own - logsumexp(others, axis=1)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return (N,) losses -log p_y of (N, classes) logits and (N,) labels, in nats."""
    return np.logaddexp(0, -scaled_logits(logits, labels))


def taylor_loss(
    logits: np.ndarray,
    labels: np.ndarray,
    temperature: float = 2.0,
    margin: float = 0.6,
    order: int = 4,
) -> np.ndarray:
    """Return (N,) negative logarithms of the soft-margin Taylor softmax of the true class.

    The exponential gives way to its Taylor series, which is not yet 0 or 1 where the softmax is,
    and the true class has to win by a margin (Banerjee et al., "Exploring Alternatives to Softmax
    Function", 2020). The defaults are those of RMIA's authors for CIFAR-10.

    Args:
        logits: (N, classes).
        labels: (N,) true classes.
        temperature: divides the logits.
        margin: what the true class's logit loses.
        order: of the series; even, so that it is positive everywhere.
    """
    scaled, rows = logits.astype(np.float64) / temperature, np.arange(len(labels))
    coefficients = [1 / factorial(power) for power in range(order + 1)]
    true = polyval(scaled[rows, labels] - margin, coefficients)
    others = polyval(scaled, coefficients)
    others[rows, labels] = 0.0
    return np.log1p(others.sum(1) / true)


def top_posteriors(logits: np.ndarray, count: int) -> np.ndarray:
    """Return the (N, count) highest posteriors, falling; fewer columns where classes are fewer."""
    from scipy.special import softmax

    posteriors = np.sort(softmax(logits.astype(np.float64), axis=1), axis=1)
    return posteriors[:, ::-1][:, :count]


def beside_shadows(
    case: Case, value: Callable[[np.ndarray, np.ndarray], np.ndarray], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what an attack sets side by side: `value` under the target and under its shadows.

    Returns:
        (N,) values under the target, (S, N) under the shadow models, and (S, N) bool, whether a
        shadow model was trained on an image.

    Raises:
        ModelError: a logit of a shadow model is not finite.
    """
    of_them = []
    for number, logits in enumerate(case.shadows.logits):
        check_finite(logits, f"shadow model {number}")
        of_them.append(value(logits, labels))
    return value(case.logits, labels), np.stack(of_them), case.shadows.inside


def mean_over(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return each image's (N,) mean of (S, N) values over its chosen models; NaN where none is."""
    count = chosen.sum(0)
    total = np.where(chosen, values, 0).sum(0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def require_outside(inside: np.ndarray) -> None:
    """Refuse images that every shadow model was trained on: nothing says how hard they are.

    Args:
        inside: (S, N) bool, as in `Shadows`.

    Raises:
        SettingsError: there is such an image.
    """
    everywhere = int(inside.all(0).sum())
    if everywhere:
        raise SettingsError(
            f"shadows = {len(inside)}: every one of them was trained on {everywhere} of the "
            f"{inside.shape[1]} images. This attack compares an image with models that were not: "
            f"set shadows higher, such as {2 * len(inside)}."
        )


def require_inside(inside: np.ndarray, instead: str) -> None:
    """Refuse shadow models that were trained on none of the images: there is no IN side.

    Args:
        inside: (S, N) bool, as in `Shadows`.
        instead: a method that reads the OUT side alone.

    Raises:
        SettingsError: no image was in any training.
    """
    if not inside.any():
        raise SettingsError(
            f"None of the {len(inside)} shadow models was trained on any of the images, so there "
            f"is no IN side to compare with. Choose method = {instead!r}."
        )


def require_both_sides(inside: np.ndarray, instead: str) -> None:
    """Refuse shadow models that leave the IN or the OUT side without any; see the two above."""
    require_outside(inside)
    require_inside(inside, instead)


def check_finite(logits: np.ndarray, whose: str) -> None:
    """Refuse the logits of a model that has diverged.

    Raises:
        ModelError: a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise ModelError(
            f"The {whose} gives logits that are not finite; it has diverged. Train it again with a "
            "lower learning_rate or precision = 'fp32'."
        )

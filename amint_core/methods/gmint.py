"""gMINT: the gradient that an image would train the model with tells whether it has done so.

After DeAlcala, Morales, Fierrez, Mancera and Tolosana, gMINT: Gradiant-based Membership Inference
Test applied to Image Models, CVPR Workshops 2025, and Nasr, Shokri and Houmansadr, Comprehensive
Privacy Analysis of Deep Learning, arXiv 1812.00910. Twice:

- `gmint_filters` as far as the authors' repository shows the method: the gradient at the layers of
  a setup, its mean over each filter, a network of two dense layers. Their code is not out; which
  layers a setup reads, the network's width and its training are ours.
- `gmint`, our own reading of the idea: two norms per layer of the whole model, a linear classifier.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from amint_core.methods.crossfit import cross_fitted, fold_seed, folds_of
from amint_core.methods.method import Method
from amint_core.methods.posteriors import labels_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sklearn.pipeline import Pipeline

    from amint_core.methods.case import Case

_STREAM = 32  # of random numbers that follow from the run's seed
_FLOOR = 1e-20  # of a norm: a float's square underflows below it
_HIDDEN = 64  # width of the network's hidden layer
_PASSES = 500  # at most, of its training over the known images


def score(case: Case) -> np.ndarray:
    """Return (N,) log-odds of being a member, from the norms of the target's gradients.

    The classifiers learn from known members and external images (of an active target, which has
    learned from those, calibration images). Each of these is scored by a classifier that has not
    seen it, nor a frame of its track, so that its score may choose a threshold, all others by the
    mean. An image without a label is asked with the class that the target predicts.

    Raises:
        SettingsError: too few members are known to the auditor.
        ModelError: no layer's gradient can be read, or the target has diverged.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from amint_core.methods.gradients import gradient_norms

    # Regularised: layers' norms are correlated, known members are few.
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return _learned(case, linear, lambda labels: np.log(gradient_norms(case, labels).clip(_FLOOR)))


def score_by_filters(case: Case) -> np.ndarray:
    """Return (N,) log-odds of being a member, from the means of filters' gradients; see `score`.

    Raises:
        SettingsError: too few members are known to the auditor.
        ModelError: the gradient of no layer up to a tap can be read, or the target has diverged.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from amint_core.methods.gradients import gradient_means

    seed = fold_seed(case.settings.seed, _STREAM)

    class Network(MLPClassifier):
        """The same with log-odds: as probabilities, those far from 0 would be 0 or 1."""

        def decision_function(self, features: np.ndarray) -> np.ndarray:
            hidden = np.maximum(features @ self.coefs_[0] + self.intercepts_[0], 0)
            return (hidden @ self.coefs_[1] + self.intercepts_[1])[:, 0]

    network = Network((_HIDDEN,), max_iter=_PASSES, random_state=seed)
    given = make_pipeline(StandardScaler(), network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # that it went on to the last pass
        return _learned(case, given, lambda labels: gradient_means(case, labels))


def _learned(
    case: Case, classifier: Pipeline, features_of: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return (N,) log-odds by classifiers of the (N, F) features that labels give."""
    known_members, labels = case.known_members, labels_of(case)
    learns = np.flatnonzero(known_members | case.outsiders)
    seed = fold_seed(case.settings.seed, _STREAM)
    remedy = "Give more members and external images (of target = 'active': calibration images)."
    folds = folds_of("gMINT", remedy, learns, known_members, case.groups, seed)
    return cross_fitted(classifier, features_of(labels), known_members, labels, folds)


METHOD = Method(
    name="gmint",
    title="gMINT (gradients)",
    group="passive",
    summary="Reads the norms of the gradient that the image would train each layer with, by a "
    "linear classifier (after DeAlcala et al., CVPR Workshops 2025).",
    score=score,
    known_members=True,
    outsiders=True,
    reads_gradients=True,
    transformed="among_others",
)
FILTERS = Method(
    name="gmint_filters",
    title="gMINT (means of filters)",
    group="passive",
    summary="Reads the mean of each filter's gradient at a setup's layers, by a network of two "
    "dense layers (DeAlcala et al., CVPR Workshops 2025, as far as it is shown).",
    score=score_by_filters,
    known_members=True,
    outsiders=True,
    reads_gradients=True,
    transformed="among_others",
)

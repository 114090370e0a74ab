"""gMINT: the gradient that an image would train the model with tells whether it has done so.

After DeAlcala, Morales, Fierrez, Mancera and Tolosana, gMINT: Gradiant-based Membership Inference
Test applied to Image Models, CVPR Workshops 2025, and Nasr, Shokri and Houmansadr, Comprehensive
Privacy Analysis of Deep Learning, arXiv 1812.00910. Our own reading of the idea: each image's
gradient of the loss is summed up by two norms per layer, and a linear classifier reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.methods.crossfit import cross_fitted, fold_seed, folds_of
from amint_core.methods.method import Method
from amint_core.methods.posteriors import labels_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from amint_core.methods.case import Case

_STREAM = 32  # of random numbers that follow from the run's seed
_FLOOR = 1e-20  # of a norm: a float's square underflows below it


def score(case: Case) -> np.ndarray:
    """Return (N,) log-odds of being a member, from the gradients of the target.

    The classifiers learn from known members and external images (of an active target, which has
    learned from those, calibration images). Each of these is scored by a classifier that has not
    seen it, nor a frame of its track, so that its score may choose a threshold, all others by the
    mean. An image without a label is asked with the class that the target predicts.

    Raises:
        SettingsError: too few members are known to the auditor.
        ModelError: no layer's gradient can be read, or the target has diverged.
    """
    from amint_core.methods.gradients import gradient_norms

    known_members, labels = case.known_members, labels_of(case)
    learns = np.flatnonzero(known_members | case.outsiders)
    seed = fold_seed(case.settings.seed, _STREAM)
    remedy = "Give more members and external images (of target = 'active': calibration images)."
    folds = folds_of("gMINT", remedy, learns, known_members, case.groups, seed)
    features = np.log(gradient_norms(case, labels).clip(_FLOOR))
    return cross_fitted(_classifier(), features, known_members, labels, folds)


def _classifier() -> Pipeline:
    """Build a regularised linear model: layers' norms are correlated, known members are few."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))


METHOD = Method(
    name="gmint",
    title="gMINT (gradients)",
    group="passive",
    summary="Reads the norms of the gradient that the image would train each layer with, by a "
    "linear classifier (after DeAlcala et al., CVPR Workshops 2025).",
    score=score,
    known_members=True,
    outsiders=True,
    transformed="among_others",
)

"""Salem: a classifier that learns from one shadow model what a member's posteriors look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.config import EXACT
from amint_core.errors import SettingsError
from amint_core.methods.method import Method
from amint_core.methods.posteriors import check_finite, top_posteriors

if TYPE_CHECKING:
    from amint_core.methods.case import Case

#: Posteriors that the attack classifier reads, the highest first (as published).
TOP = 3


def salem(top: np.ndarray, shadow_top: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return an attack classifier's logit for each image, under equal priors.

    The classifier is a logistic regression: it has one optimum and no seed, so the score follows
    from the posteriors alone, and it can weigh both sides the same, so that 0 is the natural
    threshold however many images lie inside.

    Args:
        top: (N, k) highest posteriors of the target, falling.
        shadow_top: (N, k) the same of the shadow model.
        inside: (N,) bool: whether the shadow model was trained on the image.

    Raises:
        SettingsError: the shadow model was trained on all images, or on none.
    """
    if inside.all() or not inside.any():
        raise SettingsError(
            f"The first shadow model was trained on {'all' if inside.all() else 'none'} of the "
            f"{len(inside)} images: an attack classifier needs both kinds. Give more "
            "calibration or holdout images, which shadow models are drawn from like members."
        )
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    return classifier.fit(shadow_top, inside).decision_function(top)


def score(case: Case) -> np.ndarray:
    """Return (N,) logits of the attack classifier trained on shadow model 0.

    It learns from images as they are, whatever the query went through.
    """
    exact = case.after(EXACT, judged_only=False).shadows
    check_finite(case.logits, "audited model")
    check_finite(exact.logits[0], "shadow model 0")
    tops = top_posteriors(case.logits, TOP), top_posteriors(exact.logits[0], TOP)
    return salem(*tops, exact.inside[0])


METHOD = Method(
    name="salem",
    title="Salem (one shadow model)",
    group="attack",
    summary="A classifier of the three highest posteriors, learnt on one shadow model (Salem et "
    "al., 'ML-Leaks', NDSS 2019, adversary 1).",
    score=score,
    shadows=1,
    most_shadows=1,
    published_shadows=(1, 1),
    transformed="among_others",
)

"""Control: a blind baseline, which tells members from non-members without any model.

It learns from pixels what distinguishes the two groups. Where both come from one population it is
at chance; whatever it finds beyond that is distribution shift, which every membership test on the
same images may have profited from (Das, Zhang, Tramèr, Blind Baselines Beat Membership Inference
Attacks for Foundation Models, arXiv 2406.16201).

It reads the membership of judged images, as a control may: each is scored by a classifier that has
not seen it, nor any frame of its track.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.methods.crossfit import cross_fitted, fold_seed, folds_of
from amint_core.methods.method import Method

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from amint_core.methods.case import Case

_STREAM = 31  # of random numbers that follow from the run's seed
_COMPONENTS = 24  # principal components of the thumbnails
_CHUNK = 1024  # images in memory at a time


def score(case: Case) -> np.ndarray:
    """Return (N,) cross-fitted log-odds of being a member, from pixels alone.

    Members, calibration and judged non-members are scored by the classifier of their fold, which
    is stratified by membership and keeps tracks whole; images of other roles by the mean.

    Raises:
        SettingsError: a side has fewer independent images (or tracks) than there are folds.
    """
    from amint_core.methods.image_statistics import features

    images, member = case.images, case.member
    learns = member | (images["role"] == "calibration").to_numpy() | images["judged"].to_numpy()
    seed = fold_seed(case.settings.seed, _STREAM)
    remedy = "Give more images (or tracks) to both sides."
    folds = folds_of("The blind control", remedy, np.flatnonzero(learns), member, case.groups, seed)
    values = np.concatenate([features(pixels) for pixels in case.chunks(_CHUNK)])
    classifier = _classifier(case.dataset.channels, seed)
    return cross_fitted(classifier, values, member, case.labels, folds)


def _classifier(channels: int, seed: int) -> Pipeline:
    """Build shallow boosted trees over components of the thumbnail and global statistics.

    Trees need no scaling and find thresholds in and pairs of statistics; boosting gives log-odds,
    where a random forest's shares of votes reach 0 and 1, and takes seconds for thousands of rows.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.decomposition import PCA
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    from amint_core.methods.image_statistics import THUMBNAIL

    thumbnail = slice(0, channels * THUMBNAIL**2)
    columns = make_column_transformer(
        (PCA(_COMPONENTS, random_state=seed), thumbnail), remainder="passthrough"
    )
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=100,
        max_leaf_nodes=8,
        max_bins=32,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    return make_pipeline(columns, trees)


METHOD = Method(
    name="blind",
    title="Blind baseline",
    group="control",
    summary="Learns from pixels alone, without any model: what it finds is distribution shift "
    "(Das et al., 2024).",
    score=score,
)

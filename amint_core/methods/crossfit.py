"""Cross-fitting: every image is scored by classifiers that have not learned from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from amint_core.errors import SettingsError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

#: Classifiers that share the known images, each leaving out a fold.
FOLDS = 5

Fold = tuple[np.ndarray, np.ndarray]  # rows to learn from, rows held out


def cross_fitted(
    classifier: Pipeline,
    features: np.ndarray,
    member: np.ndarray,
    labels: np.ndarray,
    folds: Iterable[Fold],
) -> np.ndarray:
    """Score the held-out rows of each fold by that fold's classifier, all other rows by the mean.

    What is held out is missing from what is learned, so a classifier at a loss scores its own fold
    the wrong way round, and the AUC falls below .5 where there is nothing to find (Parker et al.,
    Stratification bias in low signal microarray studies, BMC Bioinformatics 2007). Two guards: the
    rows learned from are weighted so that members and non-members of each class keep their shares;
    and a score is the log-odds less the log-odds of a member among the rows learned from, so that
    0 is the natural threshold, too.

    Args:
        classifier: a scikit-learn pipeline that ends in a classifier with log-odds as
            `decision_function`; cloned.
        features: (N, F) numbers.
        member: (N,) bool; read at the rows of the folds only.
        labels: (N,) class numbers.
        folds: row numbers, as a scikit-learn splitter gives them, counted in the N rows.

    Returns:
        (N,) float64 scores.
    """
    from scipy.special import logit
    from sklearn.base import clone

    folds = list(folds)
    known = np.concatenate([held for _, held in folds])
    others = np.setdiff1d(np.arange(len(features)), known)
    scores = np.zeros(len(features))
    weights_of = f"{classifier.steps[-1][0]}__sample_weight"
    for learned, held in folds:
        weights = _keep_shares(member, labels, known, learned)
        fitted = clone(classifier).fit(features[learned], member[learned], **{weights_of: weights})
        base = logit(np.average(member[learned], weights=weights))
        scores[held] = fitted.decision_function(features[held]) - base
        if len(others):
            scores[others] += (fitted.decision_function(features[others]) - base) / len(folds)
    return scores


def folds_of(
    name: str, remedy: str, rows: np.ndarray, member: np.ndarray, groups: np.ndarray, seed: int
) -> list[Fold]:
    """Deal `rows` to folds, stratified by membership; frames of one track stay in one fold.

    Args:
        name: of the test, for the error.
        remedy: what to do where there are too few.
        rows: (R,) row numbers to deal.
        member: (N,) bool; read at `rows` only.
        groups: (N,) numbers that frames of one track share.
        seed: of the shuffling.

    Raises:
        SettingsError: fewer independent members or non-members (images or tracks) than folds.
    """
    sides = [len(np.unique(groups[rows[member[rows] == side]])) for side in (True, False)]
    if min(sides) < FOLDS:
        raise SettingsError(
            f"{name} learns from known members and non-members in {FOLDS} folds, but has "
            f"{sides[0]} and {sides[1]} (a track counts once). {remedy}"
        )
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return [
        (rows[learned], rows[held])
        for learned, held in splitter.split(rows, member[rows], groups[rows])
    ]


def _keep_shares(
    member: np.ndarray, labels: np.ndarray, known: np.ndarray, learned: np.ndarray
) -> np.ndarray:
    """Return weights of the learned rows that give each side of a class its share of all known.

    Where the fold has taken away all members or all non-members of a class, the rest of the class
    says nothing about the rows held out: it weighs nothing.
    """
    _, classes = np.unique(labels, return_inverse=True)
    cells = 2 * classes + member
    wanted = np.bincount(cells[known], minlength=2 * classes.max() + 2).reshape(-1, 2)
    present = np.bincount(cells[learned], minlength=wanted.size).reshape(-1, 2)
    factors = np.divide(wanted, present, out=np.zeros(wanted.shape), where=present > 0)
    factors[((wanted > 0) & (present == 0)).any(1)] = 0
    weights = factors.ravel()[cells[learned]]
    return weights / weights.mean()  # how much a classifier is regularised stays as it is


def fold_seed(seed: int, stream: int) -> int:
    """Return a number that scikit-learn takes as seed; a run's own may be too long for it."""
    return int(np.random.default_rng([seed, stream]).integers(2**32))

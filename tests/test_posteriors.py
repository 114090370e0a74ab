"""Losses and posteriors from logits: their formulas, and their digits where a model is certain."""

import numpy as np
import pytest
from made_logits import CLASSES, made_case

from amint_core.errors import DataError
from amint_core.methods import posteriors


def test_losses_and_scaled_logits_follow_their_formulas():
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, 3, (20, 5)), random.integers(0, 5, 20)
    p = np.array(
        [np.exp(row)[y] / np.exp(row).sum() for row, y in zip(logits, labels, strict=True)]
    )
    np.testing.assert_allclose(posteriors.cross_entropy(logits, labels), -np.log(p))
    phi = np.log(p) - np.log(1 - p)
    np.testing.assert_allclose(posteriors.scaled_logits(logits, labels), phi, rtol=1e-9)


def test_certain_posteriors_keep_their_digits():
    logits = np.array([[90.0, 0.0], [80.0, 0.0], [-900.0, 0.0]], np.float32)
    labels = np.zeros(3, int)
    np.testing.assert_allclose(posteriors.scaled_logits(logits, labels), [90, 80, -900])
    loss = posteriors.cross_entropy(logits, labels)
    np.testing.assert_allclose(loss, [np.exp(-90.0), np.exp(-80.0), 900], rtol=1e-12)
    assert logits[0, 0] == 90  # the given array is left alone


def test_top_posteriors_fall_and_stop_at_the_number_of_classes():
    top = posteriors.top_posteriors(np.log([[0.2, 0.5, 0.1, 0.2]]), 3)
    np.testing.assert_allclose(top, [[0.5, 0.2, 0.2]])
    assert posteriors.top_posteriors(np.zeros((2, 2)), 3).shape == (2, 2)


def test_the_taylor_loss_is_its_formula():
    logits = np.random.default_rng(0).normal(0, 6, (5, 4)).astype(np.float32)
    labels = np.array([0, 3, 1, 2, 2])

    def series(x):
        return 1 + x + x**2 / 2 + x**3 / 6 + x**4 / 24

    for row, label, found in zip(
        logits, labels, posteriors.taylor_loss(logits, labels), strict=True
    ):
        true = series(float(row[label]) / 2 - 0.6)
        total = true + sum(series(float(row[k]) / 2) for k in range(4) if k != label)
        assert found == pytest.approx(-np.log(true / total), rel=1e-6)
    # Where the softmax is 1 to the last bit, images are still told apart.
    sure = posteriors.taylor_loss(np.array([[40.0, 0.0], [60.0, 0.0]]), np.array([0, 0]))
    assert sure[0] > sure[1] > 0


def test_a_label_that_the_model_does_not_know_is_refused():
    case = made_case()
    case.images.loc[0, "label"] = CLASSES
    with pytest.raises(DataError, match=r"label 4, but the audited model knows .* 0 to 3"):
        posteriors.labels_of(case)

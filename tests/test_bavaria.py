"""BaVarIA: against the integral that it stands for, and where it lacks models."""

import numpy as np
import pytest
from made_logits import made_case, made_phi
from scipy import stats
from sklearn.metrics import roc_auc_score

from amint_core.errors import SettingsError
from amint_core.methods import bavaria, lira


def predictive(at, seen, prior):
    """The density at a φ, with mean and variance integrated over on a grid."""
    centre, beta = prior.mean(), prior.var()  # α₀ = 2
    variance = np.exp(np.linspace(-8, 12, 801))[:, None]
    mean = np.linspace(-60, 60, 4001)[None, :]
    weight = stats.invgamma.pdf(variance, 2, scale=beta) * variance  # of its logarithm
    weight = weight * normal(mean, centre, variance)  # κ₀ = 1
    for one in seen:
        weight = weight * normal(one, mean, variance)
    return (weight * normal(at, mean, variance)).sum() / weight.sum()


def normal(at, mean, variance):
    return np.exp(-((at - mean) ** 2) / (2 * variance)) / (2 * np.pi * variance) ** 0.5


@pytest.mark.parametrize("image", [0, 7, 29])  # the last was in no model's training
def test_bavaria_is_the_ratio_of_two_integrals(image):
    phi, shadow_phi, inside, _ = made_phi(shadows=4)
    at, known = phi[image], inside[:, image]
    out = predictive(at, shadow_phi[~known, image], shadow_phi[~inside])
    found = bavaria.online(phi, shadow_phi, inside)[image]
    expected = predictive(at, shadow_phi[known, image], shadow_phi[inside])
    assert found == pytest.approx(np.log(expected / out), abs=1e-4)
    prior = predictive(at, np.empty(0), shadow_phi[inside])
    found = bavaria.offline(phi, shadow_phi, inside)[image]
    assert found == pytest.approx(np.log(prior / out), abs=1e-4)


def auc(case, scores):
    judged = case.images["judged"].to_numpy()
    return roc_auc_score(case.member[judged], scores[judged])


def test_with_few_shadow_models_it_beats_lira_that_trusts_each_images_variance():
    ours, theirs = [], []
    for seed in range(5):
        case = made_case(seed, shadows=4, variance="per_image")
        ours.append(auc(case, bavaria.ONLINE.score(case)))
        theirs.append(auc(case, lira.ONLINE.score(case)))
    assert np.mean(ours) > np.mean(theirs) + 0.02


def test_bavaria_without_an_image_inside_is_refused():
    phi, shadow_phi, inside, _ = made_phi()
    with pytest.raises(SettingsError, match="Choose method = 'lira_offline'"):
        bavaria.offline(phi, shadow_phi, np.zeros_like(inside))


def test_bavaria_survives_shadow_models_that_agree_to_the_last_digit():
    phi, _, inside, _ = made_phi()
    same = np.where(inside, 1.0, 0.0)
    assert np.isfinite(bavaria.online(phi, same, inside)).all()

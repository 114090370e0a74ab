"""RMIA: against a slow transcription of its formulas, and its population."""

import numpy as np
import pytest
from made_logits import made_case, made_phi

from amint_core.errors import DataError, SettingsError
from amint_core.methods import rmia


def slow_means(shadow_p, inside, n):
    """Image n's mean posterior under the models inside and outside of it; None for no model."""
    sides = []
    for wanted in (True, False):
        values = [shadow_p[s, n] for s in range(len(shadow_p)) if inside[s, n] == wanted]
        sides.append(sum(values) / len(values) if values else None)
    return sides


def slow_fit(shadow_p, inside):
    """a, from the images that have both sides."""
    means = [slow_means(shadow_p, inside, n) for n in range(shadow_p.shape[1])]
    pairs = [(1 - p_in, 1 - p_out) for p_in, p_out in means if p_in is not None]
    return min(sum(y * x for y, x in pairs) / sum(x * x for _, x in pairs), 1)


def slow_rmia(log_p, shadow_log_p, inside, population, gamma, a):
    """Shares by comparing each image with each population image; a None is the online attack."""
    p, shadow_p = np.exp(log_p), np.exp(shadow_log_p)
    ratio = []
    for n in range(len(p)):
        p_in, p_out = slow_means(shadow_p, inside, n)
        if a is not None or p_in is None:
            used = slow_fit(shadow_p, inside) if a is None else a
            p_in = used * p_out + (1 - used)
        ratio.append(p[n] / ((p_in + p_out) / 2))
    others = [ratio[n] for n in range(len(p)) if population[n]]
    return np.array([np.mean([one / other >= gamma for other in others]) - 0.5 for one in ratio])


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("a", [None, 0.3, 0.6])
def test_rmia_is_its_formula(a, gamma):
    phi, shadow_phi, inside, _ = made_phi(images=40)
    shadow_phi += 2 * inside
    log_p, shadow_log_p = -np.logaddexp(0, -phi), -np.logaddexp(0, -shadow_phi)
    population = np.arange(40) >= 30
    if a is None:
        found = rmia.online(log_p, shadow_log_p, inside, population, gamma)
    else:
        found = rmia.offline(log_p, shadow_log_p, inside, population, gamma, a)
    slow = slow_rmia(log_p, shadow_log_p, inside, population, gamma, a)
    assert len(set(slow)) > 5
    np.testing.assert_allclose(found, slow, atol=1e-12)


def test_an_image_dominates_itself_at_gamma_1():
    population = np.array([True, True, True])
    shares = rmia.offline(
        np.log([0.9, 0.5, 0.1]), np.log(np.full((2, 3), 0.5)), np.zeros((2, 3), bool), population
    )
    np.testing.assert_allclose(shares, np.array([3, 2, 1]) / 3 - 0.5)


def test_rmia_keeps_apart_posteriors_too_small_to_write_down():
    log_p = np.array([-2000.0, -1500.0, -1800.0, -1.0])
    shadow_log_p = np.full((2, 4), -1800.0)
    inside = np.array([[True] * 4, [False] * 4])
    shares = rmia.online(log_p, shadow_log_p, inside, np.array([False, False, True, True]))
    np.testing.assert_allclose(shares, [-0.5, 0.0, 0.0, 0.5])


def test_rmia_online_without_an_image_inside_is_refused():
    case = made_case()
    case.shadows.inside[:] = False
    with pytest.raises(SettingsError, match="Choose method = 'rmia_offline'"):
        rmia.ONLINE.score(case)
    assert np.isfinite(rmia.OFFLINE.score(case)).all()


@pytest.mark.parametrize(("target", "role"), [("plain", "external"), ("active", "calibration")])
def test_rmia_without_a_population_is_refused(target, role):
    case = made_case(target=target)
    case.images.loc[case.images["role"] == role, "role"] = "test"
    with pytest.raises(DataError, match="external, or for target = 'active' calibration, above 0"):
        rmia.ONLINE.score(case)


@pytest.mark.parametrize("attack", [rmia.ONLINE, rmia.OFFLINE])
def test_rmias_population_did_not_train_the_target(attack):
    case = made_case(target="active")
    external = (case.images["role"] == "external").to_numpy()
    before = attack.score(case)[~external]
    # The head has made the active model answer as it likes on external images.
    case.logits[external] = np.random.default_rng(1).normal(0, 9, case.logits[external].shape)
    assert np.array_equal(attack.score(case)[~external], before)
    case.settings.target = "plain"
    assert not np.array_equal(attack.score(case)[~external], before)

"""RMIA: against a slow transcription of its formulas, and its population."""

import math
from functools import partial

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


def slow_ratios(log_p, shadow_log_p, inside, a):
    p, shadow_p = np.exp(log_p), np.exp(shadow_log_p)
    ratios = []
    for n in range(len(p)):
        p_in, p_out = slow_means(shadow_p, inside, n)
        if a is not None or p_in is None:
            used = slow_fit(shadow_p, inside) if a is None else a
            p_in = used * p_out + (1 - used)
        ratios.append(p[n] / ((p_in + p_out) / 2))
    return ratios


def made_posteriors(images=40):
    phi, shadow_phi, inside, _ = made_phi(images=images)
    shadow_phi += 2 * inside
    return -np.logaddexp(0, -phi), -np.logaddexp(0, -shadow_phi), inside


def scored(posteriors, population, a):
    attack = rmia.online if a is None else partial(rmia.offline, offline_a=a)
    return attack(*posteriors, population)


@pytest.mark.parametrize("a", [None, 0.3, 0.6])
def test_rmia_is_its_formula(a):
    posteriors, population = made_posteriors(), np.arange(40) >= 29
    ratios = slow_ratios(*posteriors, a)
    middle = sorted(ratios[29:])[5]
    expected = [math.log(one / middle) for one in ratios]
    np.testing.assert_allclose(scored(posteriors, population, a), expected, atol=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("a", [None, 0.3, 0.6])
def test_scores_order_images_as_published_shares_do_and_part_those_that_tie(a, gamma):
    posteriors, population = made_posteriors(), np.arange(40) >= 29
    found, ratios = scored(posteriors, population, a), slow_ratios(*posteriors, a)
    shares = np.array([np.mean([one / z >= gamma for z in ratios[29:]]) for one in ratios])
    assert 5 < len(set(shares)) < len(set(found)) == 40
    assert (np.diff(shares[np.argsort(found)]) >= 0).all()
    if gamma == 1:
        assert np.array_equal(found >= 0, shares > 0.5)


def test_rmia_keeps_apart_posteriors_too_small_to_write_down():
    log_p = np.array([-2000.0, -1500.0, -1800.0, -1.0, -1700.0])
    shadow_log_p = np.full((2, 5), -1800.0)
    inside = np.array([[True] * 5, [False] * 5])
    scores = rmia.online(log_p, shadow_log_p, inside, np.arange(5) >= 2)
    np.testing.assert_allclose(scores, log_p + 1700)


@pytest.mark.parametrize("attack", [rmia.ONLINE, rmia.OFFLINE])
def test_of_transformed_non_members_fewer_than_one_in_a_hundred_tie_at_the_top(attack):
    # After a transformation no model knows an image by heart, so that a target may be surer of a
    # non-member than the models trained on it: beyond every population image, which is untouched.
    case, judged = made_case(gap=8.0), made_case().images["judged"].to_numpy()
    strange = made_case(seed=1, gap=0.0)
    case.logits[judged] = strange.logits[judged]
    case.shadows.logits[:, judged] = strange.shadows.logits[:, judged]
    scores = attack.score(case)[judged & ~case.member]
    assert (scores == scores.max()).mean() < 0.01
    assert len(set(scores)) == len(scores)


def test_rmia_online_measures_its_population_as_the_images_asked_about():
    case = made_case()
    calibration = (case.images["role"] == "calibration").to_numpy()
    scores = rmia.ONLINE.score(case)
    assert np.median(scores[calibration]) == pytest.approx(0, abs=1e-12)
    # Without calibration images, which a shadow model may know, the external ones must do.
    case.images.loc[calibration, "role"] = "holdout"
    external = (case.images["role"] == "external").to_numpy()
    assert np.median(rmia.ONLINE.score(case)[external]) == pytest.approx(0, abs=1e-12)


def test_rmia_online_without_an_image_inside_is_refused():
    case = made_case()
    case.shadows.inside[:] = False
    with pytest.raises(SettingsError, match="Choose method = 'rmia_offline'"):
        rmia.ONLINE.score(case)
    with pytest.raises(SettingsError, match="Choose method = 'rmia_offline'"):
        rmia.ONLINE.check_shadows(case.shadows.inside, case.settings)  # before any is trained
    assert np.isfinite(rmia.OFFLINE.score(case)).all()


@pytest.mark.parametrize(
    ("attack", "target", "roles"),
    [
        (rmia.OFFLINE, "plain", ["external"]),
        (rmia.OFFLINE, "active", ["calibration"]),
        (rmia.ONLINE, "plain", ["external", "calibration"]),
        (rmia.ONLINE, "active", ["calibration"]),
    ],
)
def test_rmia_without_a_population_is_refused(attack, target, roles):
    case = made_case(target=target)
    case.images.loc[case.images["role"].isin(roles), "role"] = "test"
    with pytest.raises(DataError, match="external, or for target = 'active' calibration, above 0"):
        attack.score(case)


@pytest.mark.parametrize("attack", [rmia.ONLINE, rmia.OFFLINE])
def test_rmias_population_did_not_train_the_target(attack):
    case = made_case(target="active")
    external = (case.images["role"] == "external").to_numpy()
    before = attack.score(case)[~external]
    # The head has made the active model answer as it likes on external images.
    case.logits[external] = np.random.default_rng(1).normal(0, 9, case.logits[external].shape)
    assert np.array_equal(attack.score(case)[~external], before)


def test_rmia_offline_takes_external_images_that_trained_no_head():
    case = made_case()
    external = (case.images["role"] == "external").to_numpy()
    assert np.median(rmia.OFFLINE.score(case)[external]) == pytest.approx(0, abs=1e-12)

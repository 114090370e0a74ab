"""The attacks: a planted signal is found, the truth is never read; Yeom, Watson, Salem by hand."""

import numpy as np
import pytest
from made_logits import ROLES, made_case
from sklearn.metrics import roc_auc_score

from amint_core.errors import ModelError, SettingsError
from amint_core.methods import bavaria, lira, rmia, salem, watson, yeom
from amint_core.run.shadows import Shadows

ATTACKS = {
    one.name: one
    for one in (
        yeom.METHOD,
        salem.METHOD,
        watson.METHOD,
        lira.ONLINE,
        lira.OFFLINE,
        bavaria.ONLINE,
        bavaria.OFFLINE,
        rmia.ONLINE,
        rmia.OFFLINE,
    )
}


def auc(case, scores):
    judged = case.images["judged"].to_numpy()
    return roc_auc_score(case.member[judged], scores[judged])


# Every attack.


@pytest.mark.parametrize("name", ATTACKS)
def test_a_planted_signal_is_found(name):
    case = made_case()
    scores = ATTACKS[name].score(case)
    assert scores.shape == (len(case.images),)
    assert np.isfinite(scores).all()
    assert auc(case, scores) > 0.8


@pytest.mark.parametrize("name", ATTACKS)
def test_a_target_trained_on_others_gives_chance(name):
    # The same members in the table, but a target that was trained on a random half of all images.
    secret = np.random.default_rng(5).random(sum(ROLES.values())) < 0.5
    values = []
    for seed in range(4):
        case = made_case(seed, secret=secret)
        values.append(auc(case, ATTACKS[name].score(case)))
    # One AUC of 200 against 200 has a standard deviation of .029, the mean of four .0145.
    assert abs(np.mean(values) - 0.5) < 0.05


@pytest.mark.parametrize("name", ATTACKS)
def test_the_truth_about_judged_images_is_never_read(name):
    case, other = made_case(), made_case()
    judged = other.images["judged"]
    other.images.loc[judged, "member"] = ~other.images.loc[judged, "member"]
    other.images.loc[judged, "role"] = "unknown"
    assert not case.images.equals(other.images)
    np.testing.assert_array_equal(ATTACKS[name].score(case), ATTACKS[name].score(other))


@pytest.mark.parametrize("name", ATTACKS)
def test_scores_are_finite_where_posteriors_are_certain(name):
    case = made_case(gap=200.0)
    assert np.isfinite(ATTACKS[name].score(case)).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_image_without_a_label_takes_the_predicted_class(name):
    case, guessed = made_case(), made_case()
    case.images.loc[:50, "label"] = -1
    guessed.images.loc[:50, "label"] = guessed.logits.argmax(1)[:51]
    np.testing.assert_array_equal(ATTACKS[name].score(case), ATTACKS[name].score(guessed))


@pytest.mark.parametrize("name", ATTACKS)
def test_a_diverged_target_is_refused(name):
    case = made_case()
    case.logits[3, 1] = np.nan
    with pytest.raises(ModelError, match="audited model gives logits that are not finite"):
        ATTACKS[name].score(case)


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS[name].shadows])
def test_a_diverged_shadow_model_is_refused(name):
    case = made_case()
    case.shadows.logits[0, 3, 1] = np.inf
    with pytest.raises(ModelError, match="shadow model 0 gives logits that are not finite"):
        ATTACKS[name].score(case)


@pytest.mark.parametrize("name", [name for name in ATTACKS if ATTACKS[name].shadows])
def test_the_least_number_of_shadow_models_suffices(name):
    case = made_case(shadows=max(ATTACKS[name].shadows, 2))
    if ATTACKS[name].shadows == 1:
        case.shadows = Shadows(case.shadows.inside[:1], case.shadows.logits[:1])
    assert auc(case, ATTACKS[name].score(case)) > 0.6


@pytest.mark.parametrize(
    "name", ["watson", "lira_online", "lira_offline", "bavaria_offline", "rmia_online"]
)
def test_images_inside_every_shadow_model_are_refused(name):
    case = made_case()
    case.shadows.inside[:, :7] = True
    with pytest.raises(SettingsError, match=r"7 of the 1000 images.*shadows higher, such as 16"):
        ATTACKS[name].score(case)


def test_every_attack_with_shadows_says_where_published_results_come_from():
    said = {name: one.beside_published(4) for name, one in ATTACKS.items() if one.shadows}
    assert said == {
        "salem": "Salem (one shadow model): 1 shadow model; its paper used 1.",
        "watson": "Watson (difficulty calibration): 4 shadow models; how many its paper used is "
        "not known to us.",
        "lira_online": "LiRA (online): 4 shadow models; its paper used 64 to 256: expect less "
        "power.",
        "lira_offline": "LiRA (offline): 4 shadow models; its paper used 64 to 256: expect less "
        "power.",
        "bavaria_online": "BaVarIA (online): 4 shadow models; how many its paper used is not known "
        "to us.",
        "bavaria_offline": "BaVarIA (offline): 4 shadow models; how many its paper used is not "
        "known to us.",
        "rmia_online": "RMIA (online): 4 shadow models; its paper used 2 to 254.",
        "rmia_offline": "RMIA (offline): 4 shadow models; its paper used 2 to 254.",
    }
    assert "less" not in lira.ONLINE.beside_published(64)


# Yeom, Watson, Salem.


def test_yeom_compares_with_the_mean_loss_of_known_members():
    loss = np.array([1.0, 3.0, 0.5, 9.0])
    known = np.array([True, True, False, False])
    np.testing.assert_allclose(yeom.yeom(loss, known), [1.0, -1.0, 1.5, -7.0])


def test_watson_averages_the_models_not_trained_on_the_image():
    inside = np.array([[True, False], [False, False], [False, True]])
    shadow_loss = np.array([[100.0, 1.0], [2.0, 5.0], [4.0, 100.0]])
    scores = watson.watson(np.array([1.0, 4.0]), shadow_loss, inside)
    np.testing.assert_allclose(scores, [3.0 - 1.0, 3.0 - 4.0])


def test_salem_puts_0_between_both_sides_however_many_lie_inside():
    random = np.random.default_rng(0)
    inside = np.arange(1100) < 100
    shadow_top = random.normal(np.where(inside, 0.9, 0.3), 0.05)[:, None]
    logit = salem.salem(np.array([[0.55], [0.65]]), shadow_top, inside)
    assert logit[0] < 0 < logit[1]


def test_salem_learns_from_shadow_model_0_alone():
    case = made_case()
    first = salem.METHOD.score(case)
    alone = Shadows(case.shadows.inside[:1], case.shadows.logits[:1])
    case.shadows = alone
    np.testing.assert_array_equal(first, salem.METHOD.score(case))


@pytest.mark.parametrize("inside", [True, False])
def test_salem_needs_images_on_both_sides(inside):
    with pytest.raises(SettingsError, match="needs both kinds"):
        salem.salem(np.ones((4, 3)), np.ones((4, 3)), np.full(4, inside))

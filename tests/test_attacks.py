"""The attacks: against slow transcriptions of their formulas, made cases, and planted signals."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from amint_core.exceptions import DataError, ModelError, SettingsError
from amint_core.methods import lira, posteriors, rmia, salem, watson, yeom
from amint_core.methods.case import Case
from amint_core.methods.shadows import Shadows

CLASSES = 4
ATTACKS = {
    one.name: one
    for one in (
        yeom.METHOD,
        salem.METHOD,
        watson.METHOD,
        lira.ONLINE,
        lira.OFFLINE,
        rmia.ONLINE,
        rmia.OFFLINE,
    )
}
#: The role and number of images of a made case; half of the members are judged.
ROLES = {"members": 400, "external": 200, "calibration": 200, "holdout": 200}


def made_images(random):
    role = np.repeat(list(ROLES), list(ROLES.values()))
    member = role == "members"
    judged = (role == "holdout") | (member & (np.cumsum(member) <= ROLES["members"] // 2))
    label = random.integers(0, CLASSES, len(role))
    return pd.DataFrame({"role": role, "member": member, "judged": judged, "label": label})


def made_case(seed=0, gap=3.0, shadows=8, variance="global", secret=None, target="plain"):
    """A case of logits: hard and easy images, and `gap` more on the class of who was trained on.

    `secret` replaces the membership that the target's logits follow.
    """
    random = np.random.default_rng(seed)
    images = made_images(random)
    pool = (images["role"] != "external").to_numpy()
    order = np.argsort(random.random((shadows // 2, len(images))), axis=1)
    half = order % 2 == 0
    inside = np.concatenate([half, ~half]) & pool  # each pool image inside half of them
    trained = images["member"].to_numpy() if secret is None else secret
    ease = random.normal(1, 1.5, len(images))  # (N,)

    def answers(trained):
        logits = random.normal(0, 0.7, (len(images), CLASSES))
        logits[np.arange(len(images)), images["label"]] += ease + gap * trained
        return logits.astype(np.float32)

    shadows = Shadows(inside, np.stack([answers(one) for one in inside]))
    case = Case(
        settings=SimpleNamespace(variance=variance, target=target),
        dataset=None,
        split=None,
        images=images,
        target=None,
        device=None,
        find_shadows=lambda case: shadows,
    )
    case.logits = answers(trained)
    return case


def auc(case, scores):
    judged = case.images["judged"].to_numpy()
    return roc_auc_score(case.member[judged], scores[judged])


def made_phi(seed=0, shadows=6, images=30):
    """Random φ, and who is inside: each image in half of the models, the last five in none."""
    random = np.random.default_rng(seed)
    inside = np.array([random.permutation(shadows) < shadows // 2 for _ in range(images)]).T
    inside[:, -5:] = False
    labels = random.integers(0, 3, images)
    labels[-1] = 3  # a class of which no shadow model saw an image
    return random.normal(1, 2, images), random.normal(0, 2, (shadows, images)), inside, labels


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


@pytest.mark.parametrize("name", ["watson", "lira_online", "lira_offline", "rmia_online"])
def test_images_inside_every_shadow_model_are_refused(name):
    case = made_case()
    case.shadows.inside[:, :7] = True
    with pytest.raises(SettingsError, match=r"7 of the 1000 images.*shadows higher, such as 16"):
        ATTACKS[name].score(case)


@pytest.mark.parametrize("attack", [lira.ONLINE, lira.OFFLINE])
def test_the_setting_variance_is_heeded(attack):
    scores = [attack.score(made_case(variance=one)) for one in ("global", "per_class", "per_image")]
    assert not np.allclose(scores[0], scores[1])
    assert not np.allclose(scores[1], scores[2])


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
        "rmia_online": "RMIA (online): 4 shadow models; its paper used 2 to 254.",
        "rmia_offline": "RMIA (offline): 4 shadow models; its paper used 2 to 254.",
    }
    assert "less" not in lira.ONLINE.beside_published(64)


# Posteriors.


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


def test_a_label_that_the_model_does_not_know_is_refused():
    case = made_case()
    case.images.loc[0, "label"] = CLASSES
    with pytest.raises(DataError, match=r"label 4, but the audited model knows .* 0 to 3"):
        posteriors.labels_of(case)


# Yeom, Watson, Salem.


def test_yeom_compares_with_the_mean_loss_of_known_members():
    loss = np.array([1.0, 3.0, 0.5, 9.0])
    known = np.array([True, True, False, False])
    np.testing.assert_allclose(yeom.yeom(loss, known), [1.0, -1.0, 1.5, -7.0])


def test_yeom_without_known_members_is_refused():
    case = made_case()
    case.images.loc[case.images["member"], "judged"] = True
    with pytest.raises(SettingsError, match="Set calibration above 0"):
        yeom.METHOD.score(case)


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


# LiRA.


def slow_gaussian(phi, chosen, labels, variance, n):
    """Mean and variance of image n's φ over the chosen models; None for what it lacks."""
    models, images = phi.shape
    mine = [phi[s, n] for s in range(models) if chosen[s, n]]
    deviations, freedom = [], 0
    for m in range(images):
        same = {"global": True, "per_class": labels[m] == labels[n], "per_image": m == n}
        values = [phi[s, m] for s in range(models) if chosen[s, m]]
        if same[variance] and values:
            centre = sum(values) / len(values)
            deviations += [(value - centre) ** 2 for value in values]
            freedom += len(values) - 1
    mean = sum(mine) / len(mine) if mine else None
    return mean, sum(deviations) / freedom if freedom else None


def slow_variance(phi, chosen, labels, variance, n):
    for one in ("per_image", "per_class", "global")[
        ("per_image", "per_class", "global").index(variance) :
    ]:
        value = slow_gaussian(phi, chosen, labels, one, n)[1]
        if value is not None:
            return value
    raise AssertionError("no variance at all")


def slow_gap(phi, inside, labels, n):
    gaps = {}
    for m in range(phi.shape[1]):
        if inside[:, m].any():
            gaps[m] = phi[inside[:, m], m].mean() - phi[~inside[:, m], m].mean()
    own = [gap for m, gap in gaps.items() if labels[m] == labels[n]]
    return np.mean(own or list(gaps.values()))


@pytest.mark.parametrize("variance", ["global", "per_class", "per_image"])
def test_lira_online_is_its_formula(variance):
    phi, shadow_phi, inside, labels = made_phi()
    found = lira.online(phi, shadow_phi, inside, labels, variance)
    for n in range(len(phi)):
        mean_in = slow_gaussian(shadow_phi, inside, labels, variance, n)[0]
        mean_out = slow_gaussian(shadow_phi, ~inside, labels, variance, n)[0]
        if mean_in is None:
            mean_in = mean_out + slow_gap(shadow_phi, inside, labels, n)
        p_in = norm(mean_in, slow_variance(shadow_phi, inside, labels, variance, n) ** 0.5)
        p_out = norm(mean_out, slow_variance(shadow_phi, ~inside, labels, variance, n) ** 0.5)
        assert found[n] == pytest.approx(np.log(p_in.pdf(phi[n]) / p_out.pdf(phi[n])))


@pytest.mark.parametrize("variance", ["global", "per_class", "per_image"])
def test_lira_offline_is_its_formula(variance):
    phi, shadow_phi, inside, labels = made_phi()
    found = lira.offline(phi, shadow_phi, inside, labels, variance)
    for n in range(len(phi)):
        mean = slow_gaussian(shadow_phi, ~inside, labels, variance, n)[0]
        out = norm(mean, slow_variance(shadow_phi, ~inside, labels, variance, n) ** 0.5)
        assert norm.cdf(found[n]) == pytest.approx(1 - out.sf(phi[n]))


def test_lira_per_image_wants_two_models_on_each_side():
    phi, shadow_phi, inside, labels = made_phi()
    inside[:, 2] = np.arange(6) == 0
    with pytest.raises(SettingsError, match=r"inside of two shadow models.*1 images are inside of"):
        lira.online(phi, shadow_phi, inside, labels, "per_image")
    lira.offline(phi, shadow_phi, inside, labels, "per_image")
    inside[:, 2] = np.arange(6) != 0
    with pytest.raises(
        SettingsError, match=r"outside of two shadow models.*such as 12, or variance = 'global'"
    ):
        lira.offline(phi, shadow_phi, inside, labels, "per_image")


def test_lira_with_one_model_inside_each_image_is_refused():
    phi, shadow_phi, inside, labels = made_phi(shadows=2)
    with pytest.raises(SettingsError, match=r"'global' needs an image inside of two.*shadows = 2"):
        lira.online(phi, shadow_phi, inside, labels)


def test_lira_survives_shadow_models_that_agree_to_the_last_digit():
    phi, _, inside, labels = made_phi()
    same = np.where(inside, 1.0, 0.0)
    assert np.isfinite(lira.online(phi, same, inside, labels, "per_image")).all()


# RMIA.


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

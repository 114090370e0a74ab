"""LiRA: against a slow transcription of its formulas, and where it lacks models."""

import numpy as np
import pytest
from made_logits import made_case, made_phi
from scipy.stats import norm

from amint_core.errors import SettingsError
from amint_core.methods import lira


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


@pytest.mark.parametrize("attack", [lira.ONLINE, lira.OFFLINE])
def test_the_setting_variance_is_heeded(attack):
    scores = [attack.score(made_case(variance=one)) for one in ("global", "per_class", "per_image")]
    assert not np.allclose(scores[0], scores[1])
    assert not np.allclose(scores[1], scores[2])


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

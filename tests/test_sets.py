"""Sets of images: the p-value means what it says, and sets find what single images do not."""

from itertools import combinations

import numpy as np
import pytest

from amint_core.errors import SettingsError
from amint_core.evaluation.sets import power, set_p_value


def test_a_small_sets_p_value_is_the_share_of_all_ways_to_choose_it():
    scores, reference = np.array([2.5, 0.7, 4.1]), np.array([0.1, 1.2, 3.3, -1.0, 2.2])
    everyone = np.r_[scores, reference].argsort().argsort()
    chosen = [everyone[list(places)].sum() for places in combinations(range(8), 3)]
    expected = np.mean([one >= everyone[:3].sum() for one in chosen])
    assert set_p_value(scores, reference) == pytest.approx(expected)


def test_one_image_has_the_p_value_of_its_rank():
    reference = np.arange(99.0)
    assert set_p_value(np.array([1000.0]), reference) == pytest.approx(0.01)
    assert set_p_value(np.array([-1.0]), reference) == 1.0
    assert set_p_value(np.array([98.0]), reference) == pytest.approx(0.02)  # a tie counts


@pytest.mark.parametrize("size", [1, 4, 20])
def test_sets_of_non_members_are_called_members_no_more_often_than_alpha(size):
    random = np.random.default_rng(size)
    p = [set_p_value(random.normal(size=size), random.normal(size=200)) for _ in range(2000)]
    for alpha in (0.01, 0.05, 0.2):
        assert np.mean(np.array(p) <= alpha) <= alpha + 3 * np.sqrt(alpha / 2000)


def test_any_rising_change_of_scale_says_the_same():
    random = np.random.default_rng(0)
    scores, others = random.normal(0.3, 1, 50), random.normal(size=300)
    assert set_p_value(np.exp(scores), np.exp(others)) == set_p_value(scores, others)


def test_larger_sets_find_what_single_images_do_not():
    random = np.random.default_rng(0)
    rows = power(random.normal(0.4, 1, 900), random.normal(size=900), (1, 30, 200), draws=300)
    found = [row["found"] for row in rows]
    assert found[0] < 0.1 < found[1] < found[2]
    assert found[2] > 0.95
    assert all(row["false_alarms"] < 0.05 for row in rows)


def test_what_cannot_be_answered_is_refused():
    ones = np.ones(10)
    with pytest.raises(SettingsError, match="Take smaller sets"):
        power(ones, ones, (6,))
    for scores, reference in (([], ones), (ones, [np.nan])):
        with pytest.raises(SettingsError, match="one number or more"):
            set_p_value(np.array(scores), np.array(reference))

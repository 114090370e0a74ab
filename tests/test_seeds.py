"""The interval of a mean over seeds: against scipy, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from amint_core.evaluation.seeds import interval_of_mean


def test_it_is_students_where_seeds_differ_by_more_than_their_own_intervals():
    values = np.array([0.81, 0.86, 0.92])
    found = interval_of_mean(values, values - 0.001, values + 0.001)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found == pytest.approx((expected.low, expected.high))


def test_seeds_that_agree_leave_what_their_own_intervals_leave_of_the_mean():
    low, high = interval_of_mean(np.ones(3), np.full(3, 0.997), np.ones(3))
    assert low == pytest.approx(1 - 0.003 / 3**0.5)
    assert high == 1.0


def test_one_seed_has_its_own_interval_and_none_where_a_run_has_none():
    assert interval_of_mean([0.9], [0.8], [0.95]) == (0.8, 0.95)
    assert np.isnan(interval_of_mean([0.9, 0.8], [0.8, np.nan], [np.nan, 0.9])).all()


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.05])
def test_it_covers_the_mean_over_all_seeds(spread):
    random, covered = np.random.default_rng(1), []
    for _ in range(4000):
        truths = np.clip(random.normal(0.8, spread, 3), 0, 1)  # what each seed would give
        values = random.binomial(500, truths) / 500
        own = 1.96 * (values * (1 - values) / 500) ** 0.5
        low, high = interval_of_mean(values, values - own, values + own)
        covered.append(low <= 0.8 <= high)
    assert np.mean(covered) >= 0.94

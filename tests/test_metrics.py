"""Metrics and intervals against independent computations and by simulation."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, precision_score

from amint_core.evaluation import intervals, metrics


def two_samples(seed=0, members=300, others=400, shift=1.0):
    random = np.random.default_rng(seed)
    return random.normal(shift, 1, members), random.normal(0, 1, others)


def test_accuracy_weighs_members_and_non_members_the_same():
    members, others = two_samples()
    truth = np.r_[np.ones(300), np.zeros(400)]
    said = np.concatenate([members, others]) > 0.3
    value = metrics.accuracy(members, others, 0.3)["value"]
    assert value == pytest.approx(balanced_accuracy_score(truth, said))


def test_a_score_at_the_threshold_does_not_accuse():
    assert metrics.accuracy(np.zeros(5), np.zeros(5), 0.0)["value"] == 0.5


def test_auc_is_the_chance_that_a_member_outscores_a_non_member():
    members, others = two_samples(members=40, others=50)
    members, others = members.round(1), others.round(1)  # ties
    wins = (members[:, None] > others).mean() + (members[:, None] == others).mean() / 2
    assert metrics.auc(members, others)["value"] == pytest.approx(wins)


def test_tpr_at_fpr_by_counting():
    members, others = two_samples()
    accused = np.sort(others)[::-1]
    # 1 % of 400: four non-members may score above the threshold.
    expected = (members > accused[4]).mean()
    assert metrics.tpr_at_fpr(members, others, 0.01)["value"] == pytest.approx(expected)


def test_tpr_at_fpr_never_accuses_more_than_allowed_with_ties():
    members, others = np.array([2.0, 1.0, 1.0]), np.r_[np.ones(50), np.zeros(150)]
    # At threshold 1 a quarter of the others would be accused, so only the member at 2 counts.
    assert metrics.tpr_at_fpr(members, others, 0.01)["value"] == pytest.approx(1 / 3)


def test_a_rate_finer_than_the_non_members_resolve_is_refused():
    members, others = two_samples(others=400)
    found = metrics.tpr_at_fpr(members, others, 0.001)
    assert found["value"] is None
    assert "400 non-members cannot resolve" in found["reason"]
    assert "takes 1000" in found["reason"]


def test_the_best_threshold_beats_every_other_on_its_own_scores():
    members, others = two_samples()
    best = metrics.accuracy(members, others, metrics.best_threshold(members, others))["value"]
    tried = [metrics.accuracy(members, others, cut)["value"] for cut in np.linspace(-4, 4, 500)]
    assert best >= max(tried)


@pytest.mark.parametrize(
    ("members", "others", "expected"),
    [([3.0, 4.0], [0.0, 1.0], 1.0), ([0.0, 1.0], [3.0, 4.0], 0.5), ([1.0, 1.0], [1.0, 1.0], 0.5)],
)
def test_the_best_threshold_of_extreme_scores(members, others, expected):
    members, others = np.array(members), np.array(others)
    threshold = metrics.best_threshold(members, others)
    assert metrics.accuracy(members, others, threshold)["value"] == expected


def test_of_equally_good_thresholds_the_middle_one_is_taken():
    members, others = np.array([1.0, 3, 5]), np.array([0.0, 2, 4])
    equal = {metrics.accuracy(members, others, cut)["value"] for cut in (0.5, 2.5, 4.5)}
    assert len(equal) == 1
    assert metrics.best_threshold(members, others) == 2.5


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_auc_intervals_cover_the_truth(shift):
    from scipy.stats import norm

    truth = norm.cdf(shift / 2**0.5)
    covered = [
        low <= truth <= high
        for low, high in (intervals.auc(*two_samples(seed, 100, 150, shift)) for seed in range(600))
    ]
    assert 0.93 <= np.mean(covered) <= 0.97


def with_outliers(seed, share, members=1000, others=2000):
    """Scores of members, a `share` of whom look like non-members, and of non-members."""
    random = np.random.default_rng(seed)
    usual = random.random(members) >= share
    return random.normal(5 * usual, 1), random.normal(0, 1, others)


@pytest.mark.parametrize("area", [0.99, 0.999, 0.9999])
def test_auc_intervals_cover_a_truth_near_1(area):
    from scipy.stats import norm

    samples = (two_samples(seed, 1000, 2000, 2**0.5 * norm.ppf(area)) for seed in range(300))
    covered = [low <= area <= high for low, high in (intervals.auc(*one) for one in samples)]
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("share", [0.001, 0.003, 0.006])
def test_auc_intervals_cover_where_few_members_look_like_non_members(share):
    from scipy.stats import norm

    area = (1 - share) * norm.cdf(5 / 2**0.5) + share / 2
    samples = (with_outliers(seed, share) for seed in range(300))
    covered = [low <= area <= high for low, high in (intervals.auc(*one) for one in samples)]
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("shift", [4.0, 5.0, 6.0, 9.0])
def test_no_auc_is_surer_than_that_of_a_test_that_parts_all_images(shift):
    perfect = intervals.auc(np.ones(1000), np.zeros(2000))
    assert perfect == (pytest.approx(0.997), 1.0)
    members, others = two_samples(0, 1000, 2000, shift)
    assert intervals.auc(members, others)[0] <= perfect[0]
    # The same of a test that never is right.
    assert 1 - intervals.auc(-members, -others)[1] <= perfect[0] + 1e-12


def test_scores_that_are_all_the_same_leave_the_auc_uncertain():
    low, high = intervals.auc(np.zeros(1000), np.zeros(2000))
    assert (low, high) == (pytest.approx(0.497), pytest.approx(0.503))


@pytest.mark.parametrize("threshold", [0.0, 1.0, 2.5])
def test_accuracy_intervals_cover_the_truth(threshold):
    from scipy.stats import norm

    truth = (norm.sf(threshold - 2) + norm.cdf(threshold)) / 2
    found = [metrics.accuracy(*two_samples(s, 150, 200, 2.0), threshold) for s in range(600)]
    covered = np.mean([one["low"] <= truth <= one["high"] for one in found])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize(
    ("count", "fpr", "shift"),
    [(400, 0.05, 1.5), (1000, 0.01, 1.0), (200, 0.01, 1.0), (100, 0.01, 3.0)],
)
def test_tpr_intervals_cover_the_truth(count, fpr, shift):
    from scipy.stats import norm

    truth = norm.sf(norm.isf(fpr) - shift)
    samples = (two_samples(seed, count, count, shift) for seed in range(400))
    found = [intervals.tpr_at_fpr(*sample, int(fpr * count)) for sample in samples]
    covered = np.mean([low <= truth <= high for low, high in found])
    # With few allowed accusations the interval is on the safe side.
    assert 0.93 <= covered <= (0.98 if fpr * count >= 10 else 1.0)


def test_perfect_tpr_is_not_certain():
    low, high = intervals.tpr_at_fpr(np.full(100, 2.0), np.linspace(0, 1, 100), 1)
    assert low < 0.2
    assert high == 1.0


def test_a_tpr_is_uncertain_by_its_members_even_where_the_threshold_is_known():
    # Wherever between the non-members the threshold belongs, the same half of the members is found.
    members, others = np.r_[np.full(40, 2.0), np.full(40, -2.0)], np.linspace(-1, 1, 1000)
    found = intervals.tpr_at_fpr(members, others, 100)
    assert found == pytest.approx(intervals.proportion(40, 80))


def test_random_scores_are_at_chance():
    inside = [
        one["low"] <= 0.5 <= one["high"]
        for one in (metrics.auc(*two_samples(seed, 100, 100, 0.0)) for seed in range(100))
    ]
    assert 90 <= sum(inside) <= 99


def test_precision_at_prior_is_that_of_images_weighted_to_the_prior():
    members, others = two_samples()
    truth, said = np.r_[np.ones(300), np.zeros(400)], np.concatenate([members, others]) > 0.3
    weights = np.r_[np.full(300, 0.01 / 300), np.full(400, 0.99 / 400)]
    found = metrics.precision_at_prior(members, others, 0.3, 0.01)
    expected = precision_score(truth, said, sample_weight=weights)
    assert found["value"] == pytest.approx(expected)
    assert found["low"] < found["value"] < found["high"]


def test_precision_without_a_false_positive_is_not_certain():
    found = metrics.precision_at_prior(np.ones(500), np.zeros(1000), 0.5, 0.01)
    assert (found["value"], found["high"]) == (1.0, 1.0)
    # 0 of 1000: by Wilson, the FPR may be as high as .0038, at a TPR of 1.
    fpr = intervals.proportion(0, 1000)[1]
    assert found["low"] <= 0.01 / (0.01 + 0.99 * fpr)
    assert 0.5 < found["low"] < 0.8


def test_precision_without_a_true_positive():
    found = metrics.precision_at_prior(np.zeros(500), np.ones(1000), 0.5, 0.1)
    assert (found["value"], found["low"]) == (0.0, 0.0)
    assert 0 < found["high"] < 0.01


def test_a_precision_that_may_be_anything_is_not_given():
    # Two members of 1,000 and nobody else: by the ratio's interval, less than a guess is possible.
    found = metrics.precision_at_prior(np.arange(1000) < 2, np.zeros(2000), 0.5, 0.01)
    assert found["value"] is None
    assert "2 members and 0 of 2000 non-members are accused" in found["reason"]
    assert "anywhere from 0.00" in found["reason"]
    some = metrics.precision_at_prior(np.arange(1000) < 50, np.zeros(2000), 0.5, 0.01)
    assert some["value"] == 1.0
    assert some["low"] > 0.01


def test_where_nobody_is_accused_there_is_no_precision():
    found = metrics.precision_at_prior(np.zeros(5), np.zeros(5), 0.0, 0.1)
    assert found["value"] is None
    assert "nobody is accused" in found["reason"]
    with pytest.raises(ValueError, match="neither"):
        intervals.ratio_of_two_shares((np.zeros(5, bool), np.zeros(5, bool)))


@pytest.mark.parametrize(
    ("counts", "tpr", "fpr"),
    [
        ((500, 1000), 0.5, 0.01),
        ((1000, 2000), 0.95, 0.02),
        ((100, 200), 0.3, 0.1),
        ((500, 1000), 0.9, 0.002),  # no false positive in an eighth of the samples
    ],
)
def test_precision_intervals_cover_the_truth(counts, tpr, fpr):
    random = np.random.default_rng(0)
    truth = 0.01 * tpr / (0.01 * tpr + 0.99 * fpr)
    covered = []
    for _ in range(600):
        hits = random.binomial(counts[0], tpr), random.binomial(counts[1], fpr)
        members, others = (np.arange(n) < hit for n, hit in zip(counts, hits, strict=True))
        found = metrics.precision_at_prior(members, others, 0.5, 0.01)
        covered.append(found["low"] <= truth <= found["high"])
    assert 0.93 <= np.mean(covered) <= 0.97


def test_perfect_separation_still_has_an_interval():
    low, high = intervals.auc(np.arange(5, 10.0), np.arange(5.0))
    assert low < 1.0 == high

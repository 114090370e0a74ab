"""Paired comparisons against independent computations and by simulation."""

import numpy as np
import pandas as pd
import pytest
from made_runs import made_scores
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_auc_score

from amint_core.errors import ProtocolError
from amint_core.evaluation import intervals, metrics, paired


def pairs(seed, members, others, shifts, alike=0.6):
    """Make membership and the scores of two tests, correlated by `alike` within each side."""
    random = np.random.default_rng(seed)
    member = np.arange(members + others) < members
    common, *own = random.normal(size=(3, len(member)))
    scores = [
        alike**0.5 * common + (1 - alike) ** 0.5 * one + shift * member
        for one, shift in zip(own, shifts, strict=True)
    ]
    return member, *scores


def coverage(found, truth):
    return np.mean([one["low"] <= truth <= one["high"] for one in found])


@pytest.mark.parametrize(
    ("shifts", "alike"),
    [((1.0, 1.0), 0.6), ((2.0, 1.0), 0.6), ((3.5, 3.0), 0.6), ((1.5, 1.0), 0.9)],
)
def test_intervals_of_auc_differences_cover_the_truth(shifts, alike):
    truth = norm.cdf(shifts[0] / 2**0.5) - norm.cdf(shifts[1] / 2**0.5)
    samples = (pairs(seed, 100, 150, shifts, alike) for seed in range(500))
    assert 0.93 <= coverage([paired.auc_difference(*one) for one in samples], truth) <= 0.97


@pytest.mark.parametrize("shifts", [(1.0, 1.0), (2.0, 1.0), (3.0, 0.5)])
def test_intervals_of_accuracy_differences_cover_the_truth(shifts):
    cuts = shifts[0] / 2, shifts[1] / 2
    truth = norm.cdf(cuts[0]) - norm.cdf(cuts[1])
    samples = (pairs(seed, 100, 150, shifts) for seed in range(1500))
    found = [paired.accuracy_difference(*one, cuts) for one in samples]
    assert 0.93 <= coverage(found, truth) <= 0.97


def test_intervals_of_tpr_differences_are_on_the_safe_side(monkeypatch):
    monkeypatch.setattr(paired, "RESAMPLES", 100)
    truth = norm.sf(norm.isf(0.05) - 2) - norm.sf(norm.isf(0.05) - 1)
    samples = (pairs(seed, 200, 200, (2.0, 1.0)) for seed in range(100))
    found = [paired.tpr_difference(*one, 0.05) for one in samples]
    assert coverage(found, truth) >= 0.95
    # Safe, but not without content: 0 is excluded nearly as often as not.
    assert np.mean([one["low"] > 0 for one in found]) > 0.4


def tpr_difference(*sample):
    return paired.tpr_difference(*sample, 0.1)


def accuracy_difference(*sample):
    return paired.accuracy_difference(*sample, (0.6, 0.6))


@pytest.mark.parametrize("difference", [paired.auc_difference, tpr_difference, accuracy_difference])
def test_a_common_difficulty_makes_the_interval_narrow(difference):
    found = [difference(*pairs(0, 300, 300, (1.5, 1.4), alike)) for alike in (0.0, 0.98)]
    apart, alike = (one["high"] - one["low"] for one in found)
    assert alike < 0.5 * apart


def test_auc_difference_has_delongs_covariance():
    member, first, second = pairs(0, 60, 80, (1.0, 0.5))
    found = paired.auc_difference(member, first, second)
    aucs = [roc_auc_score(member, scores) for scores in (first, second)]
    assert found["value"] == pytest.approx(aucs[0] - aucs[1])
    # The covariance by comparing every member with every non-member.
    wins = [scores[member][:, None] > scores[~member] for scores in (first, second)]
    rows, columns = (np.cov([one.mean(axis) for one in wins]) for axis in (1, 0))
    covariance = rows / 60 + columns / 80
    spread = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Far from 0 and 1 the interval is near the normal one.
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * spread, rel=0.05)


def test_accuracy_difference_by_counting():
    member, first, second = pairs(1, 50, 70, (1.0, 1.0))
    found = paired.accuracy_difference(member, first, second, (0.4, 0.6))
    each = [
        metrics.accuracy(scores[member], scores[~member], cut)["value"]
        for scores, cut in ((first, 0.4), (second, 0.6))
    ]
    assert found["value"] == pytest.approx(each[0] - each[1])


def test_newcombes_paired_proportions():
    # Newcombe (1998), method 10 without continuity correction: 56 pairs, 36 both, 12 and 2 single.
    one = np.r_[np.ones(48), np.zeros(8)].astype(bool)
    two = np.r_[np.ones(36), np.zeros(12), np.ones(2), np.zeros(6)].astype(bool)
    found = paired.share_difference(one, two)
    low, high = intervals.proportion(48, 56), intervals.proportion(38, 56)
    phi = np.corrcoef(one, two)[0, 1]
    p1, p2 = 48 / 56, 38 / 56
    under = (p1 - low[0]) ** 2 - 2 * phi * (p1 - low[0]) * (high[1] - p2) + (high[1] - p2) ** 2
    over = (low[1] - p1) ** 2 - 2 * phi * (low[1] - p1) * (p2 - high[0]) + (p2 - high[0]) ** 2
    assert found["value"] == pytest.approx(10 / 56)
    assert found["low"] == pytest.approx(10 / 56 - under**0.5)
    assert found["high"] == pytest.approx(10 / 56 + over**0.5)


def test_tpr_difference_is_the_same_each_time_and_refuses_too_fine_a_rate():
    sample = pairs(0, 100, 200, (2.0, 1.0))
    assert paired.tpr_difference(*sample, 0.05) == paired.tpr_difference(*sample, 0.05)
    refused = paired.tpr_difference(*sample, 0.001)
    assert refused["value"] is None
    assert "cannot resolve" in refused["reason"]


def test_two_perfect_tests_do_not_differ_for_certain():
    member = np.arange(40) < 20
    scores = np.where(member, 5.0, -5.0)
    found = paired.auc_difference(member, scores, scores + np.arange(40) / 100)
    assert found["value"] == 0
    assert found["low"] < 0 < found["high"]


def test_a_test_does_not_differ_from_itself():
    member, scores, other = pairs(0, 100, 150, (1.5, 1.5), alike=0.999)
    certain = {"value": 0, "low": 0, "high": 0}
    assert paired.auc_difference(member, scores, scores) == certain
    assert paired.tpr_difference(member, scores, scores, 0.05) == certain
    assert paired.accuracy_difference(member, scores, scores, (0.5, 0.5)) == certain
    # Another threshold, or other scores however much alike, may differ elsewhere.
    for found in (
        paired.accuracy_difference(member, scores, scores, (0.5, 0.6)),
        paired.auc_difference(member, scores, other),
    ):
        assert found["low"] < found["high"]


def test_agreement_counts_members_where_both_tests_accuse_as_many_others():
    member = np.r_[np.ones(8, bool), np.zeros(4, bool)]
    # One of four others may pass: the first test's threshold is 2, the second's is 5.
    first = np.r_[[3.0, 3, 3, 3, 1, 1, 1, 1], [9.0, 2, 0, 0]]
    second = np.r_[[6.0, 6, 6, 4, 6, 4, 4, 4], [7.0, 5, 5, 0]]
    found = paired.agreement(member, first, second, 0.25)
    shares = found["both"], found["first"], found["second"], found["neither"]
    assert shares == (3 / 8, 1 / 8, 1 / 8, 3 / 8)
    # Observed agreement 6/8, by chance 1/2.
    assert found["kappa"] == pytest.approx((0.75 - 0.5) / 0.5)
    # Where a test's zero lies does not matter.
    assert paired.agreement(member, first - 100, second * 2, 0.25) == found


def test_agreement_is_refused_where_the_rate_is_too_fine():
    found = paired.agreement(*pairs(0, 100, 99, (2.0, 1.0)), 0.01)
    assert np.isnan([found[name] for name in ("both", "first", "second", "neither", "kappa")]).all()
    assert 0 < found["spearman"] < 1
    resolved = paired.agreement(*pairs(0, 100, 100, (2.0, 1.0)), 0.01)
    assert not np.isnan(list(resolved.values())).any()


def test_spearman_is_the_correlation_of_ranks_within_members():
    member, first, second = pairs(0, 50, 50, (3.0, 3.0))
    found = paired.agreement(member, first, second, 0.1)["spearman"]
    ranks = rankdata(first[member]), rankdata(second[member])
    assert found == pytest.approx(np.corrcoef(ranks)[0, 1])


@pytest.mark.parametrize("constant", [True, False])
def test_a_verdict_that_is_the_same_for_all_has_no_kappa(constant):
    same, mixed = np.full(4, constant), np.array([True, True, False, False])
    for pair in ((same, mixed), (mixed, same), (same, same), (same, ~same)):
        assert np.isnan(paired.kappa(*pair))
    # A test that finds all but two in a thousand: kappa would rest on those two.
    nearly = np.arange(1000) < 998
    assert np.isnan(paired.kappa(nearly, np.arange(1000) < 500))
    assert not np.isnan(paired.kappa(np.arange(1000) < 980, np.arange(1000) < 500))
    assert paired.kappa(mixed, mixed) == 1
    assert paired.kappa(mixed, ~mixed) == -1


def test_scores_that_are_all_alike_have_no_rank_correlation():
    member = np.arange(40) < 20
    found = paired.agreement(member, member + 0.0, np.arange(40.0), 0.1)
    assert found["first"] == 1
    assert np.isnan(found["kappa"])
    assert np.isnan(found["spearman"])


def test_align_brings_both_into_one_order():
    first = made_scores(n=20)
    second = first.assign(score=np.arange(len(first))).sample(frac=1, random_state=0)
    member, one, two = paired.align(first, second)
    rows = first["judged"]
    np.testing.assert_array_equal(member, first.loc[rows, "member"])
    np.testing.assert_array_equal(one, first.loc[rows, "score"])
    np.testing.assert_array_equal(two, np.arange(len(first))[rows])


def test_non_members_that_one_test_cannot_judge_are_left_out_of_both():
    first = made_scores(n=20)
    second = first.assign(score=np.arange(len(first)))
    unknown = (second["role"] == "holdout") & (second.index % 2 == 0)
    second["judged"] &= ~unknown
    for tables in ((first, second), (second, first)):
        both = paired.judged_by_both(*tables)
        member, one, _ = paired.align(*both)
        assert len(member) == first["judged"].sum() - (first["judged"] & unknown).sum()
        assert np.array_equal(one, tables[0].loc[second["judged"], "score"])
    # Members that one test does not judge are another matter.
    second.loc[second["member"], "judged"] = False
    with pytest.raises(ProtocolError, match="judge different images"):
        paired.align(*paired.judged_by_both(first, second))


def other_images(table):
    return table.assign(image="other" + table["image"])


def other_members(table):
    return table.assign(member=~table["member"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (other_images, "judge different images"),
        (lambda table: table.iloc[:-1], "judge different images"),
        (other_members, "disagree on who is a member"),
        (lambda table: pd.concat([table, table]), "judged twice"),
    ],
)
def test_tests_on_different_images_are_refused(change, says):
    table = made_scores(n=20)
    with pytest.raises(ProtocolError, match=says):
        paired.align(table, change(table))

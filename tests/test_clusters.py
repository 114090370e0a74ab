"""Intervals of images that come in tracks: against slow formulas, and by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from amint_core.evaluation import clusters, intervals, metrics, paired
from amint_core.evaluation.judge import judge
from amint_core.settings import create

FRAMES, ALIKE = 15, 0.8  # frames of a track, and how much of a score they share


def tracks(random, count, frames=FRAMES, alike=ALIKE, tests=1):
    """Return (tests, count · frames) standard normal scores, alike within tracks, and the tracks.

    Two tests have half of everything in common.
    """
    group = np.repeat(np.arange(count), frames)

    def mixed(size):
        common, *own = random.normal(size=(tests + 1, size))
        return np.stack([0.5**0.5 * (common + one) for one in own])

    shared, single = mixed(count)[:, group], mixed(len(group))
    return alike**0.5 * shared + (1 - alike) ** 0.5 * single, group


def sample(seed, inside=60, outside=60, shift=1.5, tests=1):
    """Return members' and others' scores under one or two tests, and groups of both."""
    random = np.random.default_rng(seed)
    (members, own), (others, theirs) = (tracks(random, n, tests=tests) for n in (inside, outside))
    return members + shift, others, (own, theirs + inside)


def coverage(found, truth):
    return np.mean([low <= truth <= high for low, high in found])


def bounds(metric):
    return metric["low"], metric["high"]


@pytest.mark.parametrize(("inside", "outside"), [(60, 60), (34, 67), (12, 20)])
def test_auc_intervals_by_track_cover_where_those_by_frame_do_not(inside, outside):
    truth = norm.cdf(1.5 / 2**0.5)
    samples = [sample(seed, inside, outside) for seed in range(500)]
    by_track = [intervals.auc(m[0], o[0], groups) for m, o, groups in samples]
    by_frame = [intervals.auc(m[0], o[0]) for m, o, _ in samples[:200]]
    assert 0.93 <= coverage(by_track, truth) <= 0.97
    assert coverage(by_frame, truth) < 0.7


@pytest.mark.parametrize(("inside", "outside"), [(60, 60), (34, 67), (12, 20)])
@pytest.mark.parametrize("area", [0.98, 0.99, 0.999])
def test_auc_intervals_by_track_cover_a_truth_near_1(area, inside, outside):
    samples = [sample(seed, inside, outside, 2**0.5 * norm.ppf(area)) for seed in range(200)]
    found = [intervals.auc(members[0], others[0], groups) for members, others, groups in samples]
    assert coverage(found, area) >= 0.93


@pytest.mark.parametrize("threshold", [0.0, 0.75])
def test_accuracy_intervals_by_track_cover(threshold):
    truth = (norm.sf(threshold - 1.5) + norm.cdf(threshold)) / 2
    samples = [sample(seed) for seed in range(600)]
    by_track = [metrics.accuracy(m[0], o[0], threshold, groups) for m, o, groups in samples]
    by_frame = [metrics.accuracy(m[0], o[0], threshold) for m, o, _ in samples[:200]]
    assert 0.93 <= coverage(map(bounds, by_track), truth) <= 0.97
    assert coverage(map(bounds, by_frame), truth) < 0.7


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_intervals_of_a_share_cover(share):
    drawn = [tracks(np.random.default_rng(seed), 67) for seed in range(800)]
    found = [intervals.share(one[0] > norm.isf(share), group) for one, group in drawn]
    assert 0.93 <= coverage(found, share) <= 0.975


def test_a_share_of_few_tracks_is_on_the_safe_side():
    drawn = [tracks(np.random.default_rng(seed), 7) for seed in range(400)]
    found = [intervals.share(one[0] > norm.isf(0.95), group) for one, group in drawn]
    assert coverage(found, 0.95) >= 0.95


def test_tpr_and_precision_intervals_by_track_are_on_the_safe_side():
    tpr = norm.sf(norm.isf(0.05) - 1.5)
    at_zero = 0.1 * norm.sf(-1.5) / (0.1 * norm.sf(-1.5) + 0.9 * 0.5)
    samples = [sample(seed) for seed in range(300)]
    rates = [metrics.tpr_at_fpr(m[0], o[0], 0.05, groups) for m, o, groups in samples]
    naive = [metrics.tpr_at_fpr(m[0], o[0], 0.05) for m, o, _ in samples]
    shares = [metrics.precision_at_prior(m[0], o[0], 0.0, 0.1, g) for m, o, g in samples]
    assert coverage(map(bounds, rates), tpr) >= 0.93
    assert coverage(map(bounds, naive), tpr) < 0.8
    assert 0.93 <= coverage(map(bounds, shares), at_zero) <= 0.98


def pair(seed, shift=(1.5, 1.5)):
    members, others, groups = sample(seed, shift=np.array(shift)[:, None], tests=2)
    scores = np.concatenate([members, others], axis=1)
    return np.arange(scores.shape[1]) < members.shape[1], *scores, np.concatenate(groups)


def test_differences_by_track_cover_where_those_by_frame_do_not():
    both = [pair(seed) for seed in range(400)]
    aucs = [paired.auc_difference(*one) for one in both]
    hits = [paired.accuracy_difference(*one[:3], (0.75, 0.75), one[3]) for one in both]
    assert 0.93 <= coverage(map(bounds, aucs), 0) <= 0.975
    assert 0.93 <= coverage(map(bounds, hits), 0) <= 0.985
    naive = [paired.auc_difference(*one[:3]) for one in both[:150]]
    assert coverage(map(bounds, naive), 0) < 0.75


def test_tpr_differences_by_track_are_on_the_safe_side(monkeypatch):
    monkeypatch.setattr(paired, "RESAMPLES", 60)
    found = [
        paired.tpr_difference(*one[:3], 0.05, one[3]) for one in (pair(seed) for seed in range(60))
    ]
    assert coverage(map(bounds, found), 0) >= 0.93


def test_obuchowskis_variance_is_its_formula():
    # Three tracks stand on both sides.
    random = np.random.default_rng(3)
    members, others = random.normal(1, 1, 30), random.normal(0, 1, 40)
    groups = random.integers(0, 8, 30), random.integers(5, 15, 40)
    seen = intervals.placements(members, others)
    found = clusters.auc_covariance([seen], groups)[0, 0]
    theta = (members[:, None] > others).mean()
    sums = [
        {k: sum(v - theta for v, g in zip(seen[side], groups[side], strict=True) if g == k)
         for k in set(groups[side])}
        for side in (0, 1)
    ]  # fmt: skip
    counts = [len(one) for one in sums]
    s10, s01 = (
        n / ((n - 1) * size) * sum(v**2 for v in one.values())
        for one, n, size in zip(sums, counts, (30, 40), strict=True)
    )
    every = len(set(sums[0]) | set(sums[1]))
    s11 = every / (every - 1) * sum(sums[0].get(k, 0) * sums[1].get(k, 0) for k in range(15))
    assert found == pytest.approx(s10 / 30 + s01 / 40 + 2 * s11 / (30 * 40))


def test_images_of_their_own_have_the_usual_intervals():
    random = np.random.default_rng(0)
    members, others = random.normal(1, 1, 50), random.normal(0, 1, 60)
    alone = np.arange(50), np.arange(50, 110)
    assert metrics.auc(members, others, alone) == metrics.auc(members, others)
    assert metrics.accuracy(members, others, 0, alone) == metrics.accuracy(members, others, 0)
    seen = intervals.placements(members, others)
    usual = seen[0].var(ddof=1) / 50 + seen[1].var(ddof=1) / 60
    assert clusters.auc_covariance([seen], alone)[0, 0] == pytest.approx(usual)


def test_tracks_that_agree_throughout_count_once():
    hits = np.repeat([True, False, True, True, False, True, False, True] * 5, 30)
    group = np.repeat(np.arange(40), 30)
    assert clusters.effective_size(hits, group) == pytest.approx(40, rel=0.05)
    # Nothing but hits: no more is known than that of 40 tracks none failed.
    assert clusters.effective_size(np.ones(1200, bool), group) == pytest.approx(40)
    low, high = intervals.share(np.ones(1200, bool), group)
    assert (low, high) == (pytest.approx(0.907, abs=0.01), 1.0)


def test_perfect_separation_of_few_tracks_is_not_certain():
    members, others = np.arange(100, 200.0), np.arange(100.0)
    groups = np.repeat(np.arange(5), 20), np.repeat(np.arange(5, 10), 20)
    assert intervals.auc(members, others, groups)[0] == pytest.approx(1 - 3 / 5)
    one_track = np.zeros(100, int), groups[1]
    assert intervals.auc(members, others, one_track) == (0.0, 1.0)


def test_judging_goes_by_track_where_the_table_has_groups():
    members, others, groups = sample(0, 20, 30)
    rows = len(members[0]) + len(others[0])
    table = pd.DataFrame(
        {
            "image": [f"{n:032x}" for n in range(rows)],
            "official_test": False,
            "role": np.repeat(["members", "holdout"], [len(members[0]), len(others[0])]),
            "judged": True,
            "label": 0,
            "predicted": 0,
            "method": "active",
            "score": np.concatenate([members[0], others[0]]),
        }
    )
    table["member"] = table["role"] == "members"
    settings = create(dataset="gtsrb", model="tiny", data="standin")
    frames = judge(table, settings)["mint"]
    by_track = judge(table.assign(group=np.concatenate(groups)), settings)["mint"]
    assert by_track["judged"]["tracks"] == {"members": 20, "non_members": 30}
    assert "tracks" not in frames["judged"]
    for name in ("accuracy", "auc"):
        assert by_track[name]["value"] == frames[name]["value"]
        assert by_track[name]["high"] - by_track[name]["low"] > 2 * (
            frames[name]["high"] - frames[name]["low"]
        )


@pytest.mark.parametrize(("dataset", "grouped"), [("gtsrb", True), ("mnist", False)])
def test_the_scores_table_has_groups_where_there_are_tracks(dataset, grouped):
    from small_run import SMALL

    from amint_core.data.prepare import prepare
    from amint_core.evaluation.scores import images_of

    data = prepare(create(**{**SMALL, "dataset": dataset, "image_size": 16}))
    images = images_of(data.dataset, data.split)
    assert ("group" in images) == grouped
    if grouped:
        pool = images[~images["official_test"]]
        expected = data.dataset.groups[pool["index"]]
        assert (pool["group"] == expected).all()
        assert pool["group"].nunique() < len(pool) / 10

"""The controls: what each must find, and what none may."""

import time

import numpy as np
import pytest
import torch
from made_case import auc_of, made_case, structured_images
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from amint_core.errors import SettingsError
from amint_core.methods import blind, lookup, random_scores
from amint_core.methods.crossfit import cross_fitted, fold_seed

SIZES = {"members": 200, "external": 100, "calibration": 100, "holdout": 200}


@pytest.fixture(scope="module")
def honest():
    """A random split of images from one population."""
    return made_case(SIZES, structured_images(600, 1))


@pytest.fixture(scope="module")
def blind_scores(honest):
    """Its scores by the blind control, which take seconds."""
    return blind.score(honest)


def shifted_holdout(by: int):
    """The same split, holdout and calibration brighter by `by` of 255."""
    pixels = structured_images(600, 1)
    pixels[300:] = (pixels[300:].astype(int) + by).clip(0, 255).astype(np.uint8)
    return made_case(SIZES, pixels)


# random


def test_random_scores_follow_from_seed_and_image_alone(honest):
    scores = random_scores.score(honest)
    order = np.random.default_rng(0).permutation(600)
    shuffled = made_case({"holdout": 600}, honest.pixels(order))
    assert np.array_equal(random_scores.score(shuffled), scores[order])
    other = made_case(SIZES, structured_images(600, 1), seed=1)
    assert abs(np.corrcoef(random_scores.score(other), scores)[0, 1]) < 0.15


def test_random_scores_are_finite_distinct_and_centred(honest):
    scores = random_scores.score(honest)
    assert np.isfinite(scores).all()
    assert len(set(scores)) == 600
    assert abs((scores > 0).mean() - 0.5) < 0.08


def test_random_auc_covers_chance_as_often_as_its_interval_says(honest):
    pixels, covered = honest.pixels(np.arange(600)), 0
    for seed in range(100):
        case = made_case(SIZES, pixels, seed=seed)
        found = auc_of(case, random_scores.score(case))
        covered += found["low"] <= 0.5 <= found["high"]
    assert 90 <= covered <= 99


# lookup


def test_lookup_finds_members_and_nobody_else(honest):
    assert np.array_equal(lookup.score(honest) > 0, honest.member)


def test_lookup_takes_its_list_from_the_owner_not_from_the_table():
    case = made_case(SIZES, structured_images(600, 1))
    case.images["member"] = ~case.images["member"]
    assert np.array_equal(lookup.score(case) > 0, np.arange(600) < 200)


def test_one_changed_pixel_is_not_found(honest):
    pixels = honest.pixels(np.arange(200))
    hashes = lookup.published(honest)
    assert lookup.found(pixels, hashes).all()
    assert lookup.found(pixels, honest.images["image"][:200]).all()  # as text, too
    pixels[:, 0, 0, 0] ^= 1
    assert not lookup.found(pixels, hashes).any()


# blind


def test_blind_is_at_chance_on_an_honest_split(honest, blind_scores):
    found = auc_of(honest, blind_scores)
    assert found["low"] < 0.5 < found["high"]


def test_blind_finds_a_shift_of_brightness():
    case = shifted_holdout(25)
    scores = blind.score(case)
    assert auc_of(case, scores)["low"] > 0.75
    judged = case.images["judged"].to_numpy()
    right = (scores > 0) == case.member
    assert (right[judged & case.member].mean() + right[judged & ~case.member].mean()) / 2 > 0.7


def test_blind_finds_blur_that_leaves_colours_alone():
    pixels = structured_images(600, 1)
    blurred = torch.from_numpy(pixels[300:]).permute(0, 3, 1, 2).float()
    blurred = torch.nn.functional.avg_pool2d(blurred, 3, 1, 1, count_include_pad=False)
    pixels[300:] = blurred.permute(0, 2, 3, 1).byte().numpy()
    case = made_case(SIZES, pixels)
    assert auc_of(case, blind.score(case))["low"] > 0.9


def test_blind_does_not_see_the_model_and_scores_every_row_repeatably(honest, blind_scores):
    assert honest.target.audited is None
    assert np.isfinite(blind_scores).all()
    assert np.array_equal(blind_scores, blind.score(honest))


def test_blind_never_learns_from_another_frame_of_a_track():
    # Ten equal frames a track: seen once, the others would be recognised without error.
    pixels = structured_images(60, 3).repeat(10, 0)
    pixels[:, 0, 0, 0] = np.arange(600) % 256
    sizes = {"members": 300, "holdout": 300}
    tracks = made_case(sizes, pixels, groups=np.arange(600) // 10)
    loose = made_case(sizes, pixels)
    assert auc_of(loose, blind.score(loose))["value"] > 0.95
    assert auc_of(tracks, blind.score(tracks))["value"] < 0.75


def test_blind_refuses_fewer_tracks_than_folds():
    case = made_case(
        {"members": 40, "holdout": 40}, structured_images(80, 0), groups=np.arange(80) // 20
    )
    with pytest.raises(SettingsError, match=r"5 folds, but has 2 and 2"):
        blind.score(case)


def test_blind_takes_grey_images_of_any_side():
    pixels = structured_images(60, 0, side=28)[..., :1]
    case = made_case({"members": 30, "holdout": 30}, pixels)
    assert np.isfinite(blind.score(case)).all()


def test_blind_takes_less_than_a_minute_for_5000_images():
    pixels = np.random.default_rng(0).integers(0, 256, (5000, 32, 32, 3), np.uint8)
    case = made_case({"members": 2500, "holdout": 2500}, pixels)
    start = time.process_time()
    blind.score(case)
    assert time.process_time() - start < 60


# cross-fitting


def _linear():
    return make_pipeline(StandardScaler(), LogisticRegression())


def test_a_held_out_row_is_scored_by_a_classifier_that_has_not_seen_it():
    random = np.random.default_rng(0)
    features, member = random.normal(size=(60, 3)), np.arange(60) % 2 == 0
    labels = np.zeros(60, int)
    folds = list(StratifiedKFold(5).split(features, member))
    before = cross_fitted(_linear(), features, member, labels, folds)
    rows = folds[2][1]
    turned = member.copy()
    turned[rows] = ~turned[rows]  # the other rows' classifiers do see this
    after = cross_fitted(_linear(), features, turned, labels, folds)
    assert np.allclose(before[rows], after[rows])
    assert not np.allclose(before, after)


def test_rows_outside_the_folds_get_the_mean_and_their_truth_is_not_read():
    random = np.random.default_rng(0)
    features, member = random.normal(size=(80, 3)), np.arange(80) % 2 == 0
    labels = np.zeros(80, int)
    folds = list(StratifiedKFold(5).split(features[:60], member[:60]))
    scores = cross_fitted(_linear(), features, member, labels, folds)
    each = [
        _linear().fit(features[a], member[a]).decision_function(features[60:]) for a, _ in folds
    ]
    assert np.allclose(scores[60:], np.mean(each, axis=0), atol=1e-3)
    turned = np.concatenate([member[:60], ~member[60:]])
    assert np.array_equal(scores, cross_fitted(_linear(), features, turned, labels, folds))


def test_zero_is_the_natural_threshold_whatever_the_base_rate():
    random = np.random.default_rng(0)
    member = np.arange(2000) % 10 == 0
    features = random.normal(size=(2000, 2))
    features[:, 0] += np.where(member, 1.0, -1.0)
    folds = list(StratifiedKFold(5).split(features, member))
    scores = cross_fitted(_linear(), features, member, np.zeros(2000, int), folds)
    assert abs((scores[member] > 0).mean() - (scores[~member] <= 0).mean()) < 0.08


def test_leaving_images_out_of_small_classes_does_not_push_the_auc_below_chance():
    # Two members and three others a class, as a split by class deals them: a class says nothing,
    # but without its held-out member it looks like a class of non-members.
    labels = np.repeat(np.arange(40), 5)
    member = np.tile([True, True, False, False, False], 40)
    features = np.eye(40)[labels] + np.random.default_rng(0).normal(0, 0.01, (200, 40))
    guarded, unguarded = [], []
    for seed in range(5):
        folds = list(StratifiedKFold(5, shuffle=True, random_state=seed).split(features, member))
        scores = cross_fitted(_linear(), features, member, labels, folds)
        guarded.append(roc_auc_score(member, scores))
        scores = cross_fitted(_linear(), features, member, np.zeros(200, int), folds)
        unguarded.append(roc_auc_score(member, scores))
    assert np.mean(unguarded) < 0.2
    assert 0.43 < np.mean(guarded) < 0.57


def test_any_seed_of_a_run_is_one_that_scikit_learn_takes():
    assert 0 <= fold_seed(2**63 - 1, 1) < 2**32
    assert fold_seed(0, 1) != fold_seed(0, 2)

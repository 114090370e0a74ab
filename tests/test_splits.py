"""Splits: exact sizes, no image or track in two roles, stratified, and reproducible."""

import time

import numpy as np
import pytest

from amint_core.data import DATASETS, Dataset, load
from amint_core.data.hashes import fingerprint
from amint_core.data.split import ROLES, make_split
from amint_core.data.strata import allocate
from amint_core.errors import DataError, SettingsError

SIZES = {"members": 300, "external": 450, "calibration": 150, "holdout": 300, "test": 0}


@pytest.fixture(scope="module")
def cifar():
    return load("cifar10", data="standin", image_size=8)


@pytest.fixture(scope="module")
def signs():
    return load("gtsrb", data="standin", image_size=8)


def hashes(dataset, role):
    return set(dataset.hashes[role].tolist())


def tracks(dataset, role):
    return set(dataset.groups[role].tolist())


def class_counts(dataset, role):
    return np.bincount(dataset.labels[role], minlength=dataset.num_classes)


def parts(dataset, split):
    """Map each role to the parts that its images are of."""
    names = {
        role: np.where(dataset.official_test[i], "test", "pool") for role, i in split.roles.items()
    }
    return {role: set(found.tolist()) for role, found in names.items()}


def made(labels, pixels=None, groups=None, test=4):
    """Make a dataset whose images are all different unless `pixels` says otherwise."""
    labels = np.asarray(labels)
    pixels = np.arange(len(labels)) if pixels is None else np.asarray(pixels)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    values = np.concatenate([pixels, 10**6 + np.arange(test)])
    return Dataset(
        spec=DATASETS["mnist"],
        source="standin",
        pixels=values.reshape(-1, 1, 1, 1).astype(np.uint8),
        labels=np.concatenate([labels, np.arange(test) % 2]).astype(np.int64),
        groups=np.concatenate([groups, 10**6 + np.arange(test)]),
        hashes=np.array([f"{value:032x}".encode() for value in values.tolist()], "S32"),
        official_test=np.arange(len(values)) >= len(labels),
        class_names=tuple(map(str, range(labels.max() + 1))),
        fingerprint="",
    )


@pytest.mark.parametrize("protocol", ["strict", "paper"])
@pytest.mark.parametrize("name", DATASETS)
def test_sizes_are_exact_and_roles_disjoint(name, protocol):
    dataset = load(name, data="standin", image_size=8)
    sizes = {k: v // 3 for k, v in SIZES.items()}
    split = make_split(dataset, protocol, sizes, seed=0)
    expected = {**sizes, "test": int(dataset.official_test.sum())}
    if protocol == "paper":
        del expected["holdout"]
        expected["test"] -= sizes["calibration"]
    assert {role: len(images) for role, images in split.roles.items()} == expected
    assert list(split.roles) == [role for role in ROLES if role in expected]
    everything = [hashes(dataset, role) for role in split.roles.values()]
    assert sum(map(len, everything)) == len(set.union(*everything)) == sum(expected.values())
    for role in split.roles.values():
        assert role.dtype == np.int64
        assert (np.diff(role) > 0).all()


def test_strict_draws_every_mint_role_from_the_pool(cifar):
    split = make_split(cifar, "strict", SIZES, 0)
    assert parts(cifar, split) == {role: {"test" if role == "test" else "pool"} for role in ROLES}
    assert split.judged_role == "holdout"


def test_paper_judges_the_test_part(cifar):
    split = make_split(cifar, "paper", SIZES, 0)
    assert parts(cifar, split) == {
        "members": {"pool"},
        "external": {"pool"},
        "calibration": {"test"},
        "test": {"test"},
    }
    assert split.judged_role == "test"


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_roles_have_the_classes_in_proportion(cifar, protocol):
    sizes = {**SIZES, "members": 333, "test": 200}
    split = make_split(cifar, protocol, sizes, 0)
    for role in split.roles.values():
        assert np.ptp(class_counts(cifar, role)) <= 1


def test_fewer_images_than_classes_give_roles_the_same_classes():
    """Otherwise the class alone would tell members from non-members."""
    dataset = load("tiny_imagenet", data="standin", image_size=8)
    sizes = {"members": 60, "external": 60, "calibration": 60, "holdout": 60, "test": 0}
    split = make_split(dataset, "strict", sizes, 0)
    counts = [class_counts(dataset, split.roles[role]) for role in ROLES[:4]]
    assert all((other == counts[0]).all() for other in counts)
    other = make_split(dataset, "strict", sizes, 1)
    assert (class_counts(dataset, other.roles["members"]) != counts[0]).any()


# Tracks


def test_no_track_stands_in_two_roles(signs):
    split = make_split(signs, "strict", SIZES, 0)
    for first in ROLES:
        for second in ROLES[: ROLES.index(first)]:
            assert not tracks(signs, split.roles[first]) & tracks(signs, split.roles[second])


def test_tracks_are_whole_but_the_last(signs):
    split = make_split(signs, "strict", {**SIZES, "members": 325}, 0)
    groups = signs.groups[split.roles["members"]]
    frames = np.unique(groups, return_counts=True)[1]
    assert sorted(frames) == [25] + [30] * 10


def test_ignored_tracks_reach_over_roles(signs):
    split = make_split(signs, "strict", SIZES, 0, ignore_tracks=True)
    assert tracks(signs, split.roles["members"]) & tracks(signs, split.roles["external"])
    assert np.ptp(class_counts(signs, split.roles["members"])) <= 1


def test_whole_tracks_may_not_reach(signs):
    sizes = {"members": 2_585, "external": 2_575, "calibration": 0, "holdout": 0, "test": 0}
    with pytest.raises(DataError, match=r"external wants 2,575 .* whole tracks left hold 2,550"):
        make_split(signs, "paper", sizes, 0)
    split = make_split(signs, "paper", sizes, 0, ignore_tracks=True)
    assert len(split.roles["external"]) == 2_575


def test_tracks_of_unequal_length():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), rng.integers(1, 9, 60))
    dataset = made(groups % 3, groups=groups)
    sizes = {"members": 41, "external": 57, "calibration": 13, "holdout": 40, "test": 0}
    split = make_split(dataset, "strict", sizes, 0)
    assert [len(split.roles[role]) for role in ROLES[:4]] == [41, 57, 13, 40]
    dealt = [tracks(dataset, split.roles[role]) for role in ROLES[:4]]
    assert sum(map(len, dealt)) == len(set.union(*dealt))


# Duplicates


def test_equal_images_are_removed_and_counted():
    values = np.arange(40)
    values[[5, 9]] = 3  # two copies of image 3
    values[20] = 10**6  # the test part's first image, which then leaves the test part
    dataset = made(np.arange(40) % 2, pixels=values)
    sizes = {"members": 10, "external": 10, "calibration": 8, "holdout": 10, "test": 0}
    split = make_split(dataset, "strict", sizes, 0)
    assert split.duplicates_removed == 3
    dealt = np.concatenate([split.roles[role] for role in ROLES[:4]])
    assert 3 in dealt
    assert not {5, 9} & set(dealt.tolist())
    assert list(split.roles["test"] - 40) == [1, 2, 3]
    with pytest.raises(DataError, match=r"want 39 .* has 38 after 2 duplicates .* by 1 or more"):
        make_split(dataset, "strict", {**sizes, "external": 11}, 0)


def test_the_whole_pool_can_be_dealt():
    dataset = made(np.arange(40) % 3)
    sizes = {"members": 13, "external": 14, "calibration": 6, "holdout": 7, "test": 0}
    split = make_split(dataset, "strict", sizes, 0)
    dealt = np.concatenate([split.roles[role] for role in ROLES[:4]])
    assert sorted(dealt) == list(range(40))


# Members judged, reproducibility


def test_half_the_members_choose_thresholds(cifar):
    split = make_split(cifar, "strict", SIZES, 0)
    judged = split.members_judged
    assert judged.shape == (300,)
    assert judged.sum() == 150
    labels = cifar.labels[split.roles["members"]]
    assert np.ptp(np.bincount(labels[judged], minlength=10)) <= 1


@pytest.mark.parametrize("members", [300, 325])
def test_a_members_track_chooses_thresholds_or_is_judged(signs, members):
    split = make_split(signs, "strict", {**SIZES, "members": members}, 0)
    groups = signs.groups[split.roles["members"]]
    judged = split.members_judged
    assert not set(groups[judged]) & set(groups[~judged])
    assert abs(judged.mean() - 0.5) <= 30 / members  # as near to half as one track allows


def test_ignored_tracks_are_halved_by_frame(signs):
    split = make_split(signs, "strict", SIZES, 0, ignore_tracks=True)
    assert split.members_judged.sum() == 150


def test_members_of_one_track_cannot_be_halved(signs):
    sizes = {"members": 20, "external": 60, "calibration": 30, "holdout": 60, "test": 0}
    with pytest.raises(
        DataError, match=r"20 members come in 1 groups \(tracks, near-twins\), too few for two"
    ):
        make_split(signs, "strict", sizes, 0)
    assert make_split(signs, "strict", {**sizes, "calibration": 0}, 0).members_judged.all()


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_without_calibration_all_members_are_judged(cifar, protocol):
    split = make_split(cifar, protocol, {**SIZES, "calibration": 0}, 0)
    assert split.members_judged.all()
    assert len(split.roles["calibration"]) == 0


def test_the_split_is_a_function_of_its_settings(cifar):
    split = make_split(cifar, "strict", SIZES, 3)
    np.random.seed(99)
    again = make_split(cifar, "strict", dict(reversed(SIZES.items())), 3)
    assert split.digest == again.digest
    assert (split.members_judged == again.members_judged).all()
    others = [
        make_split(cifar, "strict", SIZES, 4),
        make_split(cifar, "paper", SIZES, 3),
        make_split(cifar, "strict", {**SIZES, "holdout": 299}, 3),
        make_split(cifar, "strict", {**SIZES, "calibration": 0}, 3),
    ]
    assert len({split.digest, *(other.digest for other in others)}) == 5


def test_the_digest_is_pinned(cifar):
    """A change here makes every published split another one: say so in the release notes."""
    assert make_split(cifar, "strict", SIZES, 0).digest[:16] == "6edcbf765ed371c8"
    assert make_split(cifar, "paper", SIZES, 0).digest[:16] == "aa905afc8ae40f3a"


def test_members_stay_when_later_roles_grow(cifar):
    few = make_split(cifar, "strict", SIZES, 0)
    many = make_split(cifar, "strict", {**SIZES, "holdout": 600}, 0)
    np.testing.assert_array_equal(few.roles["members"], many.roles["members"])


# What does not fit


@pytest.mark.parametrize(
    ("sizes", "protocol", "message"),
    [
        ({**SIZES, "member": 5}, "strict", "Did you mean 'members'"),
        ({"members": 5}, "strict", r"sizes\['external'\] = None"),
        ({**SIZES, "members": 0}, "strict", "at least 1"),
        ({**SIZES, "external": -3}, "strict", "at least 1"),
        ({**SIZES, "holdout": 0}, "strict", "at least 1"),
        ({**SIZES, "members": 2.5}, "strict", "whole number"),
        (SIZES, "stric", "Did you mean 'strict'"),
    ],
)
def test_odd_settings_are_refused(cifar, sizes, protocol, message):
    with pytest.raises(SettingsError, match=message):
        make_split(cifar, protocol, sizes, 0)


def test_too_many_images_say_who_wants_what(cifar):
    message = r"want 5,900 images \(members 5,000, external 450, .*pool part has 5,000.* by 900"
    with pytest.raises(DataError, match=message):
        make_split(cifar, "strict", {**SIZES, "members": 5_000}, 0)
    with pytest.raises(DataError, match=r"test 601\), but the test part has 600"):
        make_split(cifar, "strict", {**SIZES, "test": 601}, 0)
    with pytest.raises(DataError, match=r"calibration 600, test 1\), but the test part has 600"):
        make_split(cifar, "paper", {**SIZES, "calibration": 600}, 0)


def test_half_a_million_images_split_in_seconds():
    count = 450_000
    rng = np.random.default_rng(0)
    dataset = Dataset(
        spec=DATASETS["mnist"],
        source="standin",
        pixels=np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (count, 1, 1, 1)),
        labels=rng.integers(0, 10_575, count),
        groups=np.arange(count),
        hashes=np.array([b"%032x" % value for value in rng.permutation(count)], "S32"),
        official_test=np.arange(count) >= count - 4,
        class_names=tuple(map(str, range(10_575))),
        fingerprint="",
    )
    sizes = {"members": 200_000, "external": 150_000, "calibration": 0, "holdout": 9_000, "test": 0}
    start = time.process_time()
    split = make_split(dataset, "strict", sizes, 0)
    assert time.process_time() - start < 15
    assert len(split.roles["members"]) == 200_000


@pytest.mark.parametrize("total", [0, 1, 7, 29, 30])
def test_allocate_shares_in_proportion(total):
    weights = np.array([10, 5, 15])
    counts = allocate(total, weights, weights)
    assert counts.sum() == total
    assert (np.abs(counts - total * weights / 30) < 1).all()


def test_allocate_passes_on_what_a_full_class_cannot_take():
    counts = allocate(9, np.array([1, 1, 1]), np.array([1, 9, 9]))
    assert list(counts) == [1, 4, 4]
    with pytest.raises(ValueError, match="cannot share 20"):
        allocate(20, np.array([1, 1, 1]), np.array([1, 9, 9]))


def test_fingerprint_tells_standins_apart(cifar, signs):
    assert cifar.fingerprint != signs.fingerprint
    assert cifar.fingerprint == fingerprint(
        cifar.pixels, cifar.labels, cifar.groups, cifar.official_test
    )

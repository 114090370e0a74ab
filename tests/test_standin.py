"""Stand-ins: right shapes, the same bits again, labelled everywhere, and learnable."""

import numpy as np
import pytest
from completeness import require_all
from dataset_parts import official_test_of, pool_of

from amint_core.data import DATASETS, load, standin
from amint_core.data.hashes import fingerprint
from amint_core.errors import SettingsError

#: dataset → (images in the pool, classes); every registered dataset has its row.
EXPECTED = {
    "mnist": (1_400, 10),
    "cifar10": (5_000, 10),
    "cifar100": (5_000, 100),
    "gtsrb": (5_160, 43),
    "tiny_imagenet": (5_000, 200),
    "casia_webface": (5_000, 50),
}

#: dataset → start of the fingerprint at 16 pixels a side.
PINNED = {
    "mnist": "fdcb6d47a6c05c3a",
    "cifar10": "8e61e521d6ca0112",
    "cifar100": "de5add7ade17be33",
    "gtsrb": "78956ff3045fd99a",
    "tiny_imagenet": "9ff4911b010cbcce",
    "casia_webface": "7a32f5e0f2d25749",
}


@pytest.fixture(scope="module")
def standins():
    return {name: load(name, data="standin", image_size=16) for name in DATASETS}


def test_every_dataset_has_a_row():
    require_all(EXPECTED, DATASETS, "EXPECTED in tests/test_standin.py")


@pytest.mark.parametrize("name", EXPECTED)
def test_shapes_and_marking(standins, name):
    dataset, spec = standins[name], DATASETS[name]
    images, classes = EXPECTED[name]
    assert pool_of(dataset).pixels.shape == (images, 16, 16, spec.channels)
    assert pool_of(dataset).pixels.dtype == official_test_of(dataset).pixels.dtype == np.uint8
    assert dataset.num_classes == classes
    assert (
        set(pool_of(dataset).labels) == set(official_test_of(dataset).labels) == set(range(classes))
    )
    assert dataset.official_test.sum() >= 390
    assert not set(pool_of(dataset).groups) & set(official_test_of(dataset).groups)
    assert not set(pool_of(dataset).hashes) & set(official_test_of(dataset).hashes)
    assert dataset.source == "standin"
    assert dataset.title == f"{spec.title} [STAND-IN]"
    assert dataset.notes[0].startswith("STAND-IN")


def test_the_default_size_is_the_datasets_own():
    assert load("gtsrb", data="standin").pixels.shape[1:] == (64, 64, 3)


def test_gtsrb_comes_in_tracks_of_30_frames_of_one_class(standins):
    pool = pool_of(standins["gtsrb"])
    assert set(np.bincount(pool.groups)) == {30}
    assert all(len(set(pool.labels[pool.groups == group])) == 1 for group in range(10))


def test_the_same_bits_come_out_again(standins):
    """The pinned values hold on every machine: all arithmetic is on integers."""
    pinned = {name: dataset.fingerprint[:16] for name, dataset in standins.items()}
    lacking = {name: pinned[name] for name in pinned if name not in PINNED}
    assert not lacking, f"PINNED in tests/test_standin.py lacks {lacking}"
    assert pinned == PINNED
    standin._made.cache_clear()
    again = load("cifar10", data="standin", image_size=16)
    assert again.fingerprint == standins["cifar10"].fingerprint
    assert again.fingerprint == fingerprint(
        again.pixels, again.labels, again.groups, again.official_test
    )


def test_runs_of_one_process_share_images_that_none_can_change():
    one, two = (load("mnist", data="standin", image_size=16) for _ in range(2))
    assert one.pixels is two.pixels
    for name in ("pixels", "labels", "groups", "hashes", "official_test"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(one, name)[:1] = getattr(one, name)[1:2]
    assert load("mnist", data="standin", image_size=8).pixels.shape[1:] == (8, 8, 1)


@pytest.mark.parametrize(
    ("name", "chance"),
    [("mnist", 0.1), ("cifar10", 0.1), ("gtsrb", 1 / 43), ("tiny_imagenet", 1 / 200)],
)
def test_labels_can_be_learnt(standins, name, chance):
    """The nearest class mean, the weakest of learners, does at least five times chance."""
    pool, test = pool_of(standins[name]), official_test_of(standins[name])
    means = np.stack(
        [pool.pixels[pool.labels == k].mean(0) for k in range(standins[name].num_classes)]
    ).reshape(standins[name].num_classes, -1)
    images = test.pixels.reshape(len(test.pixels), -1).astype(float)
    nearest = ((means**2).sum(1) - 2 * images @ means.T).argmin(1)
    assert (nearest == test.labels).mean() > 5 * chance


def test_a_wrong_kind_of_data_names_the_nearest():
    with pytest.raises(SettingsError, match="Did you mean 'standin'"):
        load("mnist", data="stand-in")

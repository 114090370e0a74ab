"""Real images: every dataset that lies at AMINT_DATA loads, splits and keeps its roles apart."""

import numpy as np
import pytest

from amint_core.data import DATASETS, load, status
from amint_core.data.split import make_split

SIZES = {"members": 2_000, "external": 3_000, "calibration": 1_000, "holdout": 2_000, "test": 0}


@pytest.fixture(params=DATASETS)
def dataset(request, real_data):
    """Each dataset in turn, decoded once per session; skips those that are not there.

    Only a dataset without any of its files is skipped: a broken one fails.
    """
    row = next(row for row in status(real_data) if row["dataset"] == request.param)
    if not row["found"] and "no images under" in row["detail"]:
        pytest.skip(f"{row['title']} is not at AMINT_DATA.")
    return load(request.param, root=real_data, progress=False)


def test_shapes_and_labels(dataset):
    spec = dataset.spec
    side = spec.image_size
    assert dataset.pixels.shape == (len(dataset), side, side, spec.channels)
    assert dataset.labels.min() >= 0
    assert dataset.labels.max() < dataset.num_classes
    test = dataset.official_test
    for part, count in (("pool", (~test).sum()), ("test", test.sum())):
        official = spec.official_sizes[part]
        short = count != official
        assert any(f"has {official:,}" in note for note in dataset.notes) == short
    assert set(dataset.labels[~test]) == set(range(dataset.num_classes))
    assert dataset.source == "real"
    assert dataset.title == spec.title


def test_images_are_pictures(dataset):
    """Neither blank nor noise: values vary, and neighbouring pixels are alike."""
    sample = dataset.pixels[:: max(1, len(dataset) // 100)].astype(float)
    assert sample.std() > 20
    steps = np.abs(np.diff(sample, axis=2)).mean()
    shuffled = np.random.default_rng(0).permuted(sample, axis=2)
    assert steps < 0.75 * np.abs(np.diff(shuffled, axis=2)).mean()


def test_second_load_is_the_same(dataset, real_data):
    again = load(dataset.spec.name, root=real_data, progress=False)
    assert again.fingerprint == dataset.fingerprint
    assert isinstance(again.pixels, np.memmap)


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_roles_are_disjoint(dataset, protocol):
    split = make_split(dataset, protocol, SIZES, seed=0)
    hashes = [set(dataset.hashes[index].tolist()) for index in split.roles.values()]
    assert sum(map(len, hashes)) == len(set.union(*hashes))
    groups = [set(dataset.groups[index].tolist()) for index in split.roles.values()]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for role in ("members", "external"):
        assert len(split.roles[role]) == SIZES[role]


def test_gtsrb_has_tracks_of_30_frames(real_data):
    if not (real_data / "gtsrb").is_dir():
        pytest.skip("GTSRB is not at AMINT_DATA.")
    dataset = load("gtsrb", root=real_data, progress=False)
    assert np.median(np.bincount(dataset.groups[~dataset.official_test])) == 30


def test_on_strict_cifar10_only_the_model_can_tell_members(real_data):
    """The blind control at chance: the split is honest. It never sees a model."""
    from amint_core.evaluation import metrics
    from amint_core.methods import METHODS
    from amint_core.run import steps
    from amint_core.settings import create

    settings = create(dataset="cifar10", model="tiny", method="blind", cpu_threads=1)
    case = steps.case_of(steps.Run(settings))
    scores = METHODS["blind"].score(case)
    judged, member = ~case.known, case.member
    found = metrics.auc(scores[judged & member], scores[judged & ~member])
    assert found["low"] < 0.5 < found["high"]

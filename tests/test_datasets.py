"""Every layout of every dataset, read from small generated trees; names and sizes refused."""

import sys
from subprocess import run

import numpy as np
import pytest
from dataset_parts import official_test_of, pool_of
from dataset_trees import (
    WNIDS,
    casia_folders,
    cifar10_folders,
    cifar100_folders,
    cifar_pickles,
    class_folders,
    gtsrb_png,
    gtsrb_torchvision,
    mnist_folders,
    mnist_gz,
    mnist_idx,
    picture,
    save,
    tiny_official,
    tiny_parquet,
    tiny_sorted_val,
)
from PIL import Image

from amint_core.data import DATASETS, load, status
from amint_core.data.cifar import CIFAR10_CLASSES
from amint_core.data.folders import list_classes, set_aside
from amint_core.errors import DataError, SettingsError

#: dataset → (layouts, pool, test); a dataset without a row fails `test_every_dataset_has_a_row`.
LAYOUTS = {
    "mnist": ([mnist_idx, mnist_gz, mnist_folders], 20, 10),
    "cifar10": ([cifar10_folders], 20, 10),
    "cifar100": ([cifar100_folders], 100, 100),
    "gtsrb": ([gtsrb_torchvision, gtsrb_png], 172, 43),
    "tiny_imagenet": ([tiny_official, tiny_sorted_val, tiny_parquet], 200, 200),
    "casia_webface": ([casia_folders], 161, 16),
}


def test_every_dataset_has_a_row():
    assert set(LAYOUTS) == set(DATASETS)
    assert all(name == spec.name for name, spec in DATASETS.items())


@pytest.mark.parametrize(
    ("name", "make"), [(name, make) for name, row in LAYOUTS.items() for make in row[0]]
)
def test_layout(name, make, tmp_path):
    make(tmp_path)
    _, pool, test = LAYOUTS[name]
    spec = DATASETS[name]
    dataset = load(name, root=tmp_path, progress=False)
    size = spec.image_size
    assert pool_of(dataset).pixels.shape == (pool, size, size, spec.channels)
    assert official_test_of(dataset).pixels.shape == (test, size, size, spec.channels)
    assert set(pool_of(dataset).labels) == set(range(dataset.num_classes))
    assert dataset.source == "real"
    assert dataset.title == spec.title
    assert any("official release" in note for note in dataset.notes)
    found = {row["dataset"]: row for row in status(tmp_path)}
    assert [row["found"] for row in found.values()] == [other == name for other in DATASETS]
    assert "data folder" in next(r["detail"] for r in found.values() if not r["found"])


@pytest.mark.parametrize("name", DATASETS)
def test_missing_dataset_says_where_and_how(name, tmp_path):
    with pytest.raises(DataError) as error:
        load(name, root=tmp_path, progress=False)
    assert DATASETS[name].obtain in str(error.value)
    assert "data folder" in str(error.value)
    assert "data='standin'" in str(error.value)


# Contents


def test_pixels_and_labels_are_those_of_the_files(tmp_path):
    home = class_folders(tmp_path / "CIFAR10", CIFAR10_CLASSES)
    dataset = load("cifar10", root=tmp_path, image_size=8, progress=False)
    for number, name in enumerate(CIFAR10_CLASSES):
        index = np.flatnonzero(pool_of(dataset).labels == number)[1]
        expected = np.asarray(Image.open(home / "train" / name / "0001.png"))
        np.testing.assert_array_equal(pool_of(dataset).pixels[index], expected)
    assert dataset.class_names == CIFAR10_CLASSES


def test_jpeg_in_place_of_lossless_files_is_noted(tmp_path):
    class_folders(tmp_path / "CIFAR10", CIFAR10_CLASSES, suffix=".jpg")
    notes = load("cifar10", root=tmp_path, progress=False).notes
    assert any("20 JPEG files" in note for note in notes)


def test_a_few_grey_images_become_rgb_and_are_counted(tmp_path):
    save(cifar10_folders(tmp_path) / "train" / "cat" / "0001.png", picture(8, 1))
    dataset = load("cifar10", root=tmp_path, image_size=8, progress=False)
    assert "pool: 1 grey images were given three channels." in dataset.notes


def test_mnist_idx_is_read_exactly(tmp_path):
    folder = mnist_idx(tmp_path)
    dataset = load("mnist", root=tmp_path, progress=False)
    raw = (folder / "t10k-images-idx3-ubyte").read_bytes()[16:]
    assert np.asarray(official_test_of(dataset).pixels).tobytes() == raw


def test_cifar_pickles(tmp_path, monkeypatch):
    _, contents = cifar_pickles(tmp_path, monkeypatch)
    dataset = load("cifar10", root=tmp_path, progress=False)
    assert len(pool_of(dataset).labels) == 50
    first = contents["data_batch_1"]["data"][0].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(pool_of(dataset).pixels[0], first)
    assert dataset.class_names == CIFAR10_CLASSES


@pytest.mark.parametrize("make", [gtsrb_torchvision, gtsrb_png])
def test_gtsrb_keeps_tracks(tmp_path, make):
    make(tmp_path)
    dataset = load("gtsrb", root=tmp_path, image_size=8, progress=False)
    assert len(set(pool_of(dataset).groups)) == 86
    assert set(np.bincount(pool_of(dataset).groups)) == {2}
    assert not set(pool_of(dataset).groups) & set(official_test_of(dataset).groups)
    assert list(official_test_of(dataset).labels) == list(range(43))


def test_tiny_imagenet_classes_have_words_and_sorted_numbers(tmp_path):
    tiny_official(tmp_path)
    dataset = load("tiny_imagenet", root=tmp_path, image_size=8, progress=False)
    assert dataset.class_names[:3] == (WNIDS[0], WNIDS[1], f"thing {WNIDS[2]}")
    assert list(official_test_of(dataset).labels) == list(range(200))


def test_casia_sets_a_test_part_aside_by_name_alone(tmp_path):
    home = casia_folders(tmp_path)
    names = tuple(f"{i:07}" for i in range(30))
    listed, share = list_classes(home), (44_406, 494_414)
    parts = set_aside(listed, names, share, "CASIA", "")
    counts = {name: tuple(len(part[name]) for part in parts) for name in names}
    assert sum(test for _, test in counts.values()) == round(177 * 44_406 / 494_414)
    assert all(pool >= 1 and test <= 1 + pool // 9 for pool, test in counts.values())
    # The order in which the files are listed makes no difference.
    turned = {name: files[::-1] for name, files in listed.items()}
    assert set_aside(turned, names, share, "CASIA", "") == parts


# Names and sizes


def test_unknown_dataset_names_the_nearest():
    with pytest.raises(SettingsError, match="Did you mean 'cifar10'"):
        load("cifar-10")


@pytest.mark.parametrize("size", [0, 3, 2000, 32.0, "32", True])
def test_odd_image_sizes_are_refused(size):
    with pytest.raises(SettingsError, match="image_size"):
        load("mnist", data="standin", image_size=size)


def test_importing_the_registry_is_light():
    heavy = {"torch", "torchvision", "pyarrow", "sklearn", "pandas"}
    code = f"import sys, amint_core.data; print({heavy} & set(sys.modules))"
    result = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"

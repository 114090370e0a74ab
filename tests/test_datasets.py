"""Every layout of every dataset, read from small generated trees; names and sizes refused."""

import sys
from subprocess import run

import numpy as np
import pytest
from completeness import require_all
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
    require_all(LAYOUTS, DATASETS, "LAYOUTS in tests/test_datasets.py")
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


def grey_by_class(home, names, channels):
    """Give the images of class number n the grey of 20 n."""
    for number, name in enumerate(names):
        for part, count in (("train", 2), ("test", 1)):
            for copy in range(count):
                shape = (28, 28) if channels == 1 else (32, 32, 3)
                pixels = np.full(shape, 20 * number, np.uint8)
                pixels[0, 0] += copy + (part == "test") * 5
                save(home / part / name / f"{copy}.png", Image.fromarray(pixels))


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("mnist", ["zero", "one", "Two", "three", "four", "five", "six", "seven", "eight", "nine"]),
        ("mnist", [f"{digit} - digit" for digit in range(10)]),
        ("mnist", [f"class_{number}" for number in range(1, 11)]),
        ("cifar10", ["plane", "car", *CIFAR10_CLASSES[2:]]),
        ("cifar10", ["aeroplane", *CIFAR10_CLASSES[1:9], "Truck"]),
        ("cifar10", [f"{number}_{name}" for number, name in enumerate(CIFAR10_CLASSES)]),
    ],
)
def test_class_folders_under_other_names_get_the_official_numbers(name, names, tmp_path):
    grey_by_class(tmp_path / name, names, DATASETS[name].channels)
    dataset = load(name, root=tmp_path, progress=False)
    assert dataset.class_names == tuple(names)
    assert (dataset.pixels[:, 5, 5, 0] // 20 == dataset.labels).all()
    assert "alphabet" not in " ".join(dataset.notes)


def test_names_that_are_not_official_are_numbered_by_the_alphabet_which_is_noted(tmp_path):
    names = ["nil", "uno", "due", "tre", "quattro", "cinque", "sei", "sette", "otto", "nove"]
    grey_by_class(tmp_path / "mnist", names, 1)
    dataset = load("mnist", root=tmp_path, progress=False)
    assert dataset.class_names == tuple(sorted(names))
    assert "numbered by the alphabet" in " ".join(dataset.notes)


def test_parts_of_casia_are_put_together_and_copies_are_not(tmp_path):
    for identity in range(40):
        place = "part1" if identity < 25 else "part2"
        for number in range(2 + identity % 9):
            save(tmp_path / "CASIA-WebFace" / place / f"{identity:07}" / f"{number:03}.jpg")
    save(tmp_path / "CASIA-WebFace" / "part2" / "0000003" / "900.jpg")
    dataset = load("casia_webface", root=tmp_path, image_size=8, progress=False)
    counts = np.array([2 + identity % 9 for identity in range(40)])
    counts[3] += 1
    assert dataset.class_names == tuple(f"{identity:07}" for identity in range(40))
    assert (np.bincount(dataset.labels) == counts).all()
    assert "put together from part1, part2" in " ".join(dataset.notes)
    (tmp_path / "CASIA-WebFace" / "part2" / "0000003" / "900.jpg").unlink()
    save(tmp_path / "CASIA-WebFace" / "part2" / "0000003" / "001.png")
    dataset = load("casia_webface", root=tmp_path, image_size=8, progress=False, rebuild=True)
    assert len(dataset.class_names) == 25
    assert "passed over" in " ".join(dataset.notes)


def test_images_in_a_folder_of_each_identity_are_found(tmp_path):
    for identity in range(12):
        for number in range(5):
            save(tmp_path / "CASIA-WebFace" / f"{identity:07}" / "images" / f"{number:03}.jpg")
    dataset = load("casia_webface", root=tmp_path, image_size=8, progress=False)
    assert (np.bincount(dataset.labels) == 5).all()
    assert len(dataset.class_names) == 12
    own = load(f"folder:{tmp_path}/CASIA-WebFace", progress=False)
    assert own.spec.num_classes == 12
    assert own.class_names == dataset.class_names


def test_a_line_break_in_a_name_does_not_break_the_message(tmp_path):
    home = mnist_folders(tmp_path)
    (home / "train" / "3" / "odd\nname.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"odd\\nname\.png is empty"):
        load("mnist", root=tmp_path, progress=False)


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

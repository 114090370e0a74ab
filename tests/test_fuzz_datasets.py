"""Damaged files of every layout: each load ends with labels in range or in a `DataError`."""

import shutil

import numpy as np
import pytest
from dataset_trees import (
    casia_folders,
    cifar10_folders,
    cifar_binary,
    cifar_pickles,
    gtsrb_png,
    gtsrb_torchvision,
    insightface_records,
    mnist_gz,
    mnist_idx,
    save,
    tiny_official,
    tiny_parquet,
)
from fuzzing import chances, spoiled, tried_on
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_on_disk import hub_digits, keras_archive, pixel_tables

from amint_core.data import DATASETS
from amint_core.data.building import build
from amint_core.data.decode import FORMATS, Decoded, decode
from amint_core.data.sources import Item

TRIALS = 200  # of each layout and format, or more where the profile tries more
many = settings(max_examples=max(TRIALS, settings().max_examples))


def damage(name, files, root, least):
    """Damage one of a dataset's files at a time, build it, and count the refusals.

    Args:
        least: share of the inputs that are refused, else the damage would test nothing.
    """
    spec, refused, tried = DATASETS[name], [], []

    @many
    @given(chance=chances())
    def one(chance):
        path, folder = chance.choice(files), root / "built"
        raw = path.read_bytes()
        path.write_bytes(spoiled(raw, chance))
        try:
            _, error = tried_on(lambda: build(folder, spec, 4, spec.find(root), progress=False))
            if not error:
                labels = np.load(folder / "labels.npy")
                assert 0 <= labels.min() <= labels.max() < spec.num_classes
        finally:
            path.write_bytes(raw)
            shutil.rmtree(folder, ignore_errors=True)
        assert all(spec.title in str(each) or str(root) in str(each) for each in error)
        tried.append(path)
        refused.extend(error)

    one()
    assert len(refused) > least * len(tried)


@pytest.mark.parametrize(
    ("name", "make", "pattern"),
    [
        ("mnist", mnist_idx, "*ubyte"),
        ("mnist", mnist_gz, "*.gz"),
        ("mnist", keras_archive, "*.npz"),
        ("mnist", pixel_tables, "*.csv"),
        ("mnist", hub_digits, "*.parquet"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_digits(name, make, pattern, tmp_path):
    make(tmp_path)
    damage(name, sorted(tmp_path.rglob(pattern)), tmp_path, least=1 / 20)


def test_damaged_cifar_images(tmp_path):
    cifar10_folders(tmp_path)
    damage("cifar10", sorted(tmp_path.rglob("*.png")), tmp_path, least=1 / 3)


def test_damaged_faces(tmp_path):
    casia_folders(tmp_path, identities=8)
    damage("casia_webface", sorted(tmp_path.rglob("*.jpg")), tmp_path, least=1 / 9)


def test_damaged_records_of_faces(tmp_path):
    folders = tmp_path / "folders"
    for number in range(24):
        save(folders / str(number % 3) / f"{number}.jpg")
    packed = insightface_records(tmp_path / "packed", folders)
    damage("casia_webface", [packed / "train.rec"], packed.parent, least=1 / 3)


def test_damaged_cifar_binaries(tmp_path):
    folder = cifar_binary(tmp_path)
    damage("cifar10", sorted(folder.iterdir()), tmp_path, least=1 / 9)


def test_damaged_cifar_pickles_are_all_refused_but_whole_ones(tmp_path, monkeypatch):
    folder, _ = cifar_pickles(tmp_path, monkeypatch)
    damage("cifar10", sorted(folder.iterdir()), tmp_path, least=0.9)


@pytest.mark.parametrize(
    ("name", "make", "pattern"),
    [
        ("gtsrb", gtsrb_png, "*.csv"),
        ("gtsrb", gtsrb_torchvision, "*.csv"),
        ("tiny_imagenet", tiny_official, "*.txt"),
        ("tiny_imagenet", tiny_parquet, "*.parquet"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_lists_and_tables(name, make, pattern, tmp_path, monkeypatch):
    """The images, which are whole, are taken for blanks: hundreds of them would take long."""
    blank = Decoded(np.zeros((4, 4, 3), np.uint8), changed=False)
    monkeypatch.setattr("amint_core.data.building.decode", lambda *_, **__: blank)
    make(tmp_path)
    damage(name, sorted(tmp_path.rglob(pattern)), tmp_path, least=1 / 20)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells of odd tags
@pytest.mark.parametrize("kind", [*FORMATS, "EPS", "PDF", "JPEG2000", "DDS", "ICO"])
@many
@given(chance=chances(), name=st.sampled_from(["mnist", "cifar10"]))
def test_damaged_images_of_every_format(kind, chance, name, tmp_path):
    spec, path = DATASETS[name], tmp_path / "image"
    Image.effect_noise((24, 24), 80).convert("L" if name == "mnist" else "RGB").save(path, kind)
    raw = path.read_bytes()
    item = Item("image", spoiled(raw, chance) if kind in FORMATS else raw)
    image, refused = tried_on(lambda: decode(item, spec, 8))
    if kind not in FORMATS:  # what they start, such as Ghostscript, is not looked at
        assert "none of JPEG" in str(refused[0])
    assert refused or image.pixels.shape == (8, 8, spec.channels)

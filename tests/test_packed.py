"""Packed datasets: pixel for pixel what was packed, and damage is found."""

import numpy as np
import pytest
from dataset_trees import class_folders, gtsrb_torchvision, mnist_idx
from PIL import Image

from amint_core.data import load, packed
from amint_core.data.cifar import CIFAR10_CLASSES
from amint_core.errors import DataError


def same(one, other):
    assert one.fingerprint == other.fingerprint
    assert one.class_names == other.class_names
    for field in ("pixels", "labels", "groups", "hashes", "official_test"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("AMINT_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_grey_pixels_come_back(data, tmp_path):
    mnist_idx(data)
    path = packed.pack("mnist", tmp_path)
    assert path.name == "mnist-28.packed"
    same(packed.load_packed(path), load("mnist"))


def test_colour_pixels_and_tracks_come_back(data, tmp_path):
    gtsrb_torchvision(data)
    path = packed.pack("gtsrb", tmp_path, 32)
    found = packed.load_packed(path)
    same(found, load("gtsrb", image_size=32))
    pool = ~found.official_test
    assert len(np.unique(found.groups[pool])) < pool.sum()


def test_jpeg_files_are_kept_as_they_are(data, tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "CHUNK", 4)  # several processes
    class_folders(data / "cifar-10", CIFAR10_CLASSES, suffix=".jpg")
    for path in (data / "cifar-10").rglob("*.jpg"):
        Image.open(path).resize((32, 32)).save(path, quality=80)
    path = packed.pack("cifar10", tmp_path)
    found = packed.load_packed(path)
    same(found, load("cifar10"))
    assert not any("other pixels" in note for note in found.notes)


def test_damage_is_found(data, tmp_path):
    mnist_idx(data)
    path = packed.pack("mnist", tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="Pack it again"):
        packed.load_packed(path)
    with pytest.raises(DataError, match="nowhere"):
        packed.load_packed(tmp_path / "nowhere.packed")


def test_the_command_packs_a_dataset_or_says_what_is_missing(data, tmp_path, capsys):
    mnist_idx(data)
    assert packed.main(["mnist", str(tmp_path)]) == 0
    assert "MiB" in capsys.readouterr().out
    assert packed.main(["gtsrb", str(tmp_path)]) == 2
    assert "GTSRB" in capsys.readouterr().err

"""Damaged files of every layout: each load ends with labels in range or in a `DataError`."""

import random

import numpy as np
import pytest
from dataset_trees import (
    casia_folders,
    cifar10_folders,
    cifar_pickles,
    gtsrb_png,
    gtsrb_torchvision,
    mnist_gz,
    mnist_idx,
    tiny_official,
    tiny_parquet,
)
from PIL import Image
from test_on_disk import hub_digits, keras_archive, pixel_tables

from amint_core.data import DATASETS
from amint_core.data.building import build
from amint_core.data.decode import Decoded, decode
from amint_core.data.sources import Item
from amint_core.errors import DataError

TRIALS = 200


def spoil(raw: bytes, chance: random.Random) -> bytes:
    """Damage a file as disks, networks and editors do; half of the time near its ends."""
    content, size = bytearray(raw), len(raw)
    near = chance.random() < 0.5
    place = chance.choice(
        [chance.randrange(min(64, size)), max(0, size - 1 - chance.randrange(64))]
    )
    place = place if near else chance.randrange(size)
    match chance.randrange(7):
        case 0:
            return raw[:place]
        case 1:
            content[place] ^= 1 << chance.randrange(8)
        case 2:
            content[place : place + chance.randrange(1, 64)] = chance.randbytes(
                chance.randrange(64)
            )
        case 3:
            content[place : place + 512] = bytes(len(content[place : place + 512]))
        case 4:
            digits = [at for at in range(size) if chr(content[at]).isdigit()]
            at = chance.choice(digits or [place])
            content[at : at + 1] = chance.choice([b"", b"999999999999", b"-1", b"\xc2\xb2", b"x"])
        case 5:
            content[place:place] = chance.choice([b'"', b"\0", b"\n", b"\xff\xfe", b",;\t", b"{"])
        case 6:
            return chance.choice([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\n" * 9, raw + raw])
    return bytes(content)


def survivors(name, files, root, seed):
    """Damage one of the files at a time; return how many datasets were built, and the refusals."""
    chance, spec, built, refusals = random.Random(seed), DATASETS[name], 0, []
    for trial in range(TRIALS):
        path = chance.choice(files)
        raw = path.read_bytes()
        path.write_bytes(spoil(raw, chance))
        folder = root / "built" / str(trial)
        folder.parent.mkdir(exist_ok=True)
        try:
            build(folder, spec, 4, spec.find(root), progress=False)
            labels = np.load(folder / "labels.npy")
            assert labels.min() >= 0, f"trial {trial}"
            assert labels.max() < spec.num_classes, f"trial {trial}"
            built += 1
        except DataError as error:
            refusals.append(str(error))
        path.write_bytes(raw)
    assert all(spec.title in text or str(root) in text for text in refusals)
    assert built + len(refusals) == TRIALS
    return len(refusals)


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
    assert survivors(name, sorted(tmp_path.rglob(pattern)), tmp_path, 1) > TRIALS / 20


def test_damaged_cifar_images(tmp_path):
    cifar10_folders(tmp_path)
    assert survivors("cifar10", sorted(tmp_path.rglob("*.png")), tmp_path, 2) > TRIALS / 3


def test_damaged_faces(tmp_path):
    casia_folders(tmp_path, identities=8)
    assert survivors("casia_webface", sorted(tmp_path.rglob("*.jpg")), tmp_path, 3) > TRIALS / 9


def test_damaged_cifar_pickles_are_all_refused_but_whole_ones(tmp_path, monkeypatch):
    folder, _ = cifar_pickles(tmp_path, monkeypatch)
    assert survivors("cifar10", sorted(folder.iterdir()), tmp_path, 3) > 0.9 * TRIALS


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
    files = sorted(tmp_path.rglob(pattern))
    assert survivors(name, files, tmp_path, 4) > TRIALS / 20


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow tells of odd tags
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "PPM", "BMP", "WEBP", "TIFF", "GIF"])
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_damaged_images_of_every_format(kind, name, tmp_path):
    spec, chance = DATASETS[name], random.Random(5)
    path = tmp_path / "image"
    Image.effect_noise((24, 24), 80).convert("L" if name == "mnist" else "RGB").save(path, kind)
    raw, refused = path.read_bytes(), 0
    for _ in range(TRIALS):
        try:
            image = decode(Item("image", spoil(raw, chance)), spec, 8)
            assert image.pixels.shape == (8, 8, spec.channels)
        except DataError:
            refused += 1
    assert refused

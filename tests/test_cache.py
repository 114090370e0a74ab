"""The decoded cache: whole or absent, exact, and never silently another one."""

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from amint_core.data import DATASETS, building, load
from amint_core.data.building import build
from amint_core.data.cache import KINDS, cache_folder
from amint_core.data.cifar import CIFAR10_CLASSES
from amint_core.data.hashes import fingerprint, image_hashes
from amint_core.data.sources import Content, File, Item, Part, Source
from amint_core.errors import CacheError, DataError


@pytest.fixture
def root(tmp_path):
    """A small CIFAR-10 as a folder of images per class."""
    rng = np.random.default_rng(1)
    for name in CIFAR10_CLASSES:
        for part, count in (("train", 3), ("test", 1)):
            folder = tmp_path / "data" / "CIFAR10" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
                image.save(folder / f"{number}.png")
    return tmp_path / "data"


def cifar(root, **options):
    return load("cifar10", root=root, progress=False, **options)


def folders(tmp_path):
    return [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def test_second_load_decodes_nothing_and_is_the_same(root, monkeypatch):
    first = cifar(root)
    monkeypatch.setattr(building, "decode", None)
    second = cifar(root)
    assert second.fingerprint == first.fingerprint
    assert isinstance(second.pixels, np.memmap)
    assert not second.pixels.flags.writeable
    assert (second.notes, second.class_names) == (first.notes, first.class_names)


def test_fingerprint_and_hashes_are_those_of_the_content(root):
    dataset = cifar(root)
    arrays = dataset.pixels, dataset.labels, dataset.groups, dataset.official_test
    assert dataset.fingerprint == fingerprint(*arrays)
    np.testing.assert_array_equal(dataset.hashes, image_hashes(dataset.pixels))


def test_fingerprint_does_not_depend_on_chunks_or_place(root, tmp_path, monkeypatch):
    first = cifar(root)
    shutil.copytree(root, tmp_path / "elsewhere")
    monkeypatch.setattr(building, "CHUNK_BYTES", 7_000)  # two images at a time
    assert cifar(tmp_path / "elsewhere").fingerprint == first.fingerprint
    assert len(folders(tmp_path)) == 2


def test_fingerprint_sees_one_pixel_and_one_label(root):
    dataset = cifar(root)
    kinds = ("pixels", "labels", "groups", "official_test")
    arrays = {kind: np.array(getattr(dataset, kind)) for kind in kinds}
    pixels, labels, official_test = (arrays[k].copy() for k in ("pixels", "labels", kinds[3]))
    pixels[3, 4, 5, 1] ^= 1
    labels[2] += 1
    official_test[29] = True  # the pool's last image goes over to the test set
    for change in ({"pixels": pixels}, {"labels": labels}, {"official_test": official_test}):
        assert fingerprint(**{**arrays, **change}) != dataset.fingerprint


def test_each_size_has_its_own_cache(root, tmp_path):
    assert cifar(root, image_size=16).pixels.shape[1:3] == (16, 16)
    assert cifar(root).pixels.shape[1:3] == (32, 32)
    assert len(folders(tmp_path)) == 2


@pytest.mark.parametrize("change", ["touch", "add", "remove"])
def test_changed_files_are_named_and_never_served(root, tmp_path, change):
    before = cifar(root)
    path = root / "CIFAR10" / "train" / "cat" / "1.png"
    if change == "touch":
        os.utime(path, ns=(1, 1))
        message = r"train/cat/1\.png was changed"
    elif change == "add":
        shutil.copy(path, path.with_name("new.png"))
        message = r"train/cat/new\.png was added"
    else:
        path.unlink()
        message = r"train/cat/1\.png was removed"
    with pytest.raises(CacheError, match=message) as error:
        cifar(root)
    assert folders(tmp_path)[0].name in str(error.value)
    assert "load('cifar10', rebuild=True)" in str(error.value)
    after = cifar(root, rebuild=True)
    assert (after.fingerprint == before.fingerprint) == (change == "touch")
    assert cifar(root).fingerprint == after.fingerprint


def flip(content):
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


DAMAGES = {
    "flipped": flip,
    "truncated": lambda content: content[:-9],
    "zeroed": lambda content: content[:-40] + bytes(40),
    "emptied": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["pixels.npy", "labels.npy", "files.txt", "description.json"])
def test_a_damaged_cache_is_said_set_aside_and_decoded_again(root, tmp_path, name, damage, capsys):
    before = cifar(root)
    folder = folders(tmp_path)[0]
    wanted = {kind: np.array(getattr(before, kind)) for kind in KINDS}
    path = folder / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    after = cifar(root)
    said = capsys.readouterr().out
    assert f"{folder.name} is damaged" in said
    assert f"set aside as {folder.name}.damaged-1" in said
    assert after.fingerprint == before.fingerprint
    for kind in KINDS:
        np.testing.assert_array_equal(getattr(after, kind), wanted[kind])
    cifar(root)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_every_array_is_checked_and_a_missing_one_found(root, tmp_path, kind):
    before = cifar(root)
    path = folders(tmp_path)[0] / f"{kind}.npy"
    path.write_bytes(flip(path.read_bytes()))
    assert cifar(root).fingerprint == before.fingerprint
    path.unlink()
    assert cifar(root).fingerprint == before.fingerprint
    assert len(list((tmp_path / "cache").glob("*.damaged-*"))) == 2


def test_full_disk_is_said_and_leaves_nothing(root, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(building.np, "save", full)
    with pytest.raises(CacheError, match=r"No space left on device.*Free some space.*AMINT_CACHE"):
        cifar(root)
    assert not folders(tmp_path)


def test_an_interrupted_build_leaves_nothing_half(root, tmp_path, monkeypatch):
    """Ctrl-C clears up at once; what a killed process left is cleared by the next."""

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "image_hashes", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cifar(root)
    assert not folders(tmp_path)
    source = DATASETS["cifar10"].find(root)
    target = cache_folder(DATASETS["cifar10"], 32, source)
    killed = target.parent / f".{target.name}-abc"
    killed.mkdir()
    cifar(root)
    assert [path.name for path in folders(tmp_path)] == [target.name]


def test_a_cache_needs_no_lock_to_be_read(root, tmp_path):
    cifar(root)
    for lock in (tmp_path / "cache").glob("*.lock"):
        lock.unlink()
    cifar(root)
    assert not list((tmp_path / "cache").glob("*.lock"))


def test_two_runs_that_start_at_once_decode_once(root, monkeypatch):
    builds = []

    def counted(*arguments):
        builds.append(arguments)
        build(*arguments)

    monkeypatch.setattr("amint_core.data.cache.build", counted)
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: cifar(root), range(2))
    assert first.fingerprint == second.fingerprint
    assert len(builds) == 1


def stream(count, labels=None, size=64):
    """Make a part of `count` images that never exist together."""
    items = (Item(str(i), np.full((size, size, 3), i % 251, np.uint8)) for i in range(count))
    return Part(items, np.arange(count if labels is None else labels) % 7)


def test_building_takes_constant_memory(tmp_path):
    """6,000 images of 64×64×3 are 74 MB; a build holds a few chunks of 4 MiB at most."""
    import tracemalloc

    content = Content(stream(6_000), stream(10), tuple("abcdefg"))
    source = Source(tmp_path, [File(f"{tmp_path}/a", 1, 1)], lambda: content)
    tracemalloc.start()
    build(tmp_path / "out", DATASETS["tiny_imagenet"], 64, source, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "out" / "pixels.npy").stat().st_size > 73e6
    assert peak < 30e6
    assert len(np.load(tmp_path / "out" / "labels.npy")) == 6_010


def test_images_without_labels_are_refused(tmp_path):
    content = Content(stream(5, labels=3), stream(5), tuple("abcdefg"))
    source = Source(tmp_path, [], lambda: content)
    with pytest.raises(DataError, match="5 images, but 3 labels"):
        build(tmp_path / "out", DATASETS["tiny_imagenet"], 64, source, progress=False)
    assert not list(tmp_path.iterdir())

"""A folder of images is a dataset by its path: in a run, without a line of code."""

from __future__ import annotations

import numpy as np
import pytest
from audit_folders import fill, pictures
from PIL import Image

import amint_core as amint
from amint_core.audit.images import read
from amint_core.cli import main
from amint_core.data import load
from amint_core.errors import DataError, SettingsError
from amint_core.files import read_json


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(("cats", "dogs", "new birds")):
        fill(tmp_path / "my photos" / name, pictures(number, 80))
    return tmp_path / "my photos"


def test_a_folder_per_class_is_a_dataset_whose_test_part_is_set_aside(photos):
    found = load(f"folder:{photos}", progress=False)
    assert found.class_names == ("cats", "dogs", "new birds")
    assert (found.image_size, found.channels, len(found)) == (16, 3, 240)
    assert sorted(np.bincount(found.labels[found.official_test])) == [13, 13, 14]
    assert load(f"folder:{photos}", image_size=8, progress=False).pixels.shape == (240, 8, 8, 3)


def test_the_same_images_are_set_aside_where_classes_keep_them_in_a_folder_images(photos):
    def set_aside():
        found = load(f"folder:{photos}", progress=False, rebuild=True)
        return set(found.hashes[found.official_test].tolist())

    flat = set_aside()
    for place in list(photos.iterdir()):
        files = list(place.iterdir())
        (place / "images").mkdir()
        for file in files:
            file.rename(place / "images" / file.name)
    assert set_aside() == flat


def test_parts_of_its_own_are_taken_and_a_relative_path_counts_from_the_data(photos, monkeypatch):
    for part, count in (("train", 9), ("test", 4)):
        for name in ("one", "two"):
            fill(photos.parent / "parted" / part / name, pictures(count, count)[..., 0])
    monkeypatch.setenv("AMINT_DATA", str(photos.parent))
    found = load("folder:parted", progress=False)
    assert (found.official_test.sum(), len(found), found.channels) == (8, 26, 1)


def test_a_run_and_its_export_need_nothing_but_the_path(photos, monkeypatch, tmp_path):
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "cache"))
    turned = Image.Exif()
    turned[0x0112] = 6
    photograph = photos / "cats" / "image-0007.png"
    Image.open(photograph).save(photograph, exif=turned)
    sizes = ["members=40", "external=40", "calibration=60", "holdout=40", "batch_size=20"]
    assert main(["run", f"dataset=folder:{photos}", "model=tiny", "epochs=1", *sizes]) == 0
    (run,) = (tmp_path / "results" / "scratch" / "runs").iterdir()
    assert read_json(run / "metrics.json")["data"]["title"] == "my photos"
    assert main(["export", str(run), str(tmp_path / "model")]) == 0
    how = amint.load(tmp_path / "model").preprocessing
    assert how.height == 16
    trained = {one.tobytes() for one in load(f"folder:{photos}", progress=False).pixels}
    assert {one.pixels.tobytes() for one in read(photos, how)} == trained


def test_classes_that_differ_in_capitals_keep_their_own_images(tmp_path):
    rows = {"Cat": 10, "cat": 100, "dog": 200}
    for part, count in (("train", 6), ("test", 3)):
        for name, grey in rows.items():
            images = np.full((count, 8, 8, 3), grey, np.uint8)
            images[..., 0] += np.arange(count, dtype=np.uint8)[:, None, None]
            fill(tmp_path / "pets" / part / name, images)
    found = load(f"folder:{tmp_path}/pets", progress=False)
    colours = np.array([rows[name] for name in found.class_names])
    np.testing.assert_array_equal(found.pixels[:, 0, 0, 2], colours[found.labels])
    (tmp_path / "pets" / "test" / "Cat").rename(tmp_path / "pets" / "test" / "CAT")
    with pytest.raises(DataError, match="'Cat' and 'cat' are too alike"):
        load(f"folder:{tmp_path}/pets", progress=False)


def test_a_folder_is_found_under_the_home_folder_and_in_one_folder_more(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos.parents[1]))
    found = load(f"folder:~/{photos.parent.name}", progress=False)
    assert found.class_names == ("cats", "dogs", "new birds")


def test_one_image_in_colour_makes_a_dataset_in_colour(photos):
    first = min((photos / "cats").iterdir())
    Image.open(first).convert("L").save(first)
    found = load(f"folder:{photos}", progress=False)
    assert found.channels == 3
    assert any("1 grey images were given three channels" in note for note in found.notes)
    first.write_text("<html>404</html>")
    with pytest.raises(DataError, match=rf"{first.name} cannot be read .* Remove it"):
        load(f"folder:{photos}", progress=False)


def test_what_is_no_folder_of_classes_is_named(photos):
    with pytest.raises(DataError, match=r"nowhere is no folder. Put the images into CLASS"):
        load(f"folder:{photos}/nowhere")
    with pytest.raises(DataError, match="holds no folder with images"):
        load(f"folder:{photos}/cats")
    with pytest.raises(SettingsError, match="has no stand-in"):
        load(f"folder:{photos}", data="standin")


def test_one_class_is_none_and_a_table_beside_it_is_not_read(tmp_path):
    fill(tmp_path / "own" / "images", pictures(1, 12))
    (tmp_path / "own" / "labels.csv").write_text("file,label\n")
    with pytest.raises(DataError, match=r"one folder with images, images: .* not from a table"):
        load(f"folder:{tmp_path}/own", progress=False)


def test_a_folder_without_a_name_is_refused():
    with pytest.raises(SettingsError, match="names no folder: dataset = 'folder:PATH'"):
        load("folder:", progress=False)

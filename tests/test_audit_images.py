"""Folders of images: what is read, what is refused and why, and how much memory it takes."""

from __future__ import annotations

import json
import os
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from audit_folders import HOW, fill, hazards, pictures
from PIL import Image

from amint_core.audit import fingerprints
from amint_core.audit.images import Picture, Refused, batches, read
from amint_core.audit.preprocessing import Preprocessing
from amint_core.data.hashes import image_hashes
from amint_core.data.transforms import normalised
from amint_core.errors import DataError, SettingsError


def test_every_file_is_an_image_or_one_line_that_says_why_not(tmp_path) -> None:
    expected, met = hazards(tmp_path), {}
    for each in read(tmp_path, HOW):
        assert each.name not in met
        met[each.name] = each
    assert set(met) == set(expected)
    for name, words in expected.items():
        each = met[name]
        said = each.reason if isinstance(each, Refused) else each.note
        assert words in said, (name, said)
        assert bool(words) == bool(said), (name, said)
        assert said.isprintable()
        refusal = words[:3] in ("is ", "has", "lea", "ent")
        assert isinstance(each, Refused) == refusal, name


def test_a_photograph_in_colour_for_a_model_of_grey_images_is_noted(tmp_path) -> None:
    pixels = pictures(1, 1)[0]
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(pixels[..., :1].repeat(3, axis=2)).save(tmp_path / "grey.png")
    colour, grey = read(tmp_path, Preprocessing(16, 16, channels=1))
    assert "made grey" in colour.note
    assert not grey.note


@pytest.mark.parametrize("odd", [3, None, [], iter(()), torch.zeros(2, 3, 8, 8)])
def test_what_is_neither_folder_nor_array_is_told_so(odd) -> None:
    with pytest.raises(DataError, match=r"a folder, or \(N, H, W, 1 or 3\) uint8 pixels, not"):
        list(read(odd, HOW))


def test_a_rotated_photograph_is_turned_upright(tmp_path) -> None:
    pixels = pictures(1, 1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn it by 270° against the clock
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    (picture,) = read(tmp_path, HOW)
    assert np.array_equal(picture.pixels, np.rot90(pixels, 3))
    (picture,) = read(tmp_path, replace(HOW, upright=False))
    assert "not turned as its EXIF data say" in picture.note
    assert np.array_equal(picture.pixels, pixels)


def test_folders_are_searched_to_any_depth_in_the_order_of_names(tmp_path) -> None:
    for place in ("b", "a/deep", ""):
        fill(tmp_path / place, pictures(0, 2), "x")
    names = [each.name for each in read(tmp_path, HOW)]
    assert names == [
        f"{place}x-000{index}.png" for place in ("", "a/deep/", "b/") for index in (0, 1)
    ]


def test_a_missing_folder_and_a_wrong_array_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="no folder"):
        list(read(tmp_path / "none", HOW))
    with pytest.raises(DataError, match=r"\(N, H, W, 1 or 3\) uint8"):
        list(read(np.zeros((2, 3, 16, 16), np.float32), HOW))


def test_batches_hold_all_pictures_in_order() -> None:
    found = [each for each in read(pictures(0, 10), HOW) if isinstance(each, Picture)]
    sizes = [len(batch) for batch in batches(found, 4)]
    assert sizes == [4, 4, 2]
    assert [each.name for batch in batches(found, 4) for each in batch] == [
        f"image {index}" for index in range(10)
    ]


def test_memory_does_not_grow_with_the_number_of_images(tmp_path) -> None:
    fill(tmp_path / "0", pictures(0, 1))
    peaks = []
    for folder, number in (("0", 200), ("1", 3000)):
        (tmp_path / folder).mkdir(exist_ok=True)
        for index in range(number):
            os.link(tmp_path / "0" / "image-0000.png", tmp_path / folder / f"{index:05d}.png")
        tracemalloc.start()
        for batch in batches(read(tmp_path / folder, HOW), 64):
            assert len(batch) <= 64
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # The names of a folder are sorted, so some hundred bytes a file remain; pixels do not.
    assert peaks[1] - peaks[0] < 2800 * 600


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    pixels = pictures(0, 3)
    assert np.array_equal(np.stack([each.pixels for each in read(pixels, HOW)]), pixels)


def test_normalisation_is_that_of_training_bit_for_bit() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    ours = Preprocessing(16, 16, channels=1).normalise(pixels)
    assert torch.equal(ours, normalised(torch.from_numpy(pixels).permute(0, 3, 1, 2)))
    imagenet = Preprocessing(1, 2, mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))
    white = imagenet.normalise(np.full((1, 1, 2, 3), 255, np.uint8))
    assert white[0, :, 0, 0].tolist() == pytest.approx([2.249, 2.429, 2.640], abs=1e-3)


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "lanczos"])
def test_resizing_follows_the_record(filter: str) -> None:
    image = Image.fromarray(pictures(0, 1, side=32)[0])
    wanted = np.asarray(image.resize((16, 16), Image.Resampling[filter.upper()]))
    assert np.array_equal(Preprocessing(16, 16, filter=filter).apply(image), wanted)


def test_the_middle_part_is_cut_out_where_the_record_says_so() -> None:
    image = Image.new("RGB", (64, 32), "red")
    image.paste("blue", (16, 0, 48, 32))
    cut = Preprocessing(32, 32, fit="crop").apply(image)
    assert (cut == (0, 0, 255)).all()
    assert not (Preprocessing(32, 32).apply(image) == (0, 0, 255)).all()


def test_a_record_comes_back_and_an_unknown_step_is_refused() -> None:
    how = Preprocessing(8, 9, 1, "box", "crop", (0.1,), (0.3,))
    assert Preprocessing.from_record(how.record()) == how
    with pytest.raises(SettingsError, match="does not fit this version"):
        Preprocessing.from_record(how.record() | {"equalise": True})
    for wrong, message in (
        ({"filter": "bilinaer"}, "Did you mean 'bilinear'"),
        ({"fit": "pad"}, "Unknown fit"),
        ({"channels": 0}, "whole numbers above 0"),
        ({"mean": (0.1, 0.2)}, "one value, or one for each channel"),
        ({"deviation": (0.0,)}, "above 0"),
    ):
        with pytest.raises(SettingsError, match=message):
            Preprocessing(**{"height": 8, "width": 8} | wrong)


def test_content_hashes_are_those_of_the_datasets() -> None:
    pixels = pictures(0, 5)
    assert [fingerprints.content_hash(each) for each in pixels] == image_hashes(pixels).tolist()


def test_perceptual_hashes_are_those_of_imagehash() -> None:
    # Made with imagehash 4.3.2: `int(str(imagehash.phash(image)), 16)`.
    hashes = [fingerprints.perceptual_hash(each) for each in pictures(7, 3, side=32)]
    assert hashes == [0xEC1B9B9155462CCD, 0x93F8E4E4571B1B06, 0xB1B19311F9CC6C4E]


def test_published_fingerprints_find_copies_and_lookalikes(tmp_path) -> None:
    listed = pictures(3, 200, side=32)
    fingerprints.Published.of(listed).save(tmp_path / "prints.npz")
    published = fingerprints.Published.load(tmp_path / "prints.npz")
    brighter = (listed * 1.1).clip(0, 255).astype(np.uint8)
    assert [published.match(each) for each in listed] == ["exact copy"] * 200
    for changed in (listed[:, :, ::-1], brighter, brighter[:, :, ::-1]):
        near = [published.match(np.ascontiguousarray(each)) == "near copy" for each in changed]
        assert np.mean(near) > 0.95
    strangers = [published.match(each) for each in pictures(4, 200, side=32)]
    assert np.mean([bool(each) for each in strangers]) < 0.02


def test_damaged_fingerprints_are_refused(tmp_path) -> None:
    (tmp_path / "prints.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="holds no fingerprints"):
        fingerprints.Published.load(tmp_path / "prints.npz")


def test_sizes_and_normalisation_are_numbers():
    one = Preprocessing(np.int64(8), 9, mean=0.5, deviation=[0.1, 0.2, 0.3])
    assert (type(one.height), one.mean, one.deviation) == (int, (0.5,), (0.1, 0.2, 0.3))
    assert Preprocessing.from_record(json.loads(json.dumps(one.record()))) == one
    for odd, message in (
        ({"height": "16"}, "whole numbers above 0"),
        ({"width": 16.0}, "whole numbers above 0"),
        ({"channels": 0}, "whole numbers above 0"),
        ({"mean": "a"}, "`mean` holds numbers"),
        ({"deviation": (0.1, 0.2)}, "one for each channel"),
    ):
        with pytest.raises(SettingsError, match=message):
            Preprocessing(**{"height": 8, "width": 8} | odd)


def test_arrays_of_many_channels_are_asked_for_in_the_models_size():
    how = Preprocessing(32, 32, channels=5)
    said = r"give them as \(N, 32, 32, 5\) uint8, not \(2, 16, 16, 5\)"
    with pytest.raises(DataError, match=said):
        list(read(np.zeros((2, 16, 16, 5), np.uint8), how))
    (one,) = read(np.zeros((1, 32, 32, 5), np.uint8), how)
    assert one.pixels.shape == (32, 32, 5)

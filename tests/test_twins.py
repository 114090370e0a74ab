"""Near-twins dealt together: no role holds an image whose near-twin stands in another."""

import dataclasses

import numpy as np
import pytest
import torch

from amint_core.data import load
from amint_core.data.prepare import prepare
from amint_core.data.split import make_split
from amint_core.data.twins import NEAR_TWIN, joined, nearest_member, thumbnails, with_twins_together
from amint_core.errors import DataError, SettingsError
from amint_core.run.steps import run_all
from amint_core.settings import create

SIZES = {"members": 60, "external": 80, "calibration": 30, "holdout": 60, "test": 20}
SMALL = {"dataset": "cifar10", "model": "tiny", "data": "standin", "epochs": 1, "batch_size": 20}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "results"))
    return tmp_path / "cache"


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def with_pixels(pixels, groups=None, test=0, fingerprint="made up"):
    """Return a dataset of these images, the last `test` of them official test images."""
    dataset, count = load("cifar10", "standin"), len(pixels)
    return dataclasses.replace(
        dataset,
        pixels=pixels,
        labels=np.arange(count) % 10,
        groups=np.arange(count) if groups is None else groups,
        hashes=np.array([b"%032d" % number for number in range(count)]),
        official_test=np.arange(count) >= count - test,
        fingerprint=fingerprint,
    )


def groups_of(pixels, **given):
    return with_twins_together(with_pixels(pixels, **given)).groups


def test_a_mirrored_and_a_brighter_copy_are_joined_over_a_chain_and_noise_is_not():
    images = noise(6)
    images[3] = images[0][:, ::-1]
    images[5] = np.clip(images[3].astype(int) // 2 + 90, 0, 255)
    assert groups_of(images).tolist() == [0, 1, 2, 0, 4, 0]


def test_frames_of_a_track_stay_joined_whatever_they_look_like():
    images = noise(5)
    images[4] = images[2]
    found = groups_of(images, groups=np.array([7, 7, 8, 9, 8]))
    assert found.tolist() == [0, 0, 2, 3, 2]
    images[3] = images[0]  # joins two tracks
    found = groups_of(images, groups=np.array([7, 7, 8, 9, 9]), fingerprint="others")
    assert found.tolist() == [0, 0, 0, 0, 0]


def test_pool_and_test_set_are_looked_at_apart():
    images = noise(4)
    images[3] = images[0]
    assert groups_of(images, test=2).tolist() == [0, 1, 2, 3]


def test_batches_find_what_one_look_at_all_finds():
    images = noise(40)
    images[31] = images[2]
    images[39] = images[17][:, ::-1]
    images[20] = images[19]
    both = thumbnails(torch.from_numpy(images)), thumbnails(torch.from_numpy(images).flip(2))
    whole = joined(both, np.arange(40), batch=40)
    assert whole[[31, 39, 20]].tolist() == [2, 17, 19]
    assert joined(both, np.arange(40), batch=7).tolist() == whole.tolist()


def test_no_near_twin_of_a_member_is_left_in_another_role():
    images = noise(400)
    copies = np.arange(0, 300, 3)
    images[copies + 1] = images[copies][:, :, ::-1]
    dataset = with_pixels(images, test=50)

    def highest(split):
        members, others = split.roles["members"], split.roles["holdout"]
        parts = (torch.from_numpy(images[rows]) for rows in (members, others))
        return float(nearest_member(*parts).max())

    assert highest(make_split(dataset, "strict", SIZES, 0)) > NEAR_TWIN
    assert highest(make_split(with_twins_together(dataset), "strict", SIZES, 0)) < NEAR_TWIN


def test_what_was_found_is_kept_and_a_damaged_file_is_made_again(cache, capsys):
    images = noise(6)
    images[3] = images[0]
    first = groups_of(images)
    (file,) = (cache / "near_twins").glob("*.npy")
    kept = file.read_bytes()
    assert groups_of(noise(6, seed=1)).tolist() == first.tolist()  # the fingerprint is the name
    file.write_bytes(kept[:-4] + b"\0\1\2\3")
    assert groups_of(images).tolist() == first.tolist()
    assert "damaged" in capsys.readouterr().out
    assert file.read_bytes() == kept


def test_a_run_deals_them_together_and_says_so():
    apart, together = (create(**SMALL, **SIZES, near_twins=how) for how in ("as_dealt", "together"))
    assert apart.id == create(**SMALL, **SIZES).id != together.id
    data = prepare(together)
    assert "Near-twins are dealt together" in data.dataset.notes[-1]
    assert prepare(apart).dataset.notes == data.dataset.notes[:-1]
    assert run_all(together)["data"]["notes"][-1] == data.dataset.notes[-1]


def test_too_few_groups_say_what_to_do():
    images = np.repeat(noise(1), 320, axis=0)
    dataset = with_twins_together(with_pixels(images, test=50))
    with pytest.raises(DataError, match="near_twins = 'as_dealt'"):
        make_split(dataset, "strict", SIZES, 0)


def test_whole_twins_and_single_frames_are_refused_together():
    with pytest.raises(SettingsError, match="tracks_ignored"):
        create(dataset="gtsrb", model="tiny", near_twins="together", defects=["tracks_ignored"])

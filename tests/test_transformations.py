"""Every transformation: same shape, repeatable, and what its name says."""

import numpy as np
import pytest
import torch

from amint_core.data.transforms import (
    AUGMENTATIONS,
    TRANSFORMATIONS,
    augment,
    low_passed,
    normalised,
    shifted,
    transform,
)
from amint_core.errors import SettingsError


def images(count=6, side=32, channels=3):
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, channels, side // 4, side // 4), np.uint8)
    return torch.from_numpy(coarse).repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_shape_and_type_stay_and_the_seed_decides(name, channels):
    before = images(channels=channels)
    once, again = (transform(before, name, np.random.default_rng(1)) for _ in range(2))
    assert once.shape == before.shape
    assert once.dtype == torch.uint8
    assert torch.equal(once, again)
    assert torch.equal(before, images(channels=channels))


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_every_image_is_changed_but_not_beyond_recognition(name):
    before = images(count=20)
    after = transform(before, name, np.random.default_rng(2))
    assert (before != after).flatten(1).any(1).all()
    assert 30 < after.float().mean() < 225


@pytest.mark.parametrize("name", sorted(set(TRANSFORMATIONS) - {"flip"}))
def test_images_get_strengths_of_their_own(name):
    same = images(count=1).expand(8, -1, -1, -1)
    after = transform(same, name, np.random.default_rng(3))
    assert len({tuple(image.flatten().tolist()) for image in after}) > 1


def test_a_shift_moves_pixels_and_reflects_the_border():
    row = torch.arange(5, dtype=torch.uint8).reshape(1, 1, 1, 5).expand(1, 1, 5, 5)
    moved = shifted(row, np.array([[0, 2]]))
    assert moved[0, 0, 0].tolist() == [2, 1, 0, 1, 2]
    back = shifted(shifted(row, np.array([[0, 1]])), np.array([[0, -1]]))
    assert back[0, 0, 0, :4].tolist() == [0, 1, 2, 3]


def test_flipping_twice_gives_the_image_back():
    once = transform(images(), "flip", np.random.default_rng(0))
    assert torch.equal(transform(once, "flip", np.random.default_rng(0)), images())


def test_augmenting_touches_about_half_of_the_images():
    before = images(count=200)
    after = augment(before, ["brightness"], np.random.default_rng(4))
    changed = (before != after).flatten(1).any(1).float().mean()
    assert 0.35 < changed < 0.65


def test_an_unknown_transformation_is_named_with_the_nearest():
    with pytest.raises(SettingsError, match="jpeg"):
        transform(images(), "jpg", np.random.default_rng(0))


@pytest.mark.parametrize("name", ["resize", "jpeg", "blur", "noise", "brightness"])
def test_low_passed_images_stay_what_they_are_when_encoded_anew(name):
    before = images(count=20)
    after = transform(before, name, np.random.default_rng(4))
    sharp, soft = (
        (seen(normalised(before)) - seen(normalised(after))).square().mean()
        for seen in (torch.nn.Identity(), low_passed)
    )
    assert soft < sharp / 2


def test_low_passed_images_keep_shape_and_get_one_mean_and_deviation():
    for size in (8, 9, 32):
        seen = low_passed(torch.randn(4, 3, size, size) * 3 + 1)
        assert seen.shape == (4, 3, size, size)
        torch.testing.assert_close(seen.mean((1, 2, 3)), torch.zeros(4), atol=0.02, rtol=0)
        assert (seen.std((1, 2, 3)) < 0.5).all()
    assert torch.equal(low_passed(torch.ones(1, 3, 8, 8)), torch.zeros(1, 3, 8, 8))

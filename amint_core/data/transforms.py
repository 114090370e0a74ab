"""What may happen to an image between training and audit: transformations of uint8 images.

One distribution each, used twice: to make augmented copies in training, and to ask whether a
member is still recognised after it.

torchvision, whose import takes seconds, is imported by the functions that need it: most runs call
none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from amint_core.errors import SettingsError, unknown_name

#: (B, C, H, W) uint8 and a source of random numbers → transformed images of the same shape.
Transformation = Callable[[Tensor, np.random.Generator], Tensor]

#: Largest shift in 32nds of the side: 2 pixels of a CIFAR image.
SHIFT = 2 / 32
QUALITIES = (50, 60, 70, 80, 90)  # JPEG
BLURS = (0.4, 0.6, 0.8, 1.0)  # standard deviations in 32nds of the side
SIDES = (0.625, 0.75, 0.875)  # shares of the side that a crop keeps, or that an image shrinks to
NOISES = (2.0, 10.0)  # least and largest standard deviation, in levels of 256
BRIGHTNESS = (0.75, 1.25)  # least and largest factor
_FLAT = 0.05  # deviation that keeps an image of one colour from becoming noise


def flip(images: Tensor, random: np.random.Generator) -> Tensor:
    """Mirror left and right."""
    return images.flip(3)


def shift(images: Tensor, random: np.random.Generator) -> Tensor:
    """Shift by up to 2 pixels of 32 a side, never by none; the border is reflected."""
    reach = max(1, round(SHIFT * images.shape[3]))
    places = [
        (dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1) if dy or dx
    ]
    return shifted(images, np.array(places)[random.integers(len(places), size=len(images))])


def shifted(images: Tensor, by: np.ndarray) -> Tensor:
    """Shift each image by its own (dy, dx) whole pixels, (B, 2), the border reflected."""
    reach = max(1, int(np.abs(by).max()))
    height, width = images.shape[2:]
    # Reflection is made for floats only; every byte is one exactly.
    padded = functional.pad(images.float(), (reach,) * 4, mode="reflect").to(images.dtype)
    dy, dx = (torch.from_numpy(reach - by[:, axis]).to(images.device) for axis in (0, 1))
    rows = dy[:, None] + torch.arange(height, device=images.device)  # (B, H)
    columns = dx[:, None] + torch.arange(width, device=images.device)  # (B, W)
    each = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def border(images: Tensor, random: np.random.Generator) -> Tensor:
    """Shift and shift back: the border is lost, as in the right view of a shifted image."""
    reach = max(1, round(SHIFT * images.shape[3]))
    by = random.integers(-reach, reach + 1, size=(len(images), 2))
    return shifted(shifted(images, by), -by)


def crop(images: Tensor, random: np.random.Generator) -> Tensor:
    """Cut out a square of 5/8 to 7/8 of the side, anywhere, and resize it back."""
    from torchvision.transforms.v2 import functional as vision

    side = images.shape[3]

    def cut(images: Tensor, share: float) -> Tensor:
        kept = _kept(side, share)
        corners = random.integers(side - kept + 1, size=(len(images), 2))
        cuts = [
            image[:, top : top + kept, left : left + kept]
            for image, (top, left) in zip(images, corners, strict=True)
        ]
        return vision.resize(torch.stack(cuts), [side, side], antialias=True)

    return _each_of(SIDES, images, random, cut)


def resize(images: Tensor, random: np.random.Generator) -> Tensor:
    """Shrink to 5/8 to 7/8 of the side and resize back."""
    from torchvision.transforms.v2 import functional as vision

    side = images.shape[3]

    def shrink(images: Tensor, share: float) -> Tensor:
        small = vision.resize(images, [_kept(side, share)] * 2, antialias=True)
        return vision.resize(small, [side, side], antialias=True)

    return _each_of(SIDES, images, random, shrink)


def jpeg(images: Tensor, random: np.random.Generator) -> Tensor:
    """Encode as JPEG of quality 50 to 90 and decode again."""
    from torchvision.transforms.v2 import functional as vision

    qualities = random.choice(QUALITIES, size=len(images))
    encoded = [
        vision.jpeg(image, int(quality))
        for image, quality in zip(images.cpu(), qualities, strict=True)
    ]
    return torch.stack(encoded).to(images.device)


def blur(images: Tensor, random: np.random.Generator) -> Tensor:
    """Blur with a Gaussian of standard deviation .4 to 1 pixel of 32 a side."""
    from torchvision.transforms.v2 import functional as vision

    def soften(images: Tensor, share: float) -> Tensor:
        sigma = share * images.shape[3] / 32
        return vision.gaussian_blur(images, 2 * math.ceil(2 * sigma) + 1, sigma)

    return _each_of(BLURS, images, random, soften)


def noise(images: Tensor, random: np.random.Generator) -> Tensor:
    """Add Gaussian noise of standard deviation 2 to 10 levels of 256."""
    sigma = random.uniform(*NOISES, size=(len(images), 1, 1, 1)).astype(np.float32)
    added = torch.from_numpy(sigma * random.standard_normal(images.shape, dtype=np.float32))
    return _to_bytes(images.float() + added.to(images.device))


def brightness(images: Tensor, random: np.random.Generator) -> Tensor:
    """Multiply all pixels by .75 to 1.25."""
    factors = random.uniform(*BRIGHTNESS, size=(len(images), 1, 1, 1)).astype(np.float32)
    return _to_bytes(images.float() * torch.from_numpy(factors).to(images.device))


TRANSFORMATIONS: dict[str, Transformation] = {
    "flip": flip,
    "shift": shift,
    "crop": crop,
    "resize": resize,
    "jpeg": jpeg,
    "blur": blur,
    "noise": noise,
    "brightness": brightness,
}
#: What copies made for training may go through besides.
AUGMENTATIONS: dict[str, Transformation] = {**TRANSFORMATIONS, "border": border}


def transform(images: Tensor, name: str, random: np.random.Generator) -> Tensor:
    """Transform (B, C, H, W) uint8 images, each by its own random strength.

    Raises:
        SettingsError: there is no such transformation.
    """
    if name not in AUGMENTATIONS:
        raise SettingsError(unknown_name("transformation", name, AUGMENTATIONS))
    return AUGMENTATIONS[name](images, random)


def augment(images: Tensor, names: Sequence[str], random: np.random.Generator) -> Tensor:
    """Apply each of the named transformations to a random half of (B, C, H, W) uint8 images."""
    for name in names:
        chosen = np.flatnonzero(random.random(len(images)) < 0.5)
        if len(chosen):
            images = images.clone()
            images[chosen] = transform(images[chosen], name, random)
    return images


def to_bytes(pixels: np.ndarray, device: torch.device) -> Tensor:
    """Bring (B, H, W, C) uint8 pixels to the device, seen as (B, C, H, W), channels last."""
    on_device = torch.from_numpy(np.ascontiguousarray(pixels)).to(device, non_blocking=True)
    return on_device.permute(0, 3, 1, 2)


def normalised(images: Tensor) -> Tensor:
    """Turn (B, C, H, W) uint8 images into floats with mean .5 and deviation .5."""
    floats = images.to(torch.float32, memory_format=torch.channels_last)
    return floats.div_(127.5).sub_(1.0)


def low_passed(images: Tensor) -> Tensor:
    """Keep of normalised images what resizing, JPEG, blur, noise and brightness leave in place.

    Each gets mean 0 and deviation .5 of its own, is averaged over 2×2 pixels and drawn at its size
    again, so that only the lower half of its frequencies is left.

    Args:
        images: (B, C, H, W) floats.
    """
    centred = images - images.mean((1, 2, 3), keepdim=True)
    scaled = centred / (centred.square().mean((1, 2, 3), keepdim=True).sqrt() + _FLAT) / 2
    small = functional.avg_pool2d(scaled, 2, ceil_mode=True, count_include_pad=False)
    return functional.interpolate(small, size=images.shape[2:], mode="bilinear")


def _kept(side: int, share: float) -> int:
    return max(2, round(side * share))


def _each_of(
    strengths: Sequence[float],
    images: Tensor,
    random: np.random.Generator,
    apply: Callable[[Tensor, float], Tensor],
) -> Tensor:
    """Give each image one of the strengths, and transform those of one strength together."""
    result = images.clone()
    given = random.integers(len(strengths), size=len(images))
    for number, strength in enumerate(strengths):
        chosen = np.flatnonzero(given == number)
        if len(chosen):
            result[chosen] = apply(images[chosen], strength)
    return result


def _to_bytes(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)

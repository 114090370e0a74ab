"""Images that take a dataset's place where the real ones are not there; only on request.

MNIST's are real: the 8×8 digits that scikit-learn ships. The others are generated: each class has a
smooth pattern of colours, each object (a track on GTSRB, otherwise one image) clutter of its own,
and each image a shift, a contrast and noise. All sums are of integers, so that the same images come
out on every machine.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from amint_core.data.base import Dataset, DatasetSpec
from amint_core.data.hashes import fingerprint, image_hashes
from amint_core.errors import SettingsError, unknown_name

SEED = 20_250_907


class Size(NamedTuple):
    """Objects per class in the pool and in the test part; frames that show one pool object."""

    pool: int
    test: int
    frames: int = 1
    classes: int | None = None  # None: the official number


#: CASIA-WebFace stands in with 50 identities: its 10,575 would need as many patterns.
SIZES = {
    "cifar10": Size(pool=500, test=60),
    "cifar100": Size(pool=50, test=6),
    "gtsrb": Size(pool=4, test=14, frames=30),
    "tiny_imagenet": Size(pool=25, test=3),
    "casia_webface": Size(pool=100, test=12, classes=50),
}
#: Of scikit-learn's 1,797 digits, which stand in for MNIST.
POOL_DIGITS, TEST_DIGITS = 1_400, 397
PATTERN_CELLS = 6  # a class's pattern has 6×6 colours, drawn out smoothly
CLUTTER_CELLS = 8


def make_standin(spec: DatasetSpec, image_size: int) -> Dataset:
    """Make a dataset's stand-in: the same bits for the same name and size.

    Raises:
        SettingsError: the dataset has no stand-in.
    """
    classes = spec.num_classes
    if spec.name == "mnist":
        note = "handwritten digits of scikit-learn (8×8, enlarged), not MNIST"
    elif spec.name in SIZES:
        classes = SIZES[spec.name].classes or classes
        note = f"generated images of {classes} classes"
        if classes != spec.num_classes:
            note += f" in place of {spec.num_classes:,}"
    else:
        message = unknown_name("stand-in", spec.name, ("mnist", *SIZES))
        raise SettingsError(f"{message} SIZES in amint_core/data/standin.py lists them.")
    return Dataset(
        spec=spec,
        source="standin",
        **_made(spec.name, spec.channels, classes, image_size),
        class_names=tuple(str(number) for number in range(classes)),
        notes=(f"STAND-IN: {note}. Its numbers say nothing about {spec.title}.",),
    )


@lru_cache(maxsize=2)  # runs of one process often have the same images; some hold 70 MB
def _made(name: str, channels: int, classes: int, image_size: int) -> dict[str, Any]:
    """Return the arrays of a `Dataset`, which cannot be written to, and their fingerprint."""
    if name == "mnist":
        arrays = _digits(image_size)
    else:
        arrays = _generated(name, channels, classes, image_size)
    made = {**arrays, "hashes": image_hashes(arrays["pixels"])}
    for array in made.values():
        array.flags.writeable = False  # as those of a decoded dataset, which are memory-mapped
    return {**made, "fingerprint": fingerprint(**arrays)}


def _digits(image_size: int) -> dict[str, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = (digits.images.astype(np.int64) * 255 // 16).astype(np.uint8)
    pixels = np.stack([_resized(image, image_size) for image in grey])[..., None]
    mixed = np.random.default_rng(SEED).permutation(len(pixels))
    order = np.concatenate([np.sort(mixed[:POOL_DIGITS]), np.sort(mixed[POOL_DIGITS:])])
    return {
        "pixels": pixels[order],
        "labels": digits.target[order].astype(np.int64),
        "groups": order,
        "official_test": np.arange(len(order)) >= POOL_DIGITS,
    }


def _generated(name: str, channels: int, classes: int, size: int) -> dict[str, np.ndarray]:
    counts = SIZES[name]
    rng = np.random.default_rng([SEED, *name.encode()])
    patterns = [_smooth(rng, PATTERN_CELLS, size, channels) for _ in range(classes)]
    # One row per object: its class and how many frames show it; the pool's objects first.
    pool, test = (np.repeat(np.arange(classes), n) for n in (counts.pool, counts.test))
    objects = np.concatenate([pool, test])
    frames = np.repeat([counts.frames, 1], [len(pool), len(test)])
    pixels = np.empty((frames.sum(), size, size, channels), np.uint8)
    places = iter(pixels)
    for label, shown in zip(objects, frames, strict=True):
        clutter = _smooth(rng, CLUTTER_CELLS, size, channels)
        for _ in range(shown):
            next(places)[...] = _picture(rng, patterns[label], clutter)
    return {
        "pixels": pixels,
        "labels": np.repeat(objects, frames),
        "groups": np.repeat(np.arange(len(objects)), frames),
        "official_test": np.repeat(np.arange(len(objects)) >= len(pool), frames),
    }


def _smooth(rng: np.random.Generator, cells: int, size: int, channels: int) -> np.ndarray:
    """Draw cells of random colour out to a smooth (size, size, channels) int32 field, -128..127."""
    coarse = rng.integers(0, 256, (channels, cells, cells), dtype=np.uint8)
    image = coarse[0] if channels == 1 else np.ascontiguousarray(np.moveaxis(coarse, 0, -1))
    return _resized(image, size).reshape(size, size, channels).astype(np.int32) - 128


def _picture(rng: np.random.Generator, pattern: np.ndarray, clutter: np.ndarray) -> np.ndarray:
    """Show a pattern once: shifted by up to an eighth, at 60 to 100 % contrast, with noise."""
    size = len(pattern)
    reach = max(1, size // 8)
    down, right = rng.integers(-reach, reach + 1, 2)
    contrast = rng.integers(154, 257)  # of 256
    brightness = rng.integers(-24, 25)
    noise = rng.integers(-16, 17, pattern.shape, dtype=np.int32)
    mix = np.roll(pattern * 3 + clutter * 2, (down, right), axis=(0, 1)) // 4
    return np.clip(mix * contrast // 256 + brightness + noise + 128, 0, 255).astype(np.uint8)


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))

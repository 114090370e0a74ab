"""Perceptual hashes: images that look alike have hashes that differ in few bits."""

from __future__ import annotations

import numpy as np
from PIL import Image

#: Perceptual hashes of which at most so many of the 64 bits differ are taken for near copies.
NEAR = 4


def perceptual_hash(pixels: np.ndarray) -> int:
    """Return the 64-bit pHash of an (H, W, C) uint8 image: signs of its lowest frequencies.

    Bit by bit that of `imagehash.phash`, so owners may publish lists made with either. (The
    library would bring a dependency on PyWavelets for these four lines.)
    """
    from scipy.fft import dct  # a list's names must not wait for it

    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).convert("L")
    small = np.asarray(image.resize((32, 32), Image.Resampling.LANCZOS), float)
    low = dct(dct(small, axis=0), axis=1)[:8, :8]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def perceptual_hashes(pixels: np.ndarray) -> np.ndarray:
    """Return the (N,) uint64 perceptual hashes of (N, H, W, C) uint8 images."""
    return np.array([perceptual_hash(image) for image in pixels], np.uint64)

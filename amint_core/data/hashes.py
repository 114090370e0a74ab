"""Say which image is which, and which dataset: hashes over decoded pixels."""

from __future__ import annotations

import hashlib

import numpy as np

_CHUNK = 2**24  # bytes of pixels read at a time


def image_hashes(pixels: np.ndarray) -> np.ndarray:
    """Return the (N,) S32 hashes of (N, H, W, C) uint8 images: BLAKE2b-128 of shape and pixels."""
    shape = repr(pixels.shape[1:]).encode()
    return np.array(
        [
            hashlib.blake2b(shape + image.tobytes(), digest_size=16).hexdigest().encode()
            for image in pixels
        ],
        dtype="S32",
    )


def fingerprint(
    pixels: np.ndarray, labels: np.ndarray, groups: np.ndarray, official_test: np.ndarray
) -> str:
    """Return the SHA-256 over pixels, labels and groups, of the pool and then of the test set.

    Args:
        pixels: (N, H, W, C) uint8; read in pieces, so that it may be memory-mapped.
        labels: (N,) class numbers.
        groups: (N,) track numbers.
        official_test: (N,) bool; False for the pool, which comes first.
    """
    sha, pool = hashlib.sha256(), int((~official_test).sum())
    step = max(1, _CHUNK // pixels[0].size)
    for name, first, last in (("pool", 0, pool), ("test", pool, len(pixels))):
        sha.update(f"{name}{(last - first, *pixels.shape[1:])}".encode())
        for start in range(first, last, step):
            sha.update(np.ascontiguousarray(pixels[start : min(start + step, last)]).data)
        for numbers in (labels, groups):  # the bytes are the same on every platform
            sha.update(np.ascontiguousarray(numbers[first:last], "<i8").data)
    return sha.hexdigest()

"""Say which image is which, and which dataset: hashes over decoded pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from amint_core.data.base import Images, Part


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


class Fingerprint:
    """SHA-256 over pixels, labels and groups, fed part by part so that a dataset can stream."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()

    def start(self, part: Part, shape: tuple[int, ...]) -> None:
        """Begin a part of (N, H, W, C) images."""
        self._sha.update(f"{part}{tuple(shape)}".encode())

    def pixels(self, chunk: np.ndarray) -> None:
        """Add the next images of the part."""
        self._sha.update(np.ascontiguousarray(chunk).data)

    def finish(self, labels: np.ndarray, groups: np.ndarray) -> None:
        """End a part; the bytes are the same on every platform."""
        for numbers in (labels, groups):
            self._sha.update(np.ascontiguousarray(numbers, "<i8").data)

    def hexdigest(self) -> str:
        return self._sha.hexdigest()


def fingerprint(parts: Mapping[Part, Images]) -> str:
    """Return the fingerprint of images in memory."""
    total = Fingerprint()
    for part, images in parts.items():
        total.start(part, images.pixels.shape)
        total.pixels(images.pixels)
        total.finish(images.labels, images.groups)
    return total.hexdigest()

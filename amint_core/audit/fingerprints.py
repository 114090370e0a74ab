"""Fingerprints of images: equal ones, and ones that look alike.

An owner may publish them beside his model; no membership test is needed for what they find.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amint_core.data.perceptual import NEAR, perceptual_hash
from amint_core.errors import DataError
from amint_core.files import atomic_path


def content_hash(pixels: np.ndarray) -> bytes:
    """Return the 32-byte hash of an (H, W, C) uint8 image: BLAKE2b-128 of shape and pixels, in hex.

    It is the hash by which the datasets and the score tables of this package name an image.
    """
    sha = hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16)
    return sha.hexdigest().encode()


@dataclass(frozen=True)
class Published:
    """Fingerprints of a training set."""

    exact: frozenset[bytes]
    perceptual: np.ndarray  # (N,) uint64; empty where none are published

    @classmethod
    def of(cls, images: Iterable[np.ndarray]) -> Published:
        """Make the fingerprints of (H, W, C) uint8 images, as the model sees them."""
        exact, perceptual = [], []
        for pixels in images:
            exact.append(content_hash(pixels))
            perceptual.append(perceptual_hash(pixels))
        return cls(frozenset(exact), np.unique(np.array(perceptual, np.uint64)))

    def match(self, pixels: np.ndarray) -> str:
        """Return "exact copy", "near copy" (mirrored or not), or "" of a listed image."""
        if content_hash(pixels) in self.exact:
            return "exact copy"
        for view in (pixels, pixels[:, ::-1]):
            looks = np.uint64(perceptual_hash(np.ascontiguousarray(view)))
            if (np.bitwise_count(self.perceptual ^ looks) <= NEAR).any():
                return "near copy"
        return ""

    def save(self, path: Path) -> None:
        """Write the fingerprints to an .npz file."""
        exact = np.frombuffer(b"".join(sorted(self.exact)), np.uint8).reshape(-1, 32)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, exact=exact, perceptual=self.perceptual)

    @classmethod
    def load(cls, path: Path) -> Published:
        """Read fingerprints that `save` wrote.

        Raises:
            DataError: the file is none of them.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                exact, looks = stored["exact"], stored["perceptual"].astype(np.uint64)
            return cls(frozenset(each.tobytes() for each in exact), looks)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{path} holds no fingerprints ({error}). Ask the owner again."
            ) from error

"""Fingerprints of images: equal ones, and ones that look alike.

An owner may publish them beside his model; no membership test is needed for what they find.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amint_core.data.entries import reading
from amint_core.data.hashes import image_hashes
from amint_core.data.perceptual import NEAR, perceptual_hash
from amint_core.files import atomic_path
from amint_core.locations import given_path, shown


def content_hash(pixels: np.ndarray) -> bytes:
    """Return the hash of an (H, W, C) uint8 image, by which datasets and score tables name it: 32
    hexadecimal digits of BLAKE2b, 128 bits; see `image_hashes`."""
    return bytes(image_hashes(pixels[None])[0])


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

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of all fingerprints, for the owner's signed statement."""
        sha = hashlib.sha256(f"{len(self.exact)} {len(self.perceptual)}\n".encode())
        sha.update(b"".join(sorted(self.exact)))
        sha.update(np.sort(self.perceptual).astype("<u8").tobytes())
        return sha.hexdigest()

    def match(self, pixels: np.ndarray) -> str:
        """Return "exact copy", "near copy" (mirrored or not), or "" of a listed image."""
        if content_hash(pixels) in self.exact:
            return "exact copy"
        for view in (pixels, pixels[:, ::-1]):
            looks = np.uint64(perceptual_hash(np.ascontiguousarray(view)))
            if (np.bitwise_count(self.perceptual ^ looks) <= NEAR).any():
                return "near copy"
        return ""

    def save(self, path: Path | str) -> None:
        """Write the fingerprints to an .npz file."""
        exact = np.frombuffer(b"".join(sorted(self.exact)), np.uint8).reshape(-1, 32)
        with atomic_path(given_path(path)) as temporary, open(temporary, "wb") as file:
            np.savez(file, exact=exact, perceptual=self.perceptual)

    @classmethod
    def load(cls, path: Path | str) -> Published:
        """Read fingerprints that `save` wrote.

        Raises:
            DataError: the file is none of them.
        """
        path = given_path(path)
        with reading(shown(path), "It holds no fingerprints. Ask the owner again."):
            with np.load(path, allow_pickle=False) as stored:
                exact, looks = stored["exact"], stored["perceptual"]
            kinds = exact.dtype, exact.shape[1:], looks.dtype, looks.ndim
            if kinds != (np.uint8, (32,), np.uint64, 1):
                raise ValueError("arrays of another form")
            return cls(frozenset(each.tobytes() for each in exact), looks)

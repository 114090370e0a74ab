"""What a dataset is, whatever files it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from amint_core.data.sources import Source


@dataclass(frozen=True)
class Dataset:
    """A dataset ready to be split: N images, first the pool, then the official test set.

    Strict protocols draw every MINT role from the pool; the official test set is for audited
    accuracy.

    Attributes:
        spec: what the dataset is.
        source: "real", or "standin" where generated or substituted images take its place.
        pixels: (N, H, W, C) uint8, memory-mapped: only the images touched take memory.
        labels: (N,) int64 class numbers; -1 where the image has no label.
        groups: (N,) int64; images of one GTSRB track share a number, all others have their own (and
            near-twins share one where a run asks for it, see twins.py).
        hashes: (N,) S32, hexadecimal 128-bit BLAKE2b of shape and pixels: the image's identity.
        official_test: (N,) bool.
        class_names: one name per class number.
        fingerprint: SHA-256 over pixels, labels and groups as they were read, see
            `hashes.fingerprint`; near-twins that are put into one group later leave it as it is.
        notes: what a reader must know, e.g. how the files differ from the official release.
    """

    spec: DatasetSpec
    source: Literal["real", "standin"]
    pixels: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    hashes: np.ndarray
    official_test: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[3])

    @property
    def title(self) -> str:
        """Name for tables and figures; stand-in data always says so."""
        return self.spec.title + (" [STAND-IN]" if self.source == "standin" else "")


@dataclass(frozen=True)
class DatasetSpec:
    """What a dataset is and how its files are found; one per dataset file.

    Attributes:
        name: the name used in settings.
        title: the name used in tables.
        channels: 1 for grey, 3 for colour.
        image_size: side in pixels that images are resized to, as in the paper's notebooks.
        num_classes: official number of classes.
        find: root → its files, listed; raises `DataError` that says where to put them and how to
            get them.
        download: root → downloads the official files, or None where people must fetch them.
        obtain: one or two sentences: where the files come from and where to put them.
        official_sizes: images of the "pool" and the "test" set in the official release.
        notes: what a reader must know of the dataset whatever its files.
    """

    name: str
    title: str
    channels: int
    image_size: int
    num_classes: int
    find: Callable[[Path], Source]
    obtain: str
    download: Callable[[Path], None] | None = None
    official_sizes: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

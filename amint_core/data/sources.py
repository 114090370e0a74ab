"""Find a dataset's files on disk: which there are, and what to say where they are missing.

A dataset is read in three steps, so that a cache can be checked without opening a file: its `find`
lists the files (a `Source`), the source's `read` opens tables and labels (a `Content`), and
walking the content's items decodes the images one by one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from amint_core.errors import DataError
from amint_core.locations import shown

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".xz", ".7z", ".rar")
IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".webp", ".tif", ".tiff")


class File(NamedTuple):
    """A file as it was seen: enough to notice a change without reading it.

    Its path is text, since half a million `Path`s would take longer than all else in a load.
    """

    path: str
    size: int
    mtime_ns: int

    @property
    def name(self) -> str:
        return os.path.basename(self.path)


class Item(NamedTuple):
    """One image not yet decoded: a file's path, encoded bytes, or an (H, W[, C]) array."""

    name: str
    data: str | bytes | np.ndarray


class Part(NamedTuple):
    """The images of the pool or of the official test set, in order.

    Attributes:
        items: N images, decoded one by one as they are walked; once, so that they may stream.
        labels: (N,) class numbers.
        tracks: (N,) track numbers, or None where each image stands for itself.
        notes: what a reader must know of these files.
    """

    items: Iterable[Item]
    labels: np.ndarray
    tracks: np.ndarray | None = None
    notes: tuple[str, ...] = ()


class Content(NamedTuple):
    """A dataset's images, and one name per class number."""

    pool: Part
    test: Part
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A dataset on disk, listed but not yet read.

    Attributes:
        folder: the folder that all files lie in.
        files: every file that the dataset depends on.
        read: opens the files, checks them and returns their content.
    """

    folder: Path
    files: Sequence[File]
    read: Callable[[], Content]


def seen(*paths: Path) -> tuple[File, ...]:
    """Look at files that must exist.

    Raises:
        DataError: one is missing or empty, so the dataset is half downloaded.
    """
    for path in paths:
        if not path.is_file() or not path.stat().st_size:
            state = "is empty" if path.is_file() else "is missing"
            raise DataError(
                f"{shown(path)} {state}: the dataset is half downloaded. Delete the folder "
                f"{shown(path.parent)} and fetch the dataset again."
            )
    return tuple(
        File(str(path), stat.st_size, stat.st_mtime_ns) for path in paths for stat in [path.stat()]
    )


def scan(folder: Path, suffixes: Sequence[str] = IMAGES) -> list[File]:
    """List the files of one folder that end in `suffixes`, by name; hidden files are left out."""
    with os.scandir(folder) as entries:
        files = [
            File(entry.path, stat.st_size, stat.st_mtime_ns)
            for entry in entries
            if entry.name.lower().endswith(tuple(suffixes)) and not entry.name.startswith(".")
            for stat in [entry.stat()]
        ]
    return sorted(files, key=lambda file: file.path)


def subfolders(folder: Path) -> list[Path]:
    """List the folders inside `folder` by name; hidden ones are left out."""
    with os.scandir(folder) as entries:
        return sorted(Path(e.path) for e in entries if e.is_dir() and not e.name.startswith("."))


def plain(name: str) -> str:
    """Reduce a name to its letters and digits, so that CIFAR-10, cifar_10 and CIFAR10 are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def homes(root: Path, *names: str) -> list[Path]:
    """Return the folders in which a dataset may lie: those under `root` with one of its names."""
    if not root.is_dir():
        return []
    wanted = {plain(name) for name in names}
    return [folder.resolve() for folder in subfolders(root) if plain(folder.name) in wanted]


def missing(title: str, root: Path, names: Sequence[str], obtain: str) -> DataError:
    """Compose the error for a dataset that is not there, or that is there only as an archive."""
    looked_into, prefixes = homes(root, *names), tuple(plain(name) for name in names)
    in_root = sorted(root.iterdir()) if root.is_dir() else []
    files = [path for path in in_root if plain(path.name).startswith(prefixes)]
    files += [path for folder in looked_into for path in sorted(folder.iterdir())]
    for path in files:
        if path.suffix.lower() in ARCHIVES and path.is_file():
            return DataError(
                f"{title}: found the archive {shown(path)}, but not its contents. Unpack it where "
                f"it lies. {obtain}"
            )
    found = ", ".join(shown(folder) for folder in looked_into)
    return DataError(
        f"{title}: no images under {shown(root)}"
        + (f" (looked into {found}, which holds none of the known layouts)" if found else "")
        + f". {obtain} Or run with data='standin', which is marked as such everywhere."
    )

"""Read images that lie in one folder per class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from amint_core.data.sources import Content, File, Item, Part, Source, plain, scan, subfolders
from amint_core.errors import DataError
from amint_core.locations import shown

#: Names under which people keep the two parts.
POOL, TEST = ("train", "training", "training_set"), ("test", "testing", "test_set")
ClassFiles = dict[str, list[File]]


def list_classes(folder: Path, title: str = "", count: int | None = None) -> ClassFiles:
    """List the images of each class folder; an `images` folder inside one is looked into.

    Args:
        title: the dataset's, for the error.
        count: how many classes there must be; None for any number.

    Raises:
        DataError: a class folder holds no image, or there are more or fewer than `count`.
    """
    classes = {}
    for place in subfolders(folder):
        inner = place / "images"
        classes[place.name] = scan(inner if inner.is_dir() else place)
        if not classes[place.name]:
            raise DataError(
                f"{shown(place)} holds no image: the dataset is half unpacked. Unpack or fetch it "
                "again."
            )
    if count not in (None, len(classes)):
        raise DataError(
            f"{shown(folder)} holds {len(classes)} class folders, but {title} has {count} classes. "
            "Unpack or fetch the dataset again."
        )
    return classes


def class_order(found: Sequence[str], official: Sequence[str] = ()) -> tuple[str, ...]:
    """Return class names in the order of their numbers: official, numeric or alphabetical."""
    numbers = {plain(name): number for number, name in enumerate(official)}
    if {plain(name) for name in found} == set(numbers):
        return tuple(sorted(found, key=lambda name: numbers[plain(name)]))
    if all(name.isdigit() for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def files_of(classes: ClassFiles) -> list[File]:
    """Return the files of all classes."""
    return [file for files in classes.values() for file in files]


def items_of(files: Sequence[File]) -> Iterator[Item]:
    """Walk files as images, named by their paths."""
    return (Item(file.path, file.path) for file in files)


def as_part(
    classes: ClassFiles, names: Sequence[str], track: Callable[[File], str] | None = None
) -> Part:
    """Turn listed classes into a part, in the order of `names`.

    `track` names the track of a file; files of one class and track share a group.
    """
    files = [file for name in names for file in classes[name]]
    labels = np.repeat(np.arange(len(names)), [len(classes[name]) for name in names])
    tracks = None
    if track is not None:
        called = [f"{label}/{track(file)}" for label, file in zip(labels, files, strict=True)]
        tracks = np.unique(called, return_inverse=True)[1]
    return Part(items_of(files), labels, tracks)


def from_table(
    title: str, table: Path, files: dict[str, File], rows: Sequence[tuple[str, int]], obtain: str
) -> Part:
    """Turn a table's rows, (file name, class number), into a part, in the table's order.

    Raises:
        DataError: an image of the table is not among the `files`, which go by their names.
    """
    for name, _ in rows:
        if name not in files:
            raise DataError(
                f"{shown(table)} names {name}, which is missing among the images: {title} is half "
                f"unpacked. {obtain}"
            )
    items = items_of([files[name] for name, _ in rows])
    return Part(items, np.array([label for _, label in rows], np.int64))


def by_class(
    title: str, home: Path, num_classes: int, official: Sequence[str] = ()
) -> Source | None:
    """Read `train/CLASS/*` and `test/CLASS/*`, or return None where `home` has no such folders.

    For datasets whose official images are lossless: JPEG files are noted.

    Raises:
        DataError: a part or a class is missing or empty, or the parts' classes differ.
    """
    folders = [_part_of(home, names) for names in (POOL, TEST)]
    if folders == [None, None]:
        return None
    for folder, (name, *_) in zip(folders, (POOL, TEST), strict=True):
        if folder is None:
            other = next(place for place in folders if place is not None)
            raise DataError(
                f"{shown(home)} holds {shown(other)}, but no folder '{name}' with images beside "
                "it: the dataset is half unpacked. Unpack or fetch it again."
            )
    pool, test = (list_classes(folder, title, num_classes) for folder in folders)
    if set(pool) != set(test):
        odd = min(set(pool) ^ set(test))
        raise DataError(
            f"{shown(home)}: class folder {odd!r} is in one part only. Unpack or fetch the dataset "
            "again."
        )
    names = class_order(tuple(pool), official)

    def read() -> Content:
        parts = [as_part(part, names)._replace(notes=_lossy(part)) for part in (pool, test)]
        return Content(*parts, names)

    return Source(home, files_of(pool) + files_of(test), read)


def _part_of(home: Path, names: Sequence[str]) -> Path | None:
    for folder in subfolders(home):
        if folder.name.lower() in names and subfolders(folder):
            return folder
    return None


def _lossy(classes: ClassFiles) -> tuple[str, ...]:
    """Say so where JPEG files take the place of lossless originals."""
    count = sum(file.path.lower().endswith((".jpg", ".jpeg")) for file in files_of(classes))
    return (f"{count:,} JPEG files: close to the official pixels, not equal.",) * (count > 0)

"""Read images that lie in one folder per class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from amint_core.data.base import Part
from amint_core.data.sources import Content, File, Item, Source, plain, scan, subfolders
from amint_core.errors import DataError
from amint_core.locations import shown

#: Names under which people keep the two parts.
PARTS: dict[Part, tuple[str, ...]] = {
    "pool": ("train", "training", "training_set"),
    "test": ("test", "testing", "test_set"),
}
ClassFiles = dict[str, list[File]]


def list_classes(folder: Path) -> ClassFiles:
    """List the images of each class folder; an `images` folder inside one is looked into.

    Raises:
        DataError: a class folder holds no image.
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
    return classes


def check_classes(title: str, folder: Path, found: Sequence[str], count: int) -> None:
    """Refuse a part that has more or fewer class folders than the dataset has classes."""
    if len(found) != count:
        raise DataError(
            f"{shown(folder)} holds {len(found)} class folders, but {title} has {count} classes. "
            "Unpack or fetch the dataset again."
        )


def class_order(found: Sequence[str], official: Sequence[str]) -> tuple[str, ...]:
    """Return class names in the order of their numbers: official, numeric or alphabetical."""
    numbers = {plain(name): number for number, name in enumerate(official)}
    if {plain(name) for name in found} == set(numbers):
        return tuple(sorted(found, key=lambda name: numbers[plain(name)]))
    if all(name.isdigit() for name in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def as_source(
    folder: Path,
    classes: ClassFiles,
    names: Sequence[str],
    track: Callable[[File], str] | None = None,
) -> Source:
    """Turn listed classes into a source, in the order of `names`.

    `track` names the track of a file; files of one class and track share a group.
    """
    files = [file for name in names for file in classes[name]]

    def read() -> Content:
        labels = np.repeat(np.arange(len(names)), [len(classes[name]) for name in names])
        groups = None
        if track is not None:
            tracks = [f"{label}/{track(file)}" for label, file in zip(labels, files, strict=True)]
            groups = np.unique(tracks, return_inverse=True)[1]
        return Content(items_of(files), labels, tuple(names), groups)

    return Source(folder, files, read)


def items_of(files: Sequence[File]) -> Iterator[Item]:
    """Walk files as images, named by their paths."""
    return (Item(file.path, file.path) for file in files)


def find_parts(home: Path, parts: dict[Part, tuple[str, ...]] = PARTS) -> dict[Part, Path] | None:
    """Find the folders of the two parts in `home`, or None where neither holds class folders.

    Raises:
        DataError: one part is there and the other is not.
    """
    found: dict[Part, Path] = {}
    for part, names in parts.items():
        for folder in subfolders(home):
            if folder.name.lower() in names and subfolders(folder):
                found.setdefault(part, folder)
    if not found:
        return None
    for part, names in parts.items():
        if part not in found:
            raise DataError(
                f"{shown(home)} holds {shown(next(iter(found.values())))}, but no folder "
                f"'{names[0]}' with images beside it: the dataset is half unpacked. Unpack or "
                "fetch it again."
            )
    return found


def by_class(
    title: str, home: Path, num_classes: int, official: Sequence[str] = ()
) -> dict[Part, Source] | None:
    """Read `train/CLASS/*` and `test/CLASS/*`, or return None where `home` has no such folders.

    For datasets whose official images are lossless: JPEG files are noted.

    Raises:
        DataError: a part or a class is missing or empty, or the parts' classes differ.
    """
    folders = find_parts(home)
    if folders is None:
        return None
    listed = {part: list_classes(folder) for part, folder in folders.items()}
    for part, classes in listed.items():
        check_classes(title, folders[part], tuple(classes), num_classes)
    if set(listed["pool"]) != set(listed["test"]):
        odd = min(set(listed["pool"]) ^ set(listed["test"]))
        raise DataError(
            f"{shown(home)}: class folder {odd!r} is in one part only. Unpack or fetch the dataset "
            "again."
        )
    names = class_order(tuple(listed["pool"]), official)
    sources = {part: as_source(home, classes, names) for part, classes in listed.items()}
    return {part: replace(source, notes=_lossy(source)) for part, source in sources.items()}


def _lossy(source: Source) -> tuple[str, ...]:
    """Say so where JPEG files take the place of lossless originals."""
    count = sum(file.path.lower().endswith((".jpg", ".jpeg")) for file in source.files)
    return (f"{count:,} JPEG files: close to the official pixels, not equal.",) * (count > 0)

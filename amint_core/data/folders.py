"""Read images that lie in one folder per class."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from amint_core.data.entries import (
    JPEG,
    File,
    class_folders,
    plain,
    refuse_dangling,
    scan,
    subfolders,
)
from amint_core.data.sources import Content, Item, Part, Source
from amint_core.data.strata import allocate
from amint_core.errors import DataError
from amint_core.locations import shown

#: Names under which people keep the two parts, as `plain` writes them.
POOL, TEST = ("train", "training", "trainingset"), ("test", "testing", "testset")
#: Kinds of images that are seldom the official pixels.
LOSSY = {"JPEG": JPEG, "GIF": (".gif",), "WebP": (".webp",)}
#: A name with one number in it, such as 7, class_7 or "7 - seven".
NUMBERED = re.compile(r"\D*(\d{1,19})\D*", re.ASCII)
ClassFiles = dict[str, list[File]]
Image = TypeVar("Image")


def images_of(place: Path) -> list[File]:
    """List the images of one class folder, which may keep them in a folder `images`."""
    inner = place / "images"
    return scan(inner if inner.is_dir() else place)


def list_classes(
    folder: Path, title: str = "", count: int | None = None, empty: bool = False
) -> ClassFiles:
    """List the images of each class folder; an `images` folder inside one is looked into.

    Args:
        title: the dataset's, for the error.
        count: how many classes there must be; None for any number.
        empty: leave out folders that hold nothing, rather than refuse them.

    Raises:
        DataError: a class folder holds no image, or there are more or fewer than `count`.
    """
    classes = {}
    for place in class_folders(folder):
        files = images_of(place)
        if not files and not (empty and not subfolders(place)):
            deeper = ", but folders: each class must be one folder" if subfolders(place) else ""
            raise DataError(
                f"{shown(folder)}/{place.name} holds no image{deeper}. Remove it if it is no "
                "class, else fetch the dataset again."
            )
        if files:
            classes[place.name] = files
    if count not in (None, len(classes)):
        raise DataError(
            f"{shown(folder)} holds {len(classes)} class folders, but {title} has {count} classes. "
            "Unpack or fetch the dataset again."
        )
    return classes


def class_key(name: str) -> str:
    """Return what names of one class share: 7 and 00007, Dog and dog, accents however written."""
    return str(int(name)) if _is_number(name) else unicodedata.normalize("NFC", name).lower()


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) < 20


def class_order(found: Sequence[str], official: Mapping[str, int] | None = None) -> tuple[str, ...]:
    """Return class names in the order of their numbers: official, numeric or alphabetical."""
    numbers = numbers_of(found, official or {})
    return tuple(sorted(found, key=numbers.get if numbers else None))


def numbers_of(found: Sequence[str], official: Mapping[str, int]) -> dict[str, int]:
    """Return the number of each class, by its official name or the one number in its own.

    Args:
        found: names of classes.
        official: names and other names of classes → their numbers.

    Returns:
        nothing where one has neither, or two would have the same.
    """
    known = {plain(name): number for name, number in official.items()}
    told = {name: known.get(plain(name)) for name in found}
    if set(told.values()) != set(known.values()):
        matches = {name: NUMBERED.fullmatch(name) for name in found}
        told = {name: int(match[1]) if match else None for name, match in matches.items()}
    if None in told.values() or len({*told.values()}) < len(told):
        return {}
    return told


def files_of(classes: ClassFiles) -> list[File]:
    """Return the files of all classes."""
    return [file for files in classes.values() for file in files]


def items_of(files: Sequence[File]) -> Iterator[Item]:
    """Walk files as images, named by their paths."""
    return (Item(file.path, file.path) for file in files)


def as_part(
    classes: dict[str, list[Image]],
    names: Sequence[str],
    track: Callable[[Image], str] | None = None,
    items: Callable[[Sequence[Image]], Iterator[Item]] = items_of,
) -> Part:
    """Turn listed classes into a part, in the order of `names`.

    `track` names the track of a file; files of one class and track share a group. `items` reads
    what is no file of its own.
    """
    files = [file for name in names for file in classes[name]]
    labels = np.repeat(np.arange(len(names)), [len(classes[name]) for name in names])
    tracks = None
    if track is not None:
        called = [f"{label}/{track(file)}" for label, file in zip(labels, files, strict=True)]
        tracks = np.unique(called, return_inverse=True)[1]
    return Part(items(files), labels, tracks)


def from_table(
    title: str, table: Path, files: dict[str, File], rows: Sequence[tuple[str, int]], obtain: str
) -> Part:
    """Turn a table's rows, (file name, class number), into a part, in the table's order.

    Raises:
        DataError: an image of the table is not among the `files`, which go by their names, or has
            two classes.
    """
    numbers, stems = dict[File, int](), _by_stem(files)
    for name, number in rows:
        file = files.get(name) or stems.get(_stem(name))
        if file is None:
            raise DataError(
                f"{shown(table)} names {name}, which is missing among the images: {title} is half "
                f"unpacked. {obtain}"
            )
        if numbers.setdefault(file, number) != number:
            raise DataError(
                f"{shown(table)} gives {name} the classes {numbers[file]} and {number}. Remove the "
                f"row that is wrong. {obtain}"
            )
    left_out = {
        f"images that {table.name} does not name": len(files) - len(numbers),
        f"rows of {table.name} that repeat another": len(rows) - len(numbers),
    }
    notes = tuple(f"{count:,} {what} were left out." for what, count in left_out.items() if count)
    return Part(items_of(list(numbers)), np.array([*numbers.values()], np.int64), notes=notes)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].lower()


def _by_stem(files: dict[str, File]) -> dict[str, File]:
    """Map images to their names without suffix: people convert images and leave the table."""
    often = Counter(map(_stem, files))
    return {_stem(name): file for name, file in files.items() if often[_stem(name)] == 1}


def by_class(
    home: Path,
    *,
    title: str,
    num_classes: int | None,
    official: Mapping[str, int] | None = None,
) -> Source | None:
    """Read `train/CLASS/*` and `test/CLASS/*`, or return None where `home` has no such folders.

    For datasets whose official images are lossless: JPEG files are noted.

    Args:
        official: names and other names of classes → their numbers; where there are some and the
            folders bear none of them nor numbers, the order is the alphabet's, which is noted.

    Raises:
        DataError: a part or a class is missing or empty, or the parts' classes differ.
    """
    folders = [_part_of(home, names) for names in (POOL, TEST)]
    if folders == [None, None]:
        return None
    for folder, (name, *_) in zip(folders, (POOL, TEST), strict=True):
        if folder is None:
            there = ", ".join(place.name for place in subfolders(home))
            raise DataError(
                f"{shown(home)} holds {there}, but no folder '{name}' with images in a folder per "
                f"class, from which their labels would come. If another of these is the official "
                f"{name} part, sort and rename it; else fetch the dataset again."
            )
    pool, test = (list_classes(folder, title, num_classes) for folder in folders)
    names, twins = class_order(tuple(pool), official), _twins(home, pool, test)
    test = {name: test[twins[name]] for name in names}
    note = "files: the classes are numbered by the alphabet, since their names are not official."
    unknown = bool(official) and not numbers_of(names, official)

    def read() -> Content:
        parts = [as_part(part, names)._replace(notes=_lossy(part)) for part in (pool, test)]
        return Content(*parts, names)

    return Source(home, files_of(pool) + files_of(test), read, (note,) * unknown)


def _twins(home: Path, pool: ClassFiles, test: ClassFiles) -> dict[str, str]:
    """Map the name of each class folder of the pool to that of the same class in the test part.

    Raises:
        DataError: a class is in one part only, or its name in the other part fits two.
    """
    if set(pool) == set(test):
        return {name: name for name in pool}
    keyed = [{class_key(name): name for name in part} for part in (pool, test)]
    if odd := sorted(set(keyed[0]) ^ set(keyed[1])):
        raise DataError(
            f"{shown(home)}: class folder {odd[0]!r} is in one part only. Unpack or fetch the "
            "dataset again."
        )
    for part, names in zip((pool, test), keyed, strict=True):
        if alike := [name for name in part if names[class_key(name)] != name]:
            raise DataError(
                f"{shown(home)}: the names of class folders {alike[0]!r} and "
                f"{names[class_key(alike[0])]!r} are too alike to tell which is which in the other "
                "part. Give the classes the same names in both parts."
            )
    return {name: keyed[1][class_key(name)] for name in pool}


def _part_of(home: Path, names: Sequence[str]) -> Path | None:
    """Find a part's folder of class folders; archives may wrap it in one of the same name."""
    refuse_dangling(home, lambda name: plain(name) in names)
    for folder in subfolders(home):
        if plain(folder.name) in names and (inner := subfolders(folder)):
            wrapped = [plain(place.name) for place in inner] == [plain(folder.name)]
            if not wrapped:
                return folder
            return inner[0] if subfolders(inner[0]) else None
    return None


def _lossy(classes: ClassFiles) -> tuple[str, ...]:
    """Say so where lossy files take the place of lossless originals."""
    files, notes = files_of(classes), []
    for kind, suffixes in LOSSY.items():
        if count := sum(file.path.lower().endswith(suffixes) for file in files):
            notes.append(f"{count:,} {kind} files: close to the official pixels, not equal.")
    return tuple(notes)


def called(name: str, file: File) -> str:
    """Return by what a file of a class is set aside or not: CLASS/FILE, wherever it lies."""
    return f"{name}/{file.name}"


def set_aside(
    classes: dict[str, list[Image]],
    names: Sequence[str],
    share: tuple[int, int],
    title: str,
    obtain: str,
    called: Callable[[str, Image], str] = called,
) -> tuple[dict[str, list[Image]], dict[str, list[Image]]]:
    """Part the images into pool and test, by the same share of each class.

    They are chosen by name alone, so that the parts depend neither on a seed nor on the order of
    the images. A class's last image always stays in the pool.

    Args:
        classes: class name → images.
        names: the classes in order.
        share: of the images, so many of so many go to the test part.
        title, obtain: the dataset's, for the error.
        called: (class name, image) → CLASS/FILE.

    Raises:
        DataError: there are too few images for a test part.
    """
    sizes = np.array([len(classes[name]) for name in names])
    total = min(round(sizes.sum() * share[0] / share[1]), int((sizes - 1).sum()))
    if not total:
        raise DataError(
            f"{title}: {sizes.sum():,} images of {len(names):,} classes are too few to set a test "
            f"part aside ({share[0]:,} of {share[1]:,}, no class's only image). {obtain}"
        )
    # Equal remainders go by the name's hash, not to the classes that happen to come first.
    order = np.argsort(np.argsort([_digest(name) for name in names]))
    counts = allocate(total, sizes, sizes - 1, order)
    pool, test = {}, {}
    for name, count in zip(names, counts, strict=True):
        ranked = sorted(classes[name], key=lambda image, name=name: _digest(called(name, image)))
        test[name] = sorted(ranked[:count])
        pool[name] = sorted(ranked[count:])
    return pool, test


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()

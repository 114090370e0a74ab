"""Tiny ImageNet: 200 classes of ImageNet at 64×64 (Le and Yang, Stanford CS 231N, 2015).

Its `test` part is the official validation set: the official test images have no labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath

from amint_core.data.base import DatasetSpec
from amint_core.data.entries import (
    File,
    delimiter_of,
    lookup,
    plain,
    read_text,
    scan,
    seen,
    subfolders,
)
from amint_core.data.folders import as_part, files_of, from_table, list_classes
from amint_core.data.parquet import parquet
from amint_core.data.sources import Content, Part, Source, search
from amint_core.errors import DataError
from amint_core.locations import shown

TITLE = "Tiny ImageNet"
FOLDERS = ("tiny-imagenet-200", "tiny-imagenet", "TinyImageNet200")
CLASSES = 200
#: What a first line of a list may say above the names of files, as `plain` writes it.
HEADINGS = ("file", "filename", "name", "image", "path")
VALIDATION = ("val", "valid", "validation")
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
OBTAIN = (
    f"Run `make data`, or unpack {URL} in the data folder (tiny-imagenet-200/train, val, "
    "wnids.txt), or put the parquet files of zh-plus/tiny-imagenet into tiny-imagenet/data/."
)


def official(folder: Path) -> Source | None:
    """Read the official folders, or return None where there is no `train`.

    Raises:
        DataError: the validation images or a list are missing, or name other classes.
    """
    train, wnids = lookup(folder, "train"), lookup(folder, "wnids.txt")
    if not train or not subfolders(train):
        return None
    found = {place.name for place in subfolders(train)}
    if wnids and (odd := sorted(found ^ {wnid for wnid, *_ in _rows(wnids)})):
        raise DataError(
            f"{shown(wnids)} and the folders of {shown(train)} differ: {odd[0]} is in one of them "
            f"only. The dataset is half unpacked. {OBTAIN}"
        )
    classes = list_classes(train, TITLE, CLASSES)
    names = tuple(sorted(classes))
    validation = next(filter(None, (lookup(folder, name) for name in VALIDATION)), None)
    files, read_test = _validation(validation or folder / VALIDATION[0], names)
    return Source(
        folder,
        (*files_of(classes), *files),
        lambda: Content(as_part(classes, names), read_test(), _words(folder / "words.txt", names)),
    )


def _words(table: Path, wnids: Sequence[str]) -> tuple[str, ...]:
    """Give classes the words that words.txt has for them, where it is there."""
    if not table.is_file():
        return tuple(wnids)
    lines = (line.split("\t", 1) for line in read_text(table).splitlines())
    words = {line[0]: line[1].split(",")[0].strip() for line in lines if len(line) == 2}
    names = [words.get(wnid, wnid) for wnid in wnids]
    often = Counter(names)  # "crane" is a bird and a machine
    return tuple(
        name if often[name] == 1 else f"{name} ({wnid})"
        for name, wnid in zip(names, wnids, strict=True)
    )


def _validation(folder: Path, wnids: tuple[str, ...]) -> tuple[Sequence[File], Callable[[], Part]]:
    """List the validation images, and say how they are read."""
    if not folder.is_dir():
        there = ", ".join(place.name for place in subfolders(folder.parent))
        raise DataError(
            f"{shown(folder)} is missing: {TITLE} is half unpacked, or its validation images lie "
            f"in another folder (there are {there}). {OBTAIN}"
        )
    table, images = folder / "val_annotations.txt", folder / "images"
    files = {
        file.name: file for place in (images, folder) if place.is_dir() for file in scan(place)
    }
    if table.is_file() and (files or not subfolders(folder)):
        return (*files.values(), *seen(table)), lambda: _annotated(table, files, wnids)
    # Some people sort the validation images into class folders, and leave the list.
    classes = list_classes(folder, empty=True)
    if set(classes) != set(wnids):
        raise DataError(
            f"{shown(folder)} has neither the images of val_annotations.txt nor a folder for each "
            f"class of train: {TITLE} is half unpacked. {OBTAIN}"
        )
    return files_of(classes), lambda: as_part(classes, wnids)


def _annotated(table: Path, files: dict[str, File], wnids: tuple[str, ...]) -> Part:
    lines = _rows(table)
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    if lines and plain(lines[0][0]) in HEADINGS:
        del lines[0]
    for name, *wnid in lines:
        if not wnid or wnid[0] not in numbers:
            raise DataError(
                f"{shown(table)} gives {name} no class of train: {TITLE} is half unpacked. {OBTAIN}"
            )
    rows = [(name, numbers[wnid]) for name, wnid, *_ in lines]
    return from_table(TITLE, table, files, rows, OBTAIN)


def _rows(table: Path) -> list[list[str]]:
    """Return the cells of each line of a list, a path as the name of its file."""
    return [_cells(line) for line in read_text(table).splitlines() if line.strip()]


def _cells(line: str) -> list[str]:
    """Part a line as the official lists or a spreadsheet do, which quotes cells."""
    delimiter = delimiter_of(line)
    cells = line.split(delimiter if delimiter in line else None)
    name, *others = (cell.strip(" \"'\r") for cell in cells)
    return [PureWindowsPath(name).name, *others]


LAYOUTS = (
    official,
    partial(
        parquet,
        title=TITLE,
        classes=[f"class {number}" for number in range(CLASSES)],
        splits=("valid", "val"),
        obtain=OBTAIN,
    ),
)


def download(root: Path) -> None:
    """Fetch the official archive and unpack it into `root`/tiny-imagenet-200."""
    from torchvision.datasets.utils import download_and_extract_archive

    download_and_extract_archive(URL, str(root), md5=MD5)


SPEC = DatasetSpec(
    name="tiny_imagenet",
    title=TITLE,
    channels=3,
    image_size=64,
    num_classes=CLASSES,
    find=partial(search, title=TITLE, names=FOLDERS, layouts=LAYOUTS, obtain=OBTAIN),
    obtain=OBTAIN,
    download=download,
    official_sizes={"pool": 100_000, "test": 10_000},
    notes=("test: the official validation set; the official test images have no labels.",),
)

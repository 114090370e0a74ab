"""Tiny ImageNet: 200 classes of ImageNet at 64×64 (Le and Yang, Stanford CS 231N, 2015).

Its `test` part is the official validation set: the official test images have no labels.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from amint_core.data.base import DatasetSpec
from amint_core.data.folders import as_part, files_of, from_table, list_classes
from amint_core.data.sources import (
    Content,
    File,
    Item,
    Part,
    Source,
    homes,
    missing,
    scan,
    seen,
    subfolders,
)
from amint_core.errors import DataError
from amint_core.locations import shown

TITLE = "Tiny ImageNet"
FOLDERS = ("tiny-imagenet-200", "tiny-imagenet", "TinyImageNet200")
CLASSES = 200
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
OBTAIN = (
    f"Run `make data`, or unpack {URL} in the data folder (tiny-imagenet-200/train, val, "
    "wnids.txt), or put the parquet files of zh-plus/tiny-imagenet into tiny-imagenet/data/."
)


def find(root: Path) -> Source:
    """Find Tiny ImageNet as the official folder or as the hub's parquet files."""
    for home in homes(root, *FOLDERS):
        for folder in (home, home / "tiny-imagenet-200"):
            if (folder / "train").is_dir():
                return _folders(folder)
        for folder in (home / "data", home):
            if folder.is_dir() and scan(folder, [".parquet"]):
                return _parquet(folder)
    raise missing(TITLE, root, FOLDERS, OBTAIN)


def _folders(folder: Path) -> Source:
    wnids, found = folder / "wnids.txt", {place.name for place in subfolders(folder / "train")}
    if wnids.is_file() and (odd := sorted(found ^ set(wnids.read_text().split()))):
        raise DataError(
            f"{shown(wnids)} and the folders of {shown(folder / 'train')} differ: {odd[0]} is in "
            f"one of them only. The dataset is half unpacked. {OBTAIN}"
        )
    classes = list_classes(folder / "train", TITLE, CLASSES)
    names = tuple(sorted(classes))
    files, read_test = _validation(folder / "val", names)
    return Source(
        folder,
        (*files_of(classes), *files),
        lambda: Content(as_part(classes, names), read_test(), _words(folder / "words.txt", names)),
    )


def _words(table: Path, wnids: Sequence[str]) -> tuple[str, ...]:
    """Give classes the words that words.txt has for them, where it is there."""
    if not table.is_file():
        return tuple(wnids)
    lines = (line.split("\t", 1) for line in table.read_text(encoding="utf-8").splitlines())
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
        raise DataError(f"{shown(folder)} is missing: {TITLE} is half unpacked. {OBTAIN}")
    table, images = folder / "val_annotations.txt", folder / "images"
    if table.is_file():
        files = {file.name: file for file in (scan(images) if images.is_dir() else ())}
        return (*files.values(), *seen(table)), lambda: _annotated(table, files, wnids)
    classes = list_classes(folder)  # some people sort the validation images into class folders
    if set(classes) != set(wnids):
        raise DataError(
            f"{shown(folder)} has neither val_annotations.txt nor a folder for each class of "
            f"train: {TITLE} is half unpacked. {OBTAIN}"
        )
    return files_of(classes), lambda: as_part(classes, wnids)


def _annotated(table: Path, files: dict[str, File], wnids: tuple[str, ...]) -> Part:
    lines = [line.split("\t") for line in table.read_text().splitlines() if line.strip()]
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    for name, *wnid in lines:
        if not wnid or wnid[0] not in numbers:
            raise DataError(
                f"{shown(table)} gives {name} no class of train: {TITLE} is half unpacked. {OBTAIN}"
            )
    rows = [(name, numbers[wnid]) for name, wnid, *_ in lines]
    return from_table(TITLE, table, files, rows, OBTAIN)


def _parquet(folder: Path) -> Source:
    train, valid = (_shards(folder, split) for split in ("train", "valid"))

    def read() -> Content:
        (pool, names), (test, _) = _read_shards(train), _read_shards(valid)
        return Content(pool, test, names)

    return Source(folder, train + valid, read)


def _shards(folder: Path, split: str) -> list[File]:
    """List the shards SPLIT-00000-of-00001-*.parquet: columns image {bytes, path} and label."""
    shards = [file for file in scan(folder, [".parquet"]) if file.name.startswith(split)]
    counts = {int(n) for f in shards for n in re.findall(r"-of-(\d+)", f.name)}
    if not shards or (counts and counts != {len(shards)}):
        wanted = f"{max(counts)} files" if counts else "a file"
        raise DataError(
            f"{shown(folder)} holds {len(shards)} files {split}-*.parquet, but {wanted} belong "
            f"there: the dataset is half downloaded. {OBTAIN}"
        )
    return shards


def _read_shards(shards: list[File]) -> tuple[Part, tuple[str, ...]]:
    """Return the images and labels of a split's shards, and the names of the classes."""
    import pyarrow
    from pyarrow.parquet import ParquetFile, read_table

    paths = [file.path for file in shards]
    try:
        labels = [read_table(path, columns=["label"])["label"].to_numpy() for path in paths]
        metadata = ParquetFile(paths[0]).schema_arrow.metadata or {}
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise DataError(
            f"One of {', '.join(map(shown, paths))} cannot be read as the parquet files of "
            f"zh-plus/tiny-imagenet ({error}). {OBTAIN}"
        ) from error
    features = json.loads(metadata.get(b"huggingface", b"{}"))
    names = features.get("info", {}).get("features", {}).get("label", {}).get("names")
    names = tuple(names or (f"class {number}" for number in range(CLASSES)))
    if len(names) != CLASSES:
        raise DataError(
            f"{shown(paths[0])} names {len(names)} classes, but {TITLE} has {CLASSES}. {OBTAIN}"
        )
    return Part(_parquet_items(paths), np.concatenate(labels)), names


def _parquet_items(paths: list[str]) -> Iterator[Item]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    for path in paths:
        name, row = os.path.basename(path), 0
        try:
            for batch in ParquetFile(path).iter_batches(256, columns=["image"]):
                for image in batch["image"].to_pylist():
                    yield Item(f"{name}[{row}]", image["bytes"])
                    row += 1
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(
                f"{shown(path)} is damaged near row {row} ({error}). {OBTAIN}"
            ) from error


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
    find=find,
    obtain=OBTAIN,
    download=download,
    official_sizes={"pool": 100_000, "test": 10_000},
    notes=("test: the official validation set; the official test images have no labels.",),
)

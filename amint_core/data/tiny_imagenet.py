"""Tiny ImageNet: 200 classes of ImageNet at 64×64 (Le and Yang, Stanford CS 231N, 2015).

Its `test` part is the official validation set: the official test images have no labels.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from amint_core.data.base import DatasetSpec, Part
from amint_core.data.folders import as_source, check_classes, items_of, list_classes
from amint_core.data.sources import Content, File, Item, Source, homes, missing, scan, seen
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


def find(root: Path) -> dict[Part, Source]:
    """Find Tiny ImageNet as the official folder or as the hub's parquet files."""
    for home in homes(root, *FOLDERS):
        for folder in (home, home / "tiny-imagenet-200"):
            if (folder / "train").is_dir():
                return _folders(folder)
        for folder in (home / "data", home):
            if folder.is_dir() and scan(folder, [".parquet"]):
                return {
                    "pool": _parquet(folder, "train"),
                    "test": _parquet(folder, "valid"),
                }
    raise missing(TITLE, root, FOLDERS, OBTAIN)


def _folders(folder: Path) -> dict[Part, Source]:
    classes = list_classes(folder / "train")
    wnids = folder / "wnids.txt"
    official = set(wnids.read_text().split()) if wnids.is_file() else set(classes)
    if odd := sorted(official ^ set(classes)):
        raise DataError(
            f"{shown(wnids)} and the folders of {shown(folder / 'train')} differ: {odd[0]} is in "
            f"one of them only. The dataset is half unpacked. {OBTAIN}"
        )
    check_classes(TITLE, folder / "train", tuple(classes), CLASSES)
    wnids_in_order = tuple(sorted(classes))
    pool = as_source(folder, classes, wnids_in_order)
    return {"pool": _titled(pool, folder), "test": _validation(folder, wnids_in_order)}


def _titled(source: Source, folder: Path) -> Source:
    """Give a source's classes the words that words.txt has for them, where it is there."""

    def read() -> Content:
        content = source.read()
        names = _words(folder / "words.txt", content.class_names)
        return Content(content.items, content.labels, names)

    return Source(source.folder, source.files, read)


def _words(table: Path, wnids: Sequence[str]) -> tuple[str, ...]:
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


def _validation(folder: Path, wnids: tuple[str, ...]) -> Source:
    place, table = folder / "val", folder / "val" / "val_annotations.txt"
    if not place.is_dir():
        raise DataError(f"{shown(place)} is missing: {TITLE} is half unpacked. {OBTAIN}")
    if not table.is_file():  # some people sort the validation images into class folders
        classes = list_classes(place)
        if set(classes) != set(wnids):
            raise DataError(
                f"{shown(place)} has neither val_annotations.txt nor a folder for each class of "
                f"train: {TITLE} is half unpacked. {OBTAIN}"
            )
        return _titled(as_source(folder, classes, wnids), folder)
    images = place / "images"
    files = {file.name: file for file in (scan(images) if images.is_dir() else ())}
    return Source(
        folder,
        (*files.values(), *seen(table)),
        lambda: _annotated(folder, table, files, wnids),
    )


def _annotated(
    folder: Path, table: Path, files: dict[str, File], wnids: tuple[str, ...]
) -> Content:
    rows = [line.split("\t")[:2] for line in table.read_text().splitlines() if line.strip()]
    numbers = {wnid: number for number, wnid in enumerate(wnids)}
    for row in rows:
        if len(row) < 2 or row[1] not in numbers or row[0] not in files:
            what = (
                f"names {row[0]}, which is missing in {shown(table.parent / 'images')}"
                if row[0] not in files
                else f"gives {row[0]} no class of train"
            )
            raise DataError(f"{shown(table)} {what}: {TITLE} is half unpacked. {OBTAIN}")
    labels = np.array([numbers[wnid] for _, wnid in rows], np.int64)
    names = _words(folder / "words.txt", wnids)
    return Content(items_of([files[name] for name, _ in rows]), labels, names)


def _parquet(folder: Path, split: str) -> Source:
    """Read the shards SPLIT-00000-of-00001-*.parquet: columns image {bytes, path} and label."""
    shards = [file for file in scan(folder, [".parquet"]) if file.name.startswith(split)]
    counts = {int(n) for f in shards for n in re.findall(r"-of-(\d+)", f.name)}
    if not shards or (counts and counts != {len(shards)}):
        wanted = f"{max(counts)} files" if counts else "a file"
        raise DataError(
            f"{shown(folder)} holds {len(shards)} files {split}-*.parquet, but {wanted} belong "
            f"there: the dataset is half downloaded. {OBTAIN}"
        )
    return Source(folder, shards, lambda: _parquet_content([Path(file.path) for file in shards]))


def _parquet_content(shards: list[Path]) -> Content:
    import pyarrow
    from pyarrow.parquet import ParquetFile, read_table

    try:
        labels = np.concatenate(
            [read_table(p, columns=["label"])["label"].to_numpy() for p in shards]
        )
        metadata = ParquetFile(shards[0]).schema_arrow.metadata or {}
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise DataError(
            f"One of {', '.join(map(shown, shards))} cannot be read as the parquet files of "
            f"zh-plus/tiny-imagenet ({error}). {OBTAIN}"
        ) from error
    features = json.loads(metadata.get(b"huggingface", b"{}"))
    names = features.get("info", {}).get("features", {}).get("label", {}).get("names")
    names = tuple(names or (f"class {number}" for number in range(CLASSES)))
    if len(names) != CLASSES or labels.min() < 0 or labels.max() >= CLASSES:
        raise DataError(f"{shown(shards[0].parent)}: labels go beyond {CLASSES} classes. {OBTAIN}")
    return Content(_parquet_items(shards), labels.astype(np.int64), names)


def _parquet_items(shards: list[Path]) -> Iterator[Item]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    for path in shards:
        row = 0
        try:
            for batch in ParquetFile(path).iter_batches(256, columns=["image"]):
                for image in batch["image"].to_pylist():
                    yield Item(f"{path.name}[{row}]", image["bytes"])
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

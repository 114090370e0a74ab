"""Read images and labels from parquet files as the hub keeps them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amint_core.data.entries import File, listed, reading, scan, subfolders
from amint_core.data.sources import Content, Item, Part, Source
from amint_core.errors import DataError
from amint_core.locations import shown

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile

IMAGES, LABELS = ("image", "img"), ("label", "labels", "fine_label")
MOST_ROWS, MOST_BYTES = 2**24, 2**22  # of a file; of one encoded image


def parquet(
    folder: Path, *, title: str, classes: Sequence[str], splits: Sequence[str], obtain: str
) -> Source | None:
    """Read train-*.parquet and a test split, or return None where there is no such file.

    The splits may also be folders, and the names begin with the dataset's.

    Columns: `image` or `img`, encoded images or {bytes, path}; `label`, whole numbers.

    Args:
        classes: their names, for files that name none.
        splits: what the test split may be called, the best first.

    Raises:
        DataError: a split, a shard, an image or a label is missing or of another kind.
    """
    files, parts = scan(folder, [".parquet"]), ("train", *splits)
    for place in subfolders(folder):  # the hub's conversions have a folder for each split
        if place.name.lower().startswith(parts):
            files += scan(place, [".parquet"])
    shards = {split: [f for f in files if _is_of(f, folder, split)] for split in parts}
    if not any(shards.values()):
        return None
    split = next((split for split in splits if shards[split]), splits[0])
    train, test = (_whole(folder, shards[name], name, obtain) for name in ("train", split))

    def read() -> Content:
        names = _names(train + test, title, classes, obtain)
        pool, held = (_read(part, title, obtain) for part in (train, test))
        return Content(pool, held, names)

    return Source(folder, train + test, read)


def _is_of(file: File, folder: Path, split: str) -> bool:
    """Tell whether a file is called SPLIT-…, NAME_SPLIT-… or SPLIT/…"""
    place = os.path.relpath(file.path, folder).lower()
    return re.search(rf"(^|[-_.]){split}", place) is not None


def _whole(folder: Path, shards: list[File], split: str, obtain: str) -> list[File]:
    """Check that the shards SPLIT-00000-of-00001-*.parquet are all there, and no others."""
    counts = {int(n) for file in shards for n in re.findall(r"-of-(\d{1,9})", file.name)}
    if not shards or (counts and counts != {len(shards)}):
        number = max(counts, default=1)
        wanted = f"{number} files belong" if number > 1 else "one file belongs"
        problem = "the dataset is half downloaded. Fetch the rest"
        if counts and len(shards) > max(counts):
            problem = "some are copies, or another download's. Remove those"
        raise DataError(
            f"{shown(folder)} (with {listed(folder)}) holds {len(shards)} files {split}-*.parquet, "
            f"but {wanted} there: {problem}. {obtain}"
        )
    return shards


def _read(shards: list[File], title: str, obtain: str) -> Part:
    """Return the images and labels of a split's shards."""
    labels = []
    for shard in shards:
        with reading(f"{shown(shard.path)}, one of the parquet files of {title},", obtain):
            labels.append(_labels(shard.path, title))
    return Part(_items([shard.path for shard in shards], obtain), np.concatenate(labels))


def _names(shards: list[File], title: str, classes: Sequence[str], obtain: str) -> tuple[str, ...]:
    """Return the names of the classes, which all files that tell them must tell alike."""
    told: dict[tuple[str, ...], str] = {}
    for shard in shards:
        with reading(f"{shown(shard.path)}, one of the parquet files of {title},", obtain):
            if names := _named(shard.path):
                told.setdefault(tuple(names), shard.path)
    for names, path in told.items():
        texts = all(isinstance(name, str) for name in names)
        if len(names) != len(classes) or not texts or len({*names}) < len(names):
            raise DataError(
                f"{shown(path)} names {len(names)} classes, but {title} has {len(classes)}, each "
                f"with a name of its own. {obtain}"
            )
    if len(told) > 1:
        first, second, *_ = told.values()
        raise DataError(
            f"{shown(first)} and {shown(second)} give the same numbers to other classes, or other "
            f"names to the same: they do not belong together. Fetch all from one place. {obtain}"
        )
    return next(iter(told), tuple(classes))


def _named(path: str) -> Sequence[str] | None:
    """Return the names of the classes in a file's metadata, as the hub keeps them."""
    metadata = _open(path).schema_arrow.metadata or {}
    info = json.loads(metadata.get(b"huggingface", b"{}")).get("info") or {}
    features = info.get("features") or {}
    return next(filter(None, (features.get(column, {}).get("names") for column in LABELS)), None)


def _open(path: str, column: str = "") -> ParquetFile:
    """Open a file; `column` stays a dictionary, as a few repeated images may be huge unpacked."""
    from pyarrow.parquet import ParquetFile

    schema = ParquetFile(path).schema
    leaves = [schema.column(number) for number in range(len(schema))]
    packed = [
        leaf.path
        for leaf in leaves
        if leaf.path.split(".")[0] == column and leaf.physical_type == "BYTE_ARRAY"
    ]
    return ParquetFile(path, read_dictionary=packed)


def _column(file: ParquetFile, path: str, names: Sequence[str]) -> str:
    there = file.schema_arrow.names
    if not (column := next((name for name in names if name in there), None)):
        raise DataError(
            f"{shown(path)} has the columns {', '.join(there)}, but none of {', '.join(names)}. "
            "Rename the column that is meant."
        )
    if there.count(column) > 1:
        raise DataError(f"{shown(path)} has several columns called {column}. Leave one.")
    return column


def _labels(path: str, title: str) -> np.ndarray:
    import pyarrow

    file = _open(path)
    _column(file, path, IMAGES)
    column = _column(file, path, LABELS)
    kind, rows = file.schema_arrow.field(column).type, file.metadata.num_rows
    odd = DataError(
        f"{shown(path)}: its {rows:,} labels are {kind}, but must be whole numbers, {title}'s "
        "class numbers. Save them so, or fetch the dataset again."
    )
    if rows > MOST_ROWS:
        raise odd
    labels = file.read(columns=[column])[column].combine_chunks()
    if labels.null_count:
        row = labels.is_null().index(True).as_py()
        raise DataError(f"{shown(path)}: row {row} has no label. Remove it, or fetch it again.")
    try:  # 3.0 and "3" are whole numbers, too
        return labels.cast(pyarrow.int64()).to_numpy(zero_copy_only=False)
    except pyarrow.ArrowException:
        raise odd from None


def _items(paths: list[str], obtain: str) -> Iterator[Item]:
    for path in paths:
        name, row = os.path.basename(path), 0
        column = _column(_open(path), path, IMAGES)
        batches = _batches(_open(path, column), column)
        while True:
            with reading(f"{shown(path)} from row {row} on", obtain):
                batch = next(batches, None)
            if batch is None:
                break
            for cell in batch[0]:
                yield Item(f"{name}[{row}]", _image(cell, path, row))
                row += 1


def _batches(file: ParquetFile, column: str) -> Iterator[RecordBatch]:
    """Walk a column, row group by row group: no batch of a nested dictionary may span two."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(256, row_groups=[group], columns=[column])


def _image(cell: object, path: str, row: int) -> bytes:
    """Return the encoded image of a cell: its bytes, or those of {bytes, path}."""
    import pyarrow.types

    fields = dict(cell) if pyarrow.types.is_struct(cell.type) and cell.is_valid else {}
    raw = fields.get("bytes", cell).as_py() if fields or cell.is_valid else None
    if isinstance(raw, bytes) and len(raw) <= MOST_BYTES:
        return raw
    place = fields["path"].as_py() if "path" in fields else None
    what = f"{len(raw):,} bytes" if isinstance(raw, bytes) else f"no image, but {cell.type}"
    if raw is None:
        what = f"no image, but the path {place}" if place else "no image"
    raise DataError(
        f"{shown(path)}: row {row} holds {what}. Save the dataset with its images embedded, one "
        f"encoded image of at most {MOST_BYTES:,} bytes a row, or fetch it again."
    )

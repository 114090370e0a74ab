"""Read grey images that lie as whole arrays in one file: idx, npz and csv."""

from __future__ import annotations

import gzip
import math
import os
import re
import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from amint_core.data.entries import (
    delimiter_of,
    encoding_of,
    heading,
    is_dropping,
    lookup,
    plain,
    reading,
    seen,
)
from amint_core.data.sources import Content, Item, Part, Source
from amint_core.errors import DataError
from amint_core.locations import shown

PARTS = ("train", "t10k")
#: Names of idx files, as `plain` writes them.
IDX = re.compile(r"(train|t10k|test)(images|labels)(?:idx[13](?:ubyte)?|ubyte)(?:gz)?")
#: First four bytes of an idx file: unsigned bytes, 3 dimensions (images) or 1 (labels).
MAGIC = {"images-idx3": 0x0803, "labels-idx1": 0x0801}
GZIP = b"\x1f\x8b"  # first bytes of an archive
MOST_BYTES = 2**28  # of an unpacked file; MNIST's largest has 47 MB
MOST_ROWS, MOST_HEAD = 2**18, 2**16  # of a table of pixels; characters of its first line
KERAS = ("x_train", "y_train", "x_test", "y_test")
NUMBERED = ("", "unnamed: 0", "id", "index")  # first columns that hold numbers of rows
TABLES = (("mnist_train.csv", "mnist_test.csv"), ("train.csv", "test.csv"))


def idx(folder: Path, *, names: tuple[str, ...], obtain: str) -> Source | None:
    """Read the four idx files, plain or as .gz, or return None where none of them is there.

    Args:
        names: of the classes.

    Raises:
        DataError: a file is missing, damaged or of another kind, or two do not belong together.
    """
    raw = lookup(folder, "raw")
    found = _idx_files(folder) | (_idx_files(raw) if raw and raw.is_dir() else {})
    if not found:
        return None
    places = {path.parent for path in found.values()}
    place = raw if raw in places and folder not in places else folder
    pairs = [
        [found.get((part, kind), place / f"{part}-{kind}-ubyte") for kind in MAGIC]
        for part in PARTS
    ]
    files = seen(*(path for pair in pairs for path in pair))
    return Source(
        place, files, lambda: Content(*(_idx_part(*pair, obtain) for pair in pairs), names)
    )


def _idx_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Map part and kind to a file; plain ones go before packed ones.

    Some copies are called train-images.idx3-ubyte or test_images.idx3; some archives make a folder
    of each file.
    """
    found = {}
    names = sorted(os.listdir(folder), key=lambda name: (name.lower().endswith(".gz"), name))
    for name in names:
        match = not is_dropping(name) and IDX.fullmatch(plain(name))
        path = folder / name
        if match and path.is_dir():
            path = path / name
        if match and not path.is_dir() and os.path.lexists(path):
            part = "train" if match[1] == "train" else "t10k"
            kind = next(kind for kind in MAGIC if kind.startswith(match[2]))
            found.setdefault((part, kind), path)
    return found


def _idx_part(images: Path, labels: Path, obtain: str) -> Part:
    pixels, numbers = (
        _read_idx(path, kind, obtain) for path, kind in zip((images, labels), MAGIC, strict=True)
    )
    if len(pixels) != len(numbers):
        raise DataError(
            f"{shown(images)} holds {len(pixels):,} images, but {shown(labels)} {len(numbers):,} "
            f"labels: the files do not belong together. {obtain}"
        )
    return _part(images.name, pixels, numbers)


def _part(name: str, pixels: np.ndarray, labels: np.ndarray) -> Part:
    items = (Item(f"{name}[{i}]", image) for i, image in enumerate(pixels))
    return Part(items, labels)


def _read_idx(path: Path, kind: str, obtain: str) -> np.ndarray:
    """Read an idx file: big-endian magic number and dimensions, then bytes.

    torchvision's reader takes no .gz, and does not tell a truncated file from one of another kind.
    """
    remedy = f"Delete it and fetch it again. {obtain}"
    if path.with_name(f"{path.name}.gz").is_file():
        remedy = f"Delete it: {path.name}.gz beside it is then read."
    length = 4 + 4 * (MAGIC[kind] & 0xFF)  # of the header, in bytes
    with reading(shown(path), remedy), path.open("rb") as file:
        packed = file.read(2) == GZIP  # browsers unpack a file and leave its name, or the reverse
    with (
        reading(f"{shown(path)} is a damaged archive, or" if packed else shown(path), remedy),
        (gzip.open if packed else open)(path, "rb") as file,
    ):
        head = file.read(length).ljust(length, b"\0")
        magic, *shape = np.frombuffer(head, ">u4").tolist()
        if magic != MAGIC[kind]:
            raise DataError(f"{shown(path)} is not an idx file of {kind[:6]}. {remedy}")
        # A few bytes of gzip may unpack to any number: no more than announced is read.
        body = np.frombuffer(file.read(min(math.prod(shape), MOST_BYTES) + 1), np.uint8)
    if body.size != math.prod(shape) or not body.size:
        raise DataError(
            f"{shown(path)} holds {body.size:,} bytes of {kind[:6]} or more, but its header "
            f"announces {math.prod(shape):,}: the file is truncated or damaged. {remedy}"
        )
    return body.reshape(shape)


def npz(folder: Path, *, side: int, names: tuple[str, ...], obtain: str) -> Source | None:
    """Read keras' mnist.npz (x_train, y_train, x_test, y_test), or return None without it."""
    path = lookup(folder, "mnist.npz")
    if not path:
        return None

    def read() -> Content:
        with reading(shown(path), f"Delete it and fetch it again. {obtain}"):
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise DataError(f"{shown(path)} would unpack to {size:,} bytes. {obtain}")
            with np.load(path, allow_pickle=False) as arrays:
                if odd := {*KERAS} - {*arrays}:
                    raise DataError(
                        f"{shown(path)} holds the arrays {', '.join(arrays)[:200]}, but not "
                        f"{min(odd)}. Save it with the arrays {', '.join(KERAS)}. {obtain}"
                    )
                pairs = [(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")]
        return Content(*(_checked(path, *pair, side, obtain) for pair in pairs), names)

    return Source(folder, seen(path), read)


def _checked(path: Path, pixels: np.ndarray, labels: np.ndarray, side: int, obtain: str) -> Part:
    # Some keep rows of pixels, or an axis for the one channel, and labels in a column.
    if pixels.ndim > 1 and math.prod(pixels.shape[1:]) == side * side:
        pixels = pixels.reshape(-1, side, side)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = pixels.dtype.kind in "iu" and labels.dtype.kind in "iu"
    if not whole or pixels.shape != (*labels.shape, side, side) or labels.ndim != 1:
        raise DataError(
            f"{shown(path)} holds images {pixels.dtype} {pixels.shape} and labels {labels.dtype} "
            f"{labels.shape}, not whole numbers (N, {side}, {side}) and (N,). {obtain}"
        )
    if pixels.size and not 0 <= pixels.min() <= pixels.max() <= 255:
        raise DataError(f"{shown(path)} holds pixels beyond 0 to 255. {obtain}")
    return _part(path.name, pixels.astype(np.uint8, copy=False), labels)


def csv_pixels(folder: Path, *, side: int, names: tuple[str, ...], obtain: str) -> Source | None:
    """Read tables of a label and side × side pixels a row, or return None where there are none."""
    pair = next((pair for pair in TABLES if lookup(folder, pair[0])), None)
    if pair is None:
        return None
    tables = [lookup(folder, name) or folder / name for name in pair]
    return Source(
        folder, seen(*tables), lambda: Content(*(_csv(t, side, obtain) for t in tables), names)
    )


def _csv(table: Path, side: int, obtain: str) -> Part:
    import pandas as pd

    remedy = f"It is to hold a label and {side * side} pixels a row. {obtain}"
    with reading(shown(table), remedy):
        encoding = encoding_of(table)
        with table.open(encoding=encoding) as file:
            before, line = heading(iter(partial(file.readline, MOST_HEAD), ""))
            following = file.readline(MOST_HEAD)
        delimiter = delimiter_of(line)
        head = [name.strip(' "\n').lower() for name in line.split(delimiter)]
        columns = range(head[0] in NUMBERED, len(head))
        head = [head[number] for number in columns]
        if not head:
            raise DataError(f"{shown(table)} holds no table. {remedy}")
        named = not re.fullmatch(r"[\d.,]+", head[0])
        _check_widths(table, encoding, delimiter, before, len(columns) + columns.start, remedy)
        label = next((n for n, name in enumerate(head) if named and name in ("label", "class")), 0)
        if named and head[label] not in ("label", "class"):
            raise DataError(
                f"{shown(table)} has {len(head)} columns, none of which is called label or class. "
                f"{remedy}"
            )
        if len(head) != 1 + side * side:
            raise DataError(f"{shown(table)} has {len(head)} columns. {remedy}")
        rows = pd.read_csv(
            table,
            sep=delimiter,
            encoding=encoding,
            skiprows=before,
            decimal="," if delimiter != "," and "," in following else ".",
            usecols=columns,
            header=0 if named else None,
            dtype=np.int16,
            nrows=MOST_ROWS,
        )
    values = rows.to_numpy()
    if not named and len(values) > 1 and len(np.unique(values[:, label])) == 1:
        raise DataError(
            f"{shown(table)} has no heading, and its first column, the labels, is "
            f"{values[0, label]} in each row. Put the labels first, or a heading with a column "
            f"'label' above. {remedy}"
        )
    pixels = np.delete(values, label, axis=1).reshape(-1, side, side)
    return _checked(table, pixels, values[:, label], side, obtain)


def _check_widths(
    table: Path, encoding: str, delimiter: str, before: int, columns: int, remedy: str
) -> None:
    """Refuse a row of more or fewer cells than the heading: pandas would cut it, or fill it."""
    with table.open(encoding=encoding) as file:
        for number, line in enumerate(file, 1):
            cells = line.count(delimiter) + 1
            if number > before and line.strip() and cells != columns:
                raise DataError(
                    f"{shown(table)}, line {number} has {cells} cells, not {columns}. {remedy}"
                )

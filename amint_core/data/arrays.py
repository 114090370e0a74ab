"""Read grey images that lie as whole arrays in one file: idx, npz and csv."""

from __future__ import annotations

import gzip
import math
import zipfile
from pathlib import Path

import numpy as np

from amint_core.data.entries import reading, seen
from amint_core.data.sources import Content, Item, Part, Source
from amint_core.errors import DataError
from amint_core.locations import shown

PARTS = ("train", "t10k")
#: First four bytes of an idx file: unsigned bytes, 3 dimensions (images) or 1 (labels).
MAGIC = {"images-idx3": 0x0803, "labels-idx1": 0x0801}
MOST_BYTES = 2**28  # of an unpacked file; MNIST's largest has 47 MB
MOST_ROWS, MOST_HEAD = 2**18, 2**16  # of a table of pixels; characters of its first line
TABLES = (("mnist_train.csv", "mnist_test.csv"), ("train.csv", "test.csv"))


def idx(folder: Path, *, names: tuple[str, ...], obtain: str) -> Source | None:
    """Read the four idx files, plain or as .gz, or return None where none of them is there.

    Args:
        names: of the classes.

    Raises:
        DataError: a file is missing, damaged or of another kind, or two do not belong together.
    """
    for place in (folder / "raw", folder):
        found = [[_existing(place, part, kind) for kind in MAGIC] for part in PARTS]
        if not any(map(any, found)):
            continue
        pairs = [
            [path or place / f"{part}-{kind}-ubyte" for path, kind in zip(row, MAGIC, strict=True)]
            for row, part in zip(found, PARTS, strict=True)
        ]
        files = seen(*(path for pair in pairs for path in pair))

        def read(pairs: list[list[Path]] = pairs) -> Content:
            return Content(*(_idx_part(*pair, obtain) for pair in pairs), names)

        return Source(place, files, read)
    return None


def _existing(folder: Path, part: str, kind: str) -> Path | None:
    # Some copies are called train-images.idx3-ubyte; some archives make a folder of each file.
    names = [f"{part}-{kind}-ubyte", f"{part}-{kind.replace('-', '.')}-ubyte"]
    places = [folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz")]
    places += [folder / name / name for name in names]
    return next((place for place in places if place.exists() and not place.is_dir()), None)


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
    packed = path.suffix == ".gz"
    with (
        reading(f"{shown(path)} is a damaged archive, or" if packed else shown(path), remedy),
        (gzip.open if packed else open)(path, "rb") as file,
    ):
        head = file.read(length).ljust(length, b"\0")
        magic, *shape = np.frombuffer(head, ">u4").tolist()
        if magic != MAGIC[kind]:
            raise DataError(f"{shown(path)} is not an idx file of MNIST {kind[:6]}. {remedy}")
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
    path = folder / "mnist.npz"
    if not path.exists():
        return None

    def read() -> Content:
        with reading(shown(path), f"Delete it and fetch it again. {obtain}"):
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise DataError(f"{shown(path)} would unpack to {size:,} bytes. {obtain}")
            with np.load(path, allow_pickle=False) as arrays:
                pairs = [(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")]
        return Content(*(_checked(path, *pair, side, obtain) for pair in pairs), names)

    return Source(folder, seen(path), read)


def _checked(path: Path, pixels: np.ndarray, labels: np.ndarray, side: int, obtain: str) -> Part:
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
    pair = next((pair for pair in TABLES if (folder / pair[0]).exists()), None)
    if pair is None:
        return None
    tables = [folder / name for name in pair]
    return Source(
        folder, seen(*tables), lambda: Content(*(_csv(t, side, obtain) for t in tables), names)
    )


def _csv(table: Path, side: int, obtain: str) -> Part:
    import pandas as pd

    remedy = f"It is to hold a label and {side * side} pixels a row. {obtain}"
    with reading(shown(table), remedy):
        with table.open(encoding="utf-8-sig") as file:
            head = [name.strip(' "\n').lower() for name in file.readline(MOST_HEAD).split(",")]
        named = not head[0].isdigit()
        label = next((n for n, name in enumerate(head) if named and name in ("label", "class")), 0)
        if len(head) != 1 + side * side or (named and head[label] not in ("label", "class")):
            raise DataError(f"{shown(table)} has {len(head)} columns or no label. {remedy}")
        rows = pd.read_csv(table, header=0 if named else None, dtype=np.int16, nrows=MOST_ROWS)
    values = rows.to_numpy()
    pixels = np.delete(values, label, axis=1).reshape(-1, side, side)
    return _checked(table, pixels, values[:, label], side, obtain)

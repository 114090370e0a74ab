"""MNIST: 70,000 handwritten digits (LeCun et al., Gradient-Based Learning Applied to Document
Recognition, 1998)."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from amint_core.data.base import DatasetSpec
from amint_core.data.folders import by_class
from amint_core.data.sources import Content, Item, Part, Source, homes, missing, seen
from amint_core.errors import DataError
from amint_core.locations import shown

TITLE = "MNIST"
FOLDERS = ("MNIST",)
OBTAIN = (
    "Run `make data`, or put the four idx files (train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, also as .gz) into MNIST/raw/ of the data "
    "folder."
)
DIGITS = tuple("0123456789")
PARTS = ("train", "t10k")
#: First four bytes of an idx file: unsigned bytes, 3 dimensions (images) or 1 (labels).
MAGIC = {"images-idx3": 0x0803, "labels-idx1": 0x0801}


def find(root: Path) -> Source:
    """Find MNIST as idx files (plain or .gz) or as a folder of images per class."""
    for home in homes(root, *FOLDERS):
        for folder in (home / "raw", home, home / "MNIST" / "raw"):
            found = [[_existing(folder, part, kind) for kind in MAGIC] for part in PARTS]
            if any(map(any, found)):
                return _idx_source(folder, found)
        if source := by_class(TITLE, home, len(DIGITS)):
            return source
    raise missing(TITLE, root, FOLDERS, OBTAIN)


def _existing(folder: Path, part: str, kind: str) -> Path | None:
    # Some copies are called train-images.idx3-ubyte.
    names = [f"{part}-{kind}-ubyte", f"{part}-{kind.replace('-', '.')}-ubyte"]
    places = (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz"))
    return next(filter(Path.is_file, places), None)


def _idx_source(folder: Path, found: list[list[Path | None]]) -> Source:
    pairs = [
        [path or folder / f"{part}-{kind}-ubyte" for path, kind in zip(row, MAGIC, strict=True)]
        for row, part in zip(found, PARTS, strict=True)
    ]
    files = seen(*(path for pair in pairs for path in pair))
    return Source(folder, files, lambda: Content(*(_part(*pair) for pair in pairs), DIGITS))


def _part(images: Path, labels: Path) -> Part:
    pixels, numbers = _read_idx(images, "images-idx3"), _read_idx(labels, "labels-idx1")
    if len(pixels) != len(numbers):
        raise DataError(
            f"{shown(images)} holds {len(pixels):,} images, but {shown(labels)} {len(numbers):,} "
            f"labels: the files do not belong together. {OBTAIN}"
        )
    items = (Item(f"{images.name}[{i}]", image) for i, image in enumerate(pixels))
    return Part(items, numbers)


def _read_idx(path: Path, kind: str) -> np.ndarray:
    """Read an idx file: big-endian magic number and dimensions, then bytes.

    torchvision's reader takes no .gz, and does not tell a truncated file from one of another kind.
    """
    remedy = f"Delete it and fetch it again. {OBTAIN}"
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{shown(path)} is a damaged archive ({error}). {remedy}") from error
    length = 4 + 4 * (MAGIC[kind] & 0xFF)  # of the header, in bytes
    magic, *shape = np.frombuffer(raw[:length].ljust(length, b"\0"), ">u4").tolist()
    if magic != MAGIC[kind]:
        raise DataError(f"{shown(path)} is not an idx file of MNIST {kind[:6]}. {remedy}")
    body = np.frombuffer(raw[length:], np.uint8)
    if body.size != math.prod(shape):
        raise DataError(
            f"{shown(path)} holds {body.size:,} bytes of {kind[:6]}, but its header announces "
            f"{math.prod(shape):,}: the file is truncated or damaged. {remedy}"
        )
    return body.reshape(shape)


def download(root: Path) -> None:
    """Fetch MNIST with torchvision into `root`/MNIST/raw."""
    from torchvision.datasets import MNIST

    MNIST(str(root), download=True)


SPEC = DatasetSpec(
    name="mnist",
    title=TITLE,
    channels=1,
    image_size=28,
    num_classes=len(DIGITS),
    find=find,
    obtain=OBTAIN,
    download=download,
    official_sizes={"pool": 60_000, "test": 10_000},
)

"""MNIST: 70,000 handwritten digits (LeCun et al., Gradient-Based Learning Applied to Document
Recognition, 1998)."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from amint_core.data.base import DatasetSpec, Part
from amint_core.data.folders import by_class
from amint_core.data.sources import Content, Item, Source, homes, missing, seen
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
STEMS: dict[Part, str] = {"pool": "train", "test": "t10k"}
#: First four bytes of an idx file: unsigned bytes, 3 dimensions (images) or 1 (labels).
MAGIC = {"images-idx3": 0x0803, "labels-idx1": 0x0801}


def find(root: Path) -> dict[Part, Source]:
    """Find MNIST as idx files (plain or .gz) or as a folder of images per class."""
    for home in homes(root, *FOLDERS):
        for folder in (home / "raw", home, home / "MNIST" / "raw"):
            if any(_existing(folder, stem, kind) for stem in STEMS.values() for kind in MAGIC):
                return {part: _idx_source(folder, stem) for part, stem in STEMS.items()}
        if parts := by_class(TITLE, home, len(DIGITS)):
            return parts
    raise missing(TITLE, root, FOLDERS, OBTAIN)


def _existing(folder: Path, stem: str, kind: str) -> Path | None:
    for separator in ("-", "."):  # some copies are called train-images.idx3-ubyte
        plain_file = folder / f"{stem}-{kind.replace('-', separator)}-ubyte"
        for path in (plain_file, plain_file.with_name(plain_file.name + ".gz")):
            if path.is_file():
                return path
    return None


def _idx_source(folder: Path, stem: str) -> Source:
    images, labels = (
        _existing(folder, stem, kind) or folder / f"{stem}-{kind}-ubyte" for kind in MAGIC
    )

    def read() -> Content:
        pixels = _read_idx(images, "images-idx3")
        numbers = _read_idx(labels, "labels-idx1")
        if len(pixels) != len(numbers):
            raise DataError(
                f"{shown(images)} holds {len(pixels):,} images, but {shown(labels)} "
                f"{len(numbers):,} labels: the files do not belong together. {OBTAIN}"
            )
        items = (Item(f"{images.name}[{i}]", image) for i, image in enumerate(pixels))
        return Content(items, numbers.astype(np.int64), DIGITS)

    return Source(folder, seen(images, labels), read)


def _read_idx(path: Path, kind: str) -> np.ndarray:
    """Read an idx file: big-endian magic number and dimensions, then bytes."""
    remedy = f"Delete it and fetch it again. {OBTAIN}"
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{shown(path)} is a damaged archive ({error}). {remedy}") from error
    rank = MAGIC[kind] & 0xFF
    header = np.frombuffer(raw[: 4 + 4 * rank], ">u4") if len(raw) >= 4 + 4 * rank else ()
    if not len(header) or header[0] != MAGIC[kind]:
        raise DataError(f"{shown(path)} is not an idx file of MNIST {kind[:6]}. {remedy}")
    shape = tuple(int(size) for size in header[1:])
    body = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
    if body.size != np.prod(shape):
        raise DataError(
            f"{shown(path)} holds {body.size:,} bytes of {kind[:6]}, but its header announces "
            f"{int(np.prod(shape)):,}: the file is truncated or damaged. {remedy}"
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

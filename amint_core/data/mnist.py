"""MNIST: 70,000 handwritten digits (LeCun et al., Gradient-Based Learning Applied to Document
Recognition, 1998)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from amint_core.data.arrays import csv_pixels, idx, npz
from amint_core.data.base import DatasetSpec
from amint_core.data.folders import by_class
from amint_core.data.parquet import parquet
from amint_core.data.sources import search

TITLE = "MNIST"
FOLDERS = ("MNIST",)
OBTAIN = (
    "Run `make data`, or put the four idx files (train-images-idx3-ubyte, train-labels-idx1-ubyte, "
    "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, also as .gz) into MNIST/raw/ of the data "
    "folder."
)
DIGITS = tuple("0123456789")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CALLED = {name: number for names in (DIGITS, WORDS) for number, name in enumerate(names)}
LAYOUTS = (
    partial(idx, names=DIGITS, obtain=OBTAIN),
    partial(npz, side=28, names=DIGITS, obtain=OBTAIN),
    partial(parquet, title=TITLE, classes=DIGITS, splits=("test",), obtain=OBTAIN),
    partial(by_class, title=TITLE, num_classes=len(DIGITS), official=CALLED),
    partial(csv_pixels, side=28, names=DIGITS, obtain=OBTAIN),
)


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
    find=partial(search, title=TITLE, names=FOLDERS, layouts=LAYOUTS, obtain=OBTAIN),
    obtain=OBTAIN,
    download=download,
    official_sizes={"pool": 60_000, "test": 10_000},
)

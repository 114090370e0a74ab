"""CIFAR-10 and CIFAR-100: 60,000 small colour images each (Krizhevsky, Learning Multiple Layers of
Features from Tiny Images, 2009)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amint_core.data.base import DatasetSpec
from amint_core.data.entries import seen
from amint_core.data.folders import by_class
from amint_core.data.parquet import parquet
from amint_core.data.sources import Content, Item, Part, Source, search
from amint_core.errors import DataError
from amint_core.locations import shown

if TYPE_CHECKING:
    import torchvision

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
#: torchvision's reader → the folder inside the official archive.
ARCHIVES = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}
BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
FILES = {
    "CIFAR10": (*BATCHES, "test_batch", "batches.meta"),
    "CIFAR100": ("train", "test", "meta"),
}


def pickles(folder: Path, *, maker: str, obtain: str) -> Source | None:
    """Read the official python version, or return None where there is no such folder.

    Raises:
        DataError: a file is missing, or is not the published one.
    """
    inside = folder if folder.name == ARCHIVES[maker] else folder / ARCHIVES[maker]
    if not inside.is_dir():
        return None
    files = seen(*(inside / name for name in FILES[maker]))
    return Source(inside, files, partial(_read_pickles, inside.parent, maker, obtain))


def _read_pickles(parent: Path, maker: str, obtain: str) -> Content:
    import torchvision.datasets
    from torchvision.datasets.utils import check_integrity

    reader, folder = getattr(torchvision.datasets, maker), parent / ARCHIVES[maker]
    # A pickle can run code: each file is opened only when it is the published one, bit by bit.
    meta = [reader.meta["filename"], reader.meta["md5"]]
    for name, md5 in [*reader.train_list, *reader.test_list, meta]:
        if not check_integrity(str(folder / name), md5):
            raise DataError(
                f"{shown(folder / name)} is missing, damaged or not the published file "
                f"(checksum). Delete {shown(folder)} and fetch it again. {obtain}"
            )
    parts = [reader(str(parent), train=train) for train in (True, False)]
    return Content(*map(_part, parts), tuple(parts[0].classes))


def _part(data: torchvision.datasets.CIFAR10) -> Part:
    name = "pool" if data.train else "test"
    items = (Item(f"{name}[{i}]", image) for i, image in enumerate(data.data))
    return Part(items, np.asarray(data.targets))


def download(root: Path, *, maker: str) -> None:
    """Fetch a CIFAR with torchvision into `root`/CIFAR10 or `root`/CIFAR100."""
    import torchvision.datasets

    getattr(torchvision.datasets, maker)(str(root / maker), download=True)


def _spec(number: int, classes: tuple[str, ...]) -> DatasetSpec:
    title, maker = f"CIFAR-{number}", f"CIFAR{number}"
    obtain = (
        f"Run `make data`, or unpack the official python version into {maker}/ of the data folder "
        f"({maker}/{ARCHIVES[maker]}/…), or put images into {maker}/train/CLASS/ and "
        f"{maker}/test/CLASS/."
    )
    named = classes or tuple(f"class {label}" for label in range(number))
    layouts = (
        partial(pickles, maker=maker, obtain=obtain),
        partial(by_class, title=title, num_classes=number, official=classes),
        partial(parquet, title=title, classes=named, splits=("test",), obtain=obtain),
    )
    names = (maker, ARCHIVES[maker])
    return DatasetSpec(
        name=f"cifar{number}",
        title=title,
        channels=3,
        image_size=32,
        num_classes=number,
        find=partial(search, title=title, names=names, layouts=layouts, obtain=obtain),
        obtain=obtain,
        download=partial(download, maker=maker),
        official_sizes={"pool": 50_000, "test": 10_000},
    )


CIFAR10 = _spec(10, CIFAR10_CLASSES)
#: The hundred class folders sort alphabetically, which is their official order.
CIFAR100 = _spec(100, ())

"""CIFAR-10 and CIFAR-100: 60,000 small colour images each (Krizhevsky, Learning Multiple Layers of
Features from Tiny Images, 2009)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from amint_core.data.base import DatasetSpec
from amint_core.data.entries import read_text, reading, seen
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
#: Other names of them.
CALLED = {"plane": "airplane", "aeroplane": "airplane", "car": "automobile"}
#: torchvision's reader → the folder inside the official archive.
ARCHIVES = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}
#: The same for the binary version, and its files: the pool's, the test set's, names of classes.
BINARY = {"CIFAR10": "cifar-10-batches-bin", "CIFAR100": "cifar-100-binary"}
BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
FILES = {
    "CIFAR10": (*BATCHES, "test_batch", "batches.meta"),
    "CIFAR100": ("train", "test", "meta"),
}
BINARY_FILES = {
    "CIFAR10": (tuple(f"{name}.bin" for name in BATCHES), "test_batch.bin", "batches.meta.txt"),
    "CIFAR100": (("train.bin",), "test.bin", "fine_label_names.txt"),
}
PIXELS = 3 * 32 * 32  # bytes of an image: red, green and blue planes
MOST_IMAGES = 50_000  # of a file of the binary version


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


def binary(folder: Path, *, maker: str, number: int, obtain: str) -> Source | None:
    """Read the official binary version, or return None where there is no such folder.

    A record is a byte with the label, which for CIFAR-100 follows one with the coarse label, and
    the image's three planes of pixels.

    Args:
        number: of classes.

    Raises:
        DataError: a file is missing, holds no whole number of records, or names other classes.
    """
    inside = folder if folder.name == BINARY[maker] else folder / BINARY[maker]
    if not inside.is_dir():
        return None
    pool, test, table = BINARY_FILES[maker]
    paths = [[inside / name for name in part] for part in (pool, (test,))]
    labels = 1 if maker == "CIFAR10" else 2  # bytes; the last one is the class

    def read() -> Content:
        names = tuple(read_text(inside / table).split())
        if len(set(names)) != number:
            raise DataError(
                f"{shown(inside / table)} names {len(set(names))} classes, not {number}. Delete "
                f"{shown(inside)} and fetch it again. {obtain}"
            )
        return Content(*(_binary_part(part, labels, obtain) for part in paths), names)

    return Source(inside, seen(*paths[0], *paths[1], inside / table), read)


def _binary_part(paths: list[Path], labels: int, obtain: str) -> Part:
    found = []
    for path in paths:
        remedy = f"Delete {shown(path.parent)} and fetch it again. {obtain}"
        with reading(shown(path), remedy), path.open("rb") as file:
            raw = np.frombuffer(file.read(MOST_IMAGES * (labels + PIXELS) + 1), np.uint8)
        if raw.size % (labels + PIXELS) or raw.size > MOST_IMAGES * (labels + PIXELS):
            raise DataError(
                f"{shown(path)} holds no whole number of records of {labels + PIXELS:,} bytes, or "
                f"more than {MOST_IMAGES:,}: it is truncated or damaged. {remedy}"
            )
        found.append(raw.reshape(-1, labels + PIXELS))
    items = (
        Item(f"{path.name}[{i}]", record[labels:].reshape(3, 32, 32).transpose(1, 2, 0))
        for path, records in zip(paths, found, strict=True)
        for i, record in enumerate(records)
    )
    return Part(items, np.concatenate([records[:, labels - 1] for records in found]))


def download(root: Path, *, maker: str) -> None:
    """Fetch a CIFAR with torchvision into `root`/CIFAR10 or `root`/CIFAR100."""
    import torchvision.datasets

    getattr(torchvision.datasets, maker)(str(root / maker), download=True)


def _spec(number: int, classes: tuple[str, ...]) -> DatasetSpec:
    title, maker = f"CIFAR-{number}", f"CIFAR{number}"
    obtain = (
        f"Run `make data`, or unpack the official archive into {maker}/ of the data folder "
        f"({maker}/{ARCHIVES[maker]}/…), or put images into {maker}/train/CLASS/ and "
        f"{maker}/test/CLASS/."
    )
    official = {name: number for number, name in enumerate(classes)}
    official |= {other: official[name] for other, name in CALLED.items() if name in official}
    named = classes or tuple(f"class {label}" for label in range(number))
    layouts = (
        partial(pickles, maker=maker, obtain=obtain),
        partial(binary, maker=maker, number=number, obtain=obtain),
        partial(by_class, title=title, num_classes=number, official=official),
        partial(parquet, title=title, classes=named, splits=("test",), obtain=obtain),
    )
    names = (maker, ARCHIVES[maker], BINARY[maker])
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

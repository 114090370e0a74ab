"""CIFAR-10 and CIFAR-100: 60,000 small colour images each (Krizhevsky, Learning Multiple Layers of
Features from Tiny Images, 2009)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from amint_core.data.base import DatasetSpec, Part
from amint_core.data.folders import by_class
from amint_core.data.sources import Content, Item, Source, homes, missing, seen
from amint_core.errors import DataError
from amint_core.locations import shown

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
#: torchvision's class → the folder inside the official archive and the part's files.
ARCHIVES: dict[str, tuple[str, dict[Part, tuple[str, ...]]]] = {
    "CIFAR10": (
        "cifar-10-batches-py",
        {"pool": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    ),
    "CIFAR100": ("cifar-100-python", {"pool": ("train",), "test": ("test",)}),
}
META = {"CIFAR10": "batches.meta", "CIFAR100": "meta"}


def find(
    root: Path, *, title: str, maker: str, num_classes: int, classes: tuple[str, ...], obtain: str
) -> dict[Part, Source]:
    """Find a CIFAR as the official python pickles or as a folder of images per class."""
    inside, files = ARCHIVES[maker]
    for parent in (root.resolve(), *homes(root, maker)):
        if (parent / inside).is_dir():
            return {part: _pickled(parent, maker, part, obtain) for part in files}
    for home in homes(root, maker):
        if parts := by_class(title, home, num_classes, classes):
            return parts
    raise missing(title, root, (maker, inside), obtain)


def _pickled(parent: Path, maker: str, part: Part, obtain: str) -> Source:
    inside, files = ARCHIVES[maker]
    folder = parent / inside

    def read() -> Content:
        import torchvision.datasets
        from torchvision.datasets.utils import check_integrity

        reader = getattr(torchvision.datasets, maker)
        # A pickle can run code: each file is opened only when it is the published one, bit by bit.
        sums = [
            *reader.train_list,
            *reader.test_list,
            [reader.meta["filename"], reader.meta["md5"]],
        ]
        for name, md5 in sums:
            if not check_integrity(str(folder / name), md5):
                raise DataError(
                    f"{shown(folder / name)} is missing, damaged or not the published file "
                    f"(checksum). Delete {shown(folder)} and fetch it again. {obtain}"
                )
        data = reader(str(parent), train=part == "pool")
        items = (Item(f"{part}[{i}]", image) for i, image in enumerate(data.data))
        return Content(items, np.asarray(data.targets, np.int64), tuple(data.classes))

    return Source(folder, seen(*(folder / name for name in (*files[part], META[maker]))), read)


def download(root: Path, *, maker: str) -> None:
    """Fetch a CIFAR with torchvision into `root`/CIFAR10 or `root`/CIFAR100."""
    import torchvision.datasets

    getattr(torchvision.datasets, maker)(str(root / maker), download=True)


def _spec(number: int, classes: tuple[str, ...]) -> DatasetSpec:
    title, maker = f"CIFAR-{number}", f"CIFAR{number}"
    obtain = (
        f"Run `make data`, or unpack the official python version into {maker}/ of the data folder "
        f"({maker}/{ARCHIVES[maker][0]}/…), or put images into {maker}/train/CLASS/ and "
        f"{maker}/test/CLASS/."
    )
    named = {"title": title, "maker": maker, "num_classes": number, "classes": classes}
    return DatasetSpec(
        name=f"cifar{number}",
        title=title,
        channels=3,
        image_size=32,
        num_classes=number,
        find=partial(find, **named, obtain=obtain),
        obtain=obtain,
        download=partial(download, maker=maker),
        official_sizes={"pool": 50_000, "test": 10_000},
    )


CIFAR10 = _spec(10, CIFAR10_CLASSES)
#: The hundred class folders sort alphabetically, which is their official order.
CIFAR100 = _spec(100, ())

"""Any folder of images, a folder per class, as a dataset: `dataset=folder:PATH`.

Either `CLASS/*`, of which a sixth of each class becomes the test part, or `train/CLASS/*` and
`test/CLASS/*`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PIL import Image

from amint_core.data import FOLDER
from amint_core.data.base import DatasetSpec
from amint_core.data.decode import FORMATS, GREY
from amint_core.data.entries import class_folders, reading, scan
from amint_core.data.folders import (
    as_part,
    by_class,
    class_order,
    files_of,
    list_classes,
    set_aside,
)
from amint_core.data.sources import Content, Source
from amint_core.errors import DataError
from amint_core.locations import data_root, shown

OBTAIN = "Put the images into CLASS/*.png, or into train/CLASS/*.png and test/CLASS/*.png."
SHARE = (1, 6)  # of a folder without a test part, as large as MNIST's and CIFAR's
#: Images are brought to the side of the first one, but to no more pixels than this.
LARGEST = 224


def spec_of(name: str) -> DatasetSpec:
    """Describe a folder as a dataset, after a look at its first image.

    Args:
        name: `folder:PATH`; a relative path counts from the folder of the datasets.

    Raises:
        DataError: there is no such folder, or no folder of a class in it.
    """
    folder = data_root() / name.removeprefix(FOLDER)
    source = _found(folder)
    with Image.open(source.files[0].path, formats=FORMATS) as image:
        side, grey = min(*image.size, LARGEST), image.mode in GREY
    classes = {Path(file.path).parent.name for file in source.files}
    return DatasetSpec(
        name=name,
        title=folder.name,
        channels=1 if grey else 3,
        image_size=max(4, side),
        num_classes=len(classes),
        find=partial(_in_place, folder),
        obtain=OBTAIN,
        notes=("Images are stretched to squares of one size.",),
    )


def _in_place(folder: Path, root: Path) -> Source:
    return _found(folder)


def _found(folder: Path) -> Source:
    if not folder.is_dir():
        raise DataError(f"{shown(folder)} is no folder. {OBTAIN}")
    with reading(shown(folder), OBTAIN):
        return by_class(folder, title=folder.name, num_classes=None) or _one_part(folder)


def _one_part(folder: Path) -> Source:
    if not any(scan(place) for place in class_folders(folder)):
        raise DataError(f"{shown(folder)} holds no folder with images. {OBTAIN}")
    classes = list_classes(folder, empty=True)
    names = class_order(tuple(classes))

    def read() -> Content:
        parts = set_aside(classes, names, SHARE, folder.name, OBTAIN)
        pool, test = (as_part(part, names) for part in parts)
        return Content(pool, test, names)

    note = f"test: set aside by the loader, {SHARE[0]} of {SHARE[1]} images of each class."
    return Source(folder, files_of(classes), read, (note,))

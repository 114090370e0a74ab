"""Any folder of images, a folder per class, as a dataset: `dataset=folder:PATH`.

Either `CLASS/*`, of which a sixth of each class becomes the test part, or `train/CLASS/*` and
`test/CLASS/*`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image

from amint_core.data import FOLDER
from amint_core.data.base import DatasetSpec
from amint_core.data.decode import FORMATS, GREY
from amint_core.data.entries import File, class_folders, reading, unwrapped
from amint_core.data.folders import (
    as_part,
    by_class,
    class_order,
    files_of,
    images_of,
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
#: Of so many images, evenly spread, one in colour makes a dataset in colour.
LOOKED_AT = 64


def spec_of(name: str) -> DatasetSpec:
    """Describe a folder as a dataset, after a look at some of its images.

    Args:
        name: `folder:PATH`; a relative path counts from the folder of the datasets.

    Raises:
        DataError: there is no such folder, no two classes are in it, or an image is unreadable.
    """
    # No shell replaces a tilde behind a colon.
    folder = data_root() / os.path.expanduser(name.removeprefix(FOLDER))
    source = _found(folder)
    looks = [_look(file) for file in source.files[:: 1 + len(source.files) // LOOKED_AT]]
    classes = {_class_of(file, source.folder) for file in source.files}
    if len(classes) == 1:
        raise DataError(
            f"{shown(folder)} holds one folder with images, {classes.pop()}: a classifier needs "
            f"two classes or more, and labels come from folders only, not from a table. {OBTAIN}"
        )
    return DatasetSpec(
        name=name,
        title=folder.name,
        channels=1 if all(grey for _, grey in looks) else 3,
        image_size=max(4, min(looks[0][0], LARGEST)),
        num_classes=len(classes),
        find=partial(_in_place, folder),
        obtain=OBTAIN,
        notes=("Images are stretched to squares of one size.",),
    )


def _class_of(file: File, folder: Path) -> str:
    place = Path(file.path).parent
    return (place.parent if place.name == "images" and place.parent != folder else place).name


def _look(file: File) -> tuple[int, bool]:
    """Return an image's shorter side, and whether it is grey."""
    remedy = f"Remove it, or fetch it again. {OBTAIN}"
    with reading(shown(file.path), remedy), Image.open(file.path, formats=FORMATS) as image:
        return min(image.size), image.mode in GREY


def _in_place(folder: Path, root: Path) -> Source:
    return _found(folder)


def _found(folder: Path) -> Source:
    if not folder.is_dir():
        raise DataError(f"{shown(folder)} is no folder. {OBTAIN}")
    with reading(shown(folder), OBTAIN):
        for place in unwrapped(folder):
            source = by_class(place, title=folder.name, num_classes=None) or _one_part(place)
            if source:
                return replace(source, home=folder)
    raise DataError(f"{shown(folder)} holds no folder with images. {OBTAIN}")


def _one_part(folder: Path) -> Source | None:
    if not any(map(images_of, class_folders(folder))):
        return None
    classes = list_classes(folder, empty=True)
    names = class_order(tuple(classes))

    def read() -> Content:
        parts = set_aside(classes, names, SHARE, folder.name, OBTAIN)
        pool, test = (as_part(part, names) for part in parts)
        return Content(pool, test, names)

    note = f"test: set aside by the loader, {SHARE[0]} of {SHARE[1]} images of each class."
    return Source(folder, files_of(classes), read, (note,))

"""GTSRB: photographs of German traffic signs in tracks of 30 frames (Stallkamp et al., Man vs.
computer, 2012)."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from amint_core.data.base import DatasetSpec, Part
from amint_core.data.folders import (
    ClassFiles,
    as_source,
    check_classes,
    class_order,
    items_of,
    list_classes,
)
from amint_core.data.sources import Content, File, Source, homes, missing, scan, seen
from amint_core.errors import DataError
from amint_core.locations import shown

TITLE = "GTSRB"
FOLDERS = ("gtsrb",)
CLASSES = 43
OBTAIN = (
    "Run `make data`, or put the training images into gtsrb/GTSRB/Training/CCCCC/TTTTT_FFFFF.ppm, "
    "the test images into gtsrb/GTSRB/Final_Test/Images/ and GT-final_test.csv into gtsrb/ of the "
    "data folder."
)
#: Where the three pieces lie in torchvision's, the official and the widespread PNG layout.
TRAINING = ("GTSRB/Training", "Training", "GTSRB/Final_Training/Images", "Final_Training/Images")
TRAINING += ("Train", "train")
TESTING = ("GTSRB/Final_Test/Images", "Final_Test/Images", "Test", "test")
TABLES = ("GT-final_test.csv", "GTSRB/GT-final_test.csv", "Test.csv")
TABLES += tuple(f"{folder}/GT-final_test.csv" for folder in TESTING)


def find(root: Path) -> dict[Part, Source]:
    """Find GTSRB: training images in a folder per class, test images with a table of classes."""
    for home in homes(root, *FOLDERS):
        pool = next((home / name for name in TRAINING if (home / name).is_dir()), None)
        test = next((home / name for name in TESTING if (home / name).is_dir()), None)
        if pool is None and test is None:
            continue
        table = next((home / name for name in TABLES if (home / name).is_file()), None)
        pieces = {"training images": pool, "test images": test, "test labels": table}
        for piece, place in pieces.items():
            if place is None and not (piece == "test labels" and _has_classes(test)):
                raise DataError(
                    f"{shown(home)}: the {piece} are missing, so {TITLE} is half downloaded. "
                    f"{OBTAIN}"
                )
        names, source = _pool(home, pool)
        return {"pool": source, "test": _test(home, test, table, names)}
    raise missing(TITLE, root, FOLDERS, OBTAIN)


def _has_classes(folder: Path | None) -> bool:
    return folder is not None and any(place.is_dir() for place in folder.iterdir())


def _listed(folder: Path) -> ClassFiles:
    classes = list_classes(folder)
    check_classes(TITLE, folder, tuple(classes), CLASSES)
    return classes


def _pool(home: Path, folder: Path) -> tuple[tuple[str, ...], Source]:
    classes = _listed(folder)
    names = class_order(tuple(classes), ())
    if [int(name) if name.isdigit() else name for name in names] != list(range(CLASSES)):
        raise DataError(
            f"{shown(folder)}: class folders are to be numbered 00000 to 00042, as the table of "
            f"test labels counts them. {OBTAIN}"
        )
    return names, as_source(home, classes, names, track_of)


def track_of(file: File) -> str:
    """Return the track of a training image from its name, TTTTT_FFFFF or CCCCC_TTTTT_FFFFF.

    Raises:
        DataError: the name tells no track, so frames of one sign could not be kept together.
    """
    match = re.fullmatch(r"(?:\d+_)?(\d+)_\d+", Path(file.path).stem)
    if not match:
        raise DataError(
            f"{shown(file.path)}: the name tells no track (TTTTT_FFFFF), so frames of one sign "
            f"could not be kept together. {OBTAIN}"
        )
    return match[1]


def _test(home: Path, folder: Path, table: Path | None, names: tuple[str, ...]) -> Source:
    if table is None:
        return as_source(home, _listed(folder), names)
    files = {file.name: file for file in scan(folder)}

    def read() -> Content:
        rows = _rows(table)
        for name, _ in rows:
            if name not in files:
                raise DataError(
                    f"{shown(table)} names {name}, which is missing in {shown(folder)}: the test "
                    f"images are half downloaded. {OBTAIN}"
                )
        labels = np.array([label for _, label in rows], np.int64)
        return Content(items_of([files[name] for name, _ in rows]), labels, names)

    return Source(home, (*files.values(), *seen(table)), read)


def _rows(table: Path) -> list[tuple[str, int]]:
    """Read (file name, class) per row; the columns are separated by semicolons or commas."""
    lines = table.read_text(encoding="utf-8-sig").splitlines()
    delimiter = ";" if lines and ";" in lines[0] else ","
    try:
        rows = [
            (Path(row.get("Filename") or row["Path"]).name, int(row["ClassId"]))
            for row in csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{shown(table)} is not a table with the columns Filename and ClassId ({error!r}). "
            f"{OBTAIN}"
        ) from error
    wrong = [label for _, label in rows if not 0 <= label < CLASSES]
    if wrong or not rows:
        what = f"names class {wrong[0]}, but there are 0 to {CLASSES - 1}" if wrong else "is empty"
        raise DataError(f"{shown(table)} {what}. {OBTAIN}")
    return rows


def download(root: Path) -> None:
    """Fetch GTSRB with torchvision into `root`/gtsrb."""
    from torchvision.datasets import GTSRB

    for split in ("train", "test"):
        GTSRB(str(root), split=split, download=True)


SPEC = DatasetSpec(
    name="gtsrb",
    title=TITLE,
    channels=3,
    image_size=64,
    num_classes=CLASSES,
    find=find,
    obtain=OBTAIN,
    download=download,
    official_sizes={"pool": 26_640, "test": 12_630},
)

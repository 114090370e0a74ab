"""GTSRB: photographs of German traffic signs in tracks of 30 frames (Stallkamp et al., Man vs.
computer, 2012)."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from amint_core.data.base import DatasetSpec
from amint_core.data.folders import as_part, class_order, files_of, from_table, list_classes
from amint_core.data.sources import (
    Content,
    File,
    Source,
    homes,
    missing,
    scan,
    seen,
    subfolders,
)
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


def find(root: Path) -> Source:
    """Find GTSRB: training images in a folder per class, test images with a table of classes."""
    for home in homes(root, *FOLDERS):
        pool, test = (
            next(filter(Path.is_dir, map(home.joinpath, names)), None)
            for names in (TRAINING, TESTING)
        )
        table = next(filter(Path.is_file, map(home.joinpath, TABLES)), None)
        if pool or test:
            return _source(home, pool, test, table)
    raise missing(TITLE, root, FOLDERS, OBTAIN)


def _source(home: Path, pool: Path | None, test: Path | None, table: Path | None) -> Source:
    sorted_test = test is not None and bool(subfolders(test))  # into a folder per class
    pieces = {"training images": pool, "test images": test, "test labels": table or sorted_test}
    for piece, there in pieces.items():
        if not there:
            raise DataError(
                f"{shown(home)}: the {piece} are missing, so {TITLE} is half downloaded. {OBTAIN}"
            )
    classes = list_classes(pool, TITLE, CLASSES)
    names = class_order(tuple(classes))
    if [int(name) if name.isdigit() else name for name in names] != list(range(CLASSES)):
        raise DataError(
            f"{shown(pool)}: class folders are to be numbered 00000 to 00042, as the table of "
            f"test labels counts them. {OBTAIN}"
        )
    tested = {} if table else list_classes(test, TITLE, CLASSES)
    images = {file.name: file for file in scan(test)}

    def read() -> Content:
        if table:
            part = from_table(TITLE, table, images, _rows(table), OBTAIN)
        else:
            part = as_part(tested, names)
        return Content(as_part(classes, names, track_of), part, names)

    files = (*images.values(), *seen(table)) if table else files_of(tested)
    return Source(home, (*files_of(classes), *files), read)


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


def _rows(table: Path) -> list[tuple[str, int]]:
    """Read (file name, class) per row; the columns are separated by semicolons or commas."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
        delimiter = ";" if lines and ";" in lines[0] else ","
        rows = [
            (Path(row.get("Filename") or row["Path"]).name, int(row["ClassId"]))
            for row in csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{shown(table)} is not a table with the columns Filename and ClassId ({error!r}). "
            f"{OBTAIN}"
        ) from error
    if not rows:
        raise DataError(f"{shown(table)} is empty. {OBTAIN}")
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

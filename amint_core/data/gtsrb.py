"""GTSRB: photographs of German traffic signs in tracks of 30 frames (Stallkamp et al., Man vs.
computer, 2012)."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath

from amint_core.data.base import DatasetSpec
from amint_core.data.entries import (
    File,
    delimiter_of,
    heading,
    listed,
    lookup,
    plain,
    read_text,
    reading,
    scan,
    seen,
    subfolders,
    unwrapped,
    within,
)
from amint_core.data.folders import (
    as_part,
    class_key,
    class_order,
    files_of,
    from_table,
    list_classes,
)
from amint_core.data.sources import Content, Source, search
from amint_core.errors import DataError
from amint_core.locations import shown

TITLE = "GTSRB"
FOLDERS = ("gtsrb", "gtsrb-german-traffic-sign", "GTSRB_Final_Training_Images")
CLASSES = 43
OBTAIN = (
    "Run `make data`, or put the training images into gtsrb/GTSRB/Training/CCCCC/TTTTT_FFFFF.ppm, "
    "the test images into gtsrb/GTSRB/Final_Test/Images/ and GT-final_test.csv into gtsrb/ of the "
    "data folder."
)
#: Where the three pieces lie in torchvision's, the official and the widespread PNG layout.
TRAINING = ("Training", "Final_Training/Images", "Train")
TESTING = ("Final_Test/Images", "Test")
TABLES = ("GT-final_test.csv", "Test.csv", *(f"{folder}/GT-final_test.csv" for folder in TESTING))


def signs(home: Path) -> Source | None:
    """Read training images in a folder per class, and test images with a table of classes.

    Test images may also be sorted into a folder per class. None where neither part is there.

    Raises:
        DataError: a piece is missing, or the classes are others.
    """
    kinds = ((TRAINING, Path.is_dir), (TESTING, Path.is_dir), (TABLES, _is_no_folder))
    places = list(within(home))
    pool, test, table = (_first(places, *kind) for kind in kinds)
    if not pool and not test:
        return None
    if not (pool and test and (table or subfolders(test))):
        # The official release has three archives, which people unpack side by side.
        beside = [
            place
            for folder in subfolders(home.parent)
            if plain(folder.name).startswith("gtsrb") and folder != home
            for place in within(folder)
        ]
        pool, test = pool or _first(beside, *kinds[0]), test or _first(beside, *kinds[1])
        table = table or _first([*beside, home.parent], TABLES[:1], _is_no_folder)
    pool, test = (folder and list(unwrapped(folder))[-1] for folder in (pool, test))
    outside = [place for place in (pool, test, table) if place and home not in place.parents]
    return _source(home.parent if outside else home, pool, test, table)


def _is_no_folder(path: Path) -> bool:
    return not path.is_dir()


def _first(
    places: Sequence[Path], names: Sequence[str], there: Callable[[Path], bool]
) -> Path | None:
    """Return the first place at which one of the names is there."""
    found = (lookup(place, name) for place in places for name in names)
    return next((place for place in found if place and there(place)), None)


def _source(home: Path, pool: Path | None, test: Path | None, table: Path | None) -> Source:
    sorted_test = test is not None and bool(subfolders(test))  # into a folder per class
    if sorted_test and not scan(test):  # people sort the test images, and leave the table
        table = None
    pieces = {"training images": pool, "test images": test, "test labels": table or sorted_test}
    for piece, there in pieces.items():
        if not there:
            raise DataError(
                f"{shown(home)} (with {listed(home)}): the {piece} are missing, so {TITLE} is half "
                f"downloaded. {OBTAIN}"
            )
    classes = list_classes(pool, TITLE, CLASSES)
    names = class_order(tuple(classes))
    if [class_key(name) for name in names] != [str(number) for number in range(CLASSES)]:
        raise DataError(
            f"{shown(pool)}: class folders are to be numbered 00000 to 00042, as the table of "
            f"test labels counts them. {OBTAIN}"
        )
    tested = {} if table else list_classes(test, TITLE, CLASSES)
    tested = {class_key(name): files for name, files in tested.items()}
    if tested and set(tested) != set(map(class_key, names)):
        raise DataError(f"{shown(test)}: class folders are to be those of {shown(pool)}. {OBTAIN}")
    images = {file.name: file for file in scan(test)}

    def read() -> Content:
        if table:
            part = from_table(TITLE, table, images, _rows(table), OBTAIN)
        else:
            part = as_part(tested, [class_key(name) for name in names])
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
    """Read (file name, class) per row; the columns are separated as `delimiter_of` tells."""
    lines, rows = read_text(table).splitlines(), []
    with reading(shown(table), OBTAIN):
        before, head = heading(lines)
        reader = csv.DictReader(lines[before:], delimiter=delimiter_of(head), skipinitialspace=True)
        columns = {plain(name): name for name in reader.fieldnames or ()}
        if len(columns) < len(reader.fieldnames or ()):
            raise DataError(f"{shown(table)} has two columns of one name. Remove one. {OBTAIN}")
        image, label = columns.get("filename", columns.get("path")), columns.get("classid")
        if not image or not label:
            raise DataError(
                f"{shown(table)} is not a table with the columns Filename and ClassId, but has "
                f"{', '.join(columns.values())[:200]}. {OBTAIN}"
            )
        for row in reader:
            if not any(row.values()):  # spreadsheets leave rows of empty cells
                continue
            try:
                # A table written on Windows parts folders by a backslash.
                name = PureWindowsPath(row[image]).name
                if not name:
                    raise ValueError(name)
                rows.append((name, _class_number(row[label])))
            except (AttributeError, TypeError, ValueError, OverflowError):
                raise DataError(
                    f"{shown(table)}, line {before + reader.line_num}: {row[image]!r} with the "
                    f"class {row[label]!r} is no image with a class number. Correct the line, or "
                    f"fetch the table again. {OBTAIN}"
                ) from None
    if not rows:
        raise DataError(f"{shown(table)} names no image. {OBTAIN}")
    return rows


def _class_number(text: str) -> int:
    """Read a whole number, which spreadsheets also write as 3.0 or 3,0."""
    number = float(text.replace(",", "."))
    if number != int(number) or "_" in text:
        raise ValueError(text)
    return int(number)


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
    find=partial(search, title=TITLE, names=FOLDERS, layouts=(signs,), obtain=OBTAIN),
    obtain=OBTAIN,
    download=download,
    official_sizes={"pool": 26_640, "test": 12_630},
)

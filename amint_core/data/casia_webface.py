"""CASIA-WebFace: 494,414 faces of 10,575 identities (Yi et al., Learning Face Representation from
Scratch, 2014).

It has no official test set. The loader sets one aside: the paper's share of each identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from amint_core.data.base import DatasetSpec
from amint_core.data.entries import class_folders, subfolders
from amint_core.data.folders import (
    ClassFiles,
    as_part,
    class_order,
    files_of,
    images_of,
    list_classes,
    set_aside,
)
from amint_core.data.recordio import recordio
from amint_core.data.sources import Content, Source, search
from amint_core.errors import DataError
from amint_core.locations import shown

TITLE = "CASIA-WebFace"
FOLDERS = ("CASIA-WebFace", "faces_webface_112x112", "CASIA-maxpy-clean")
IMAGES, TEST_IMAGES, IDENTITIES = 494_414, 44_406, 10_575
OBTAIN = (
    "It is given out by its authors under a licence for research: ask them for it and put the "
    "images into CASIA-WebFace/IDENTITY/*.jpg of the data folder, or insightface's train.rec into "
    "CASIA-WebFace/."
)
SHARE = (TEST_IMAGES, IMAGES)


def by_identity(folder: Path) -> Source | None:
    """Read a folder of images per identity, or return None where no folder holds an image.

    The identities may also lie in several folders, as parts of an archive unpack.

    Raises:
        DataError: there are more folders than identities, or one holds folders only.
    """
    places = class_folders(folder)
    parts = [folder] if any(map(images_of, places)) else _parts(places)
    identities: ClassFiles = {}
    for part in parts:
        for name, files in list_classes(part, empty=True).items():
            identities.setdefault(name, []).extend(files)
    if not identities or _twice(identities):
        return None
    names = class_order(tuple(identities))
    if len(names) > IDENTITIES:
        raise DataError(
            f"{shown(folder)} holds {len(names):,} folders, but {TITLE} has {IDENTITIES:,} "
            f"identities. {OBTAIN}"
        )
    empty = len({place.name for part in parts for place in class_folders(part)}) - len(names)
    notes = [f"files: {empty:,} identities without images were left out."] * bool(empty)
    if len(parts) > 1:
        notes.append(f"files: put together from {', '.join(part.name for part in parts)}.")

    def read() -> Content:
        parts = set_aside(identities, names, SHARE, TITLE, OBTAIN)
        pool, test = (as_part(part, names) for part in parts)
        return Content(pool, test, names)

    return Source(folder, files_of(identities), read, tuple(notes))


def _parts(places: Sequence[Path]) -> list[Path]:
    """Return the folders that hold folders of images, if several do."""
    parts = [place for place in places if any(map(images_of, subfolders(place)))]
    return parts if len(parts) > 1 else []


def _twice(identities: ClassFiles) -> bool:
    """Tell whether two files bear one name: the folders are then copies, not parts."""
    stems = ([Path(file.path).stem for file in files] for files in identities.values())
    return any(len(set(names)) < len(names) for names in stems)


LAYOUTS = (
    by_identity,
    partial(recordio, title=TITLE, most=IDENTITIES, share=SHARE, obtain=OBTAIN),
)
SPEC = DatasetSpec(
    name="casia_webface",
    title=TITLE,
    channels=3,
    image_size=64,
    num_classes=IDENTITIES,
    find=partial(search, title=TITLE, names=FOLDERS, layouts=LAYOUTS, obtain=OBTAIN),
    obtain=OBTAIN,
    official_sizes={"pool": IMAGES - TEST_IMAGES, "test": TEST_IMAGES},
    notes=("test: set aside by the loader, 9 % of each identity; there is no official test set.",),
)

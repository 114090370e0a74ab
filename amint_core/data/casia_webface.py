"""CASIA-WebFace: 494,414 faces of 10,575 identities (Yi et al., Learning Face Representation from
Scratch, 2014).

It has no official test set. The loader sets one aside: the paper's share of each identity, chosen
by file name alone, so that it depends neither on a seed nor on the order of the files.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from amint_core.data.base import DatasetSpec
from amint_core.data.entries import File, class_folders, scan
from amint_core.data.folders import ClassFiles, as_part, class_order, files_of, list_classes
from amint_core.data.sources import Content, Source, search
from amint_core.data.strata import allocate
from amint_core.errors import DataError
from amint_core.locations import shown

TITLE = "CASIA-WebFace"
FOLDERS = ("CASIA-WebFace", "faces_webface_112x112")
IMAGES, TEST_IMAGES, IDENTITIES = 494_414, 44_406, 10_575
OBTAIN = (
    "It is given out by its authors under a licence for research: ask them for it and put the "
    "images into CASIA-WebFace/IDENTITY/*.jpg of the data folder."
)


def by_identity(folder: Path) -> Source | None:
    """Read a folder of images per identity, or return None where no folder holds an image.

    Raises:
        DataError: there are more folders than identities, or one holds folders only.
    """
    places = class_folders(folder)
    if not any(scan(place) for place in places):
        return None
    identities = list_classes(folder, empty=True)
    names = class_order(tuple(identities))
    if len(names) > IDENTITIES:
        raise DataError(
            f"{shown(folder)} holds {len(names):,} folders, but {TITLE} has {IDENTITIES:,} "
            f"identities. {OBTAIN}"
        )
    empty = len(places) - len(names)
    note = f"files: {empty:,} identities without images were left out."

    def read() -> Content:
        pool, test = (as_part(part, names) for part in set_aside(identities, names))
        return Content(pool, test, names)

    return Source(folder, files_of(identities), read, (note,) * bool(empty))


def set_aside(identities: ClassFiles, names: tuple[str, ...]) -> tuple[ClassFiles, ClassFiles]:
    """Part the images into pool and test, in each identity by the paper's share.

    An identity's last image always stays in the pool.

    Raises:
        DataError: there are too few images for a test part.
    """
    sizes = np.array([len(identities[name]) for name in names])
    total = min(round(sizes.sum() * TEST_IMAGES / IMAGES), int((sizes - 1).sum()))
    if not total:
        raise DataError(
            f"{TITLE}: {sizes.sum():,} images of {len(names):,} identities are too few to set a "
            f"test part aside ({TEST_IMAGES:,} of {IMAGES:,}, no identity's only image). {OBTAIN}"
        )
    # Equal remainders go by the name's hash, not to the identities that happen to come first.
    order = np.argsort(np.argsort([_digest(name) for name in names]))
    counts = allocate(total, sizes, sizes - 1, order)
    pool, test = {}, {}
    for name, count in zip(names, counts, strict=True):
        ranked = sorted(identities[name], key=_rank)
        test[name] = sorted(ranked[:count])
        pool[name] = sorted(ranked[count:])
    return pool, test


def _rank(file: File) -> str:
    return _digest("/".join(file.path.rsplit("/", 2)[-2:]))


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


SPEC = DatasetSpec(
    name="casia_webface",
    title=TITLE,
    channels=3,
    image_size=64,
    num_classes=IDENTITIES,
    find=partial(search, title=TITLE, names=FOLDERS, layouts=(by_identity,), obtain=OBTAIN),
    obtain=OBTAIN,
    official_sizes={"pool": IMAGES - TEST_IMAGES, "test": TEST_IMAGES},
    notes=("test: set aside by the loader, 9 % of each identity; there is no official test set.",),
)

"""Find a dataset's files on disk: which there are, and what to say where they are missing.

A dataset is read in three steps, so that a cache can be checked without opening a file: `search`
lists the files (a `Source`), the source's `read` opens tables and labels (a `Content`), and
walking the content's items decodes the images one by one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from amint_core.data.entries import (
    ARCHIVES,
    File,
    listed,
    plain,
    reading,
    subfolders,
    within,
)
from amint_core.errors import DataError
from amint_core.locations import data_root, shown

PICKLE = "it is a pickle, which can run code. Fetch the official files"
CUT_OFF = "its download was cut off. Delete it and fetch it again"
#: Suffix → why such files are not read, and what to do; the most telling first.
UNREAD = {
    ".rec": "RecordIO is read of CASIA-WebFace alone, and called train.rec",
    **dict.fromkeys(ARCHIVES, "unpack it where it lies"),
    ".parquet": "it is read of MNIST, CIFAR and Tiny ImageNet alone, and called train-….parquet, "
    "test-….parquet or, of Tiny ImageNet, valid-….parquet",
    ".npz": "only mnist.npz, as keras has it, is read",
    ".csv": "it is no list that belongs to a layout, or its other part is missing",
    ".tfrecord": "TFRecord needs TensorFlow. Unpack its images into folders",
    ".arrow": "it is a cache, or made by save_to_disk. Save the dataset as parquet (to_parquet)",
    ".h5": "HDF5 is not read. Unpack its images into folders",
    ".mat": "MATLAB's format is not read. Unpack its images into folders",
    ".npy": "of arrays, only mnist.npz with x_train, y_train, x_test and y_test is read",
    **dict.fromkeys((".pt", ".p", ".pkl", ".pickle"), PICKLE),
    **dict.fromkeys((".part", ".crdownload", ".download", ".aria2"), CUT_OFF),
    ".bin": "it is a list of pairs, or not in the folder that its archive makes",
}


#: At the end of a folder's name: what browsers and systems add to a copy.
COPY = re.compile(r"( \(\d+\)| - copy( \(\d+\))?| copy( \d+)?)$", re.IGNORECASE)
#: The same, as `plain` writes it: words for the form of what is in it. No word is tried in two ways
#: (?>…), which would take for ever over a name of many numbers.
FORM = re.compile(
    r"(?<=.)(?>(as|in|the)?(png|jpe?g|csv|parquet|npz|idx|mat|batches|pixel|image|file|folder)s?|"
    r"python|binary|data(set)?|original|raw|main|master|official|full|kaggle|aligned\d*|cropped|clean"
    r"|\d+x\d+)+$"
)
#: In the value of a variable: what a shell or a settings file left there.
SIGNS = {
    "$": " A variable in it was not replaced: write it out.",
    " |": " It ends in a blank.",
}


class Item(NamedTuple):
    """One image not yet decoded: a file's path, encoded bytes, or an (H, W[, C]) array."""

    name: str
    data: str | bytes | np.ndarray


class Part(NamedTuple):
    """The images of the pool or of the official test set, in order.

    Attributes:
        items: N images, decoded one by one as they are walked; once, so that they may stream.
        labels: (N,) class numbers.
        tracks: (N,) track numbers, or None where each image stands for itself.
        notes: what a reader must know of these files.
    """

    items: Iterable[Item]
    labels: np.ndarray
    tracks: np.ndarray | None = None
    notes: tuple[str, ...] = ()


class Content(NamedTuple):
    """A dataset's images, and one name per class number."""

    pool: Part
    test: Part
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A dataset on disk, listed but not yet read.

    Attributes:
        folder: the folder that all files lie in.
        files: every file that the dataset depends on.
        read: opens the files, checks them and returns their content.
        notes: what a reader must know of where the files lie.
        home: the dataset's folder round it, all of whose files are read or counted.
    """

    folder: Path
    files: Sequence[File]
    read: Callable[[], Content]
    notes: tuple[str, ...] = ()
    home: Path | None = None


#: Looks into one folder: its files where they lie so, or None where nothing of the layout is there.
Layout = Callable[[Path], Source | None]


def search(
    root: Path, *, title: str, names: Sequence[str], layouts: Sequence[Layout], obtain: str
) -> Source:
    """Find a dataset under `root`, in the first folder that has one of its layouts.

    Raises:
        DataError: nothing is there, or less than all; says what was found and how to get the rest.
    """
    with reading(f"{title} under {shown(root)}", obtain):
        check_place(root)
        found = homes(root, *names)
        for home in found:
            for folder in within(home):
                for layout in layouts:
                    if source := layout(folder):
                        rest = ", ".join(shown(other) for other in found if other != home)
                        note = f"files: read from {shown(home)}; not read: {rest}."
                        notes = (*source.notes, *[note] * bool(rest))
                        return replace(source, notes=notes, home=home)
        raise _missing(title, root, names, found, obtain)


def homes(root: Path, *names: str) -> list[Path]:
    """Return the folders in which a dataset may lie, those nearest to `root` that bear its name.

    Looked at are `root`, the folders in it, and where none fits those up to three folders down.
    """
    exact = {plain(name) for name in names}
    wanted = exact | {_called(Path(name)) for name in names}
    level = [Path(os.path.realpath(root))]
    for depth in range(4):
        found = [folder for folder in level if _called(folder) in (wanted if depth else exact)]
        if found:
            found.sort(key=lambda folder: plain(folder.name) not in exact)
            return [folder.resolve() for folder in found]
        level = [inner for folder in level[:100] for inner in _inside(folder)]
    return []


def _called(folder: Path) -> str:
    """Return a folder's plain name, without what tells its form only.

    The hub's cache calls folders datasets--OWNER--NAME or OWNER___NAME.
    """
    name = folder.name
    if name.startswith("datasets--"):
        name = name.rsplit("--", 1)[-1]
    name = COPY.sub("", name.rsplit("___", 1)[-1])
    return FORM.sub("", plain(name)) or plain(name)


def _inside(folder: Path) -> list[Path]:
    try:
        return subfolders(folder)
    except OSError:  # what may not be looked into is none of ours
        return []


def _missing(
    title: str, root: Path, names: Sequence[str], looked_into: Sequence[Path], obtain: str
) -> DataError:
    """Compose the error for a dataset that is not there, or not in a layout that is read."""
    told = list(UNREAD)
    gone = [path for path in sorted(root.iterdir()) if path.is_symlink() and not path.exists()]
    wanted = {plain(name) for name in names}
    files = [path for path in _beside(root, names, looked_into) if path.suffix.lower() in told]
    if link := next((path for path in gone if _called(path) in wanted), None):
        said = f"{root / link.name} is a link to {os.readlink(link)}, which is not there"
    elif files:
        path = min(files, key=lambda path: told.index(path.suffix.lower()))
        archive = "the archive " if path.suffix.lower() in ARCHIVES else ""
        said = f"found {archive}{shown(path)}, which is not read: {UNREAD[path.suffix.lower()]}"
    elif looked_into:
        there = ", ".join(f"{shown(home)} (with {listed(home)})" for home in looked_into)
        said = f"{there} holds none of the known layouts"
    else:
        said = f"no images under {shown(root)} (with {listed(root)}; {names[0]} is looked for)"
    return DataError(
        f"{title}: {said}. {obtain} Or run with data='standin', which is marked as such everywhere."
    )


def check_place(root: Path, download: bool = False) -> None:
    """Refuse a data folder that does not exist, or for a download one that is misspelt.

    Raises:
        DataError: the folder as it was named, and what a shell or a settings file left in it.
    """
    value = os.environ.get("AMINT_DATA", "")
    named = bool(value) and root == data_root()
    hint = next((said for sign, said in SIGNS.items() if named and sign in f"{value}|"), "")
    if not root.is_dir() and (hint or not download):
        told = f"AMINT_DATA = {value!r}" if named else shown(root)
        raise DataError(f"{told} is no folder.{hint} AMINT_DATA is to name the datasets' folder.")


def _beside(root: Path, names: Sequence[str], looked_into: Sequence[Path]) -> Iterator[Path]:
    """Walk files that may hold the dataset: those in the root that bear its name, those inside."""
    named = re.compile(rf"({'|'.join(map(plain, names))})(?!\d)")  # CIFAR-10's, not CIFAR-100's
    yield from (path for path in sorted(root.iterdir()) if named.match(plain(path.name)))
    for home in looked_into:
        for folder in within(home):
            yield from sorted(folder.iterdir())

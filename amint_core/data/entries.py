"""What lies in a folder: which entries are images and classes, and which are passed over."""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from amint_core.errors import AmintError, DataError, printable
from amint_core.locations import shown

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
JPEG = (".jpg", ".jpeg", ".jfif", ".jpe")
IMAGES = (*JPEG, ".png", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".bmp", ".dib", ".webp")
IMAGES += (".tif", ".tiff")
#: Texts and archives beside the images are told of only where nothing else is found.
COMPANIONS = (*ARCHIVES, ".txt", ".csv", ".md", ".json", ".xml", ".html", ".lst", ".md5")
#: What systems, shares and archivers leave behind, besides hidden files.
DROPPINGS = {"__macosx", "network trash folder", "temporary items", "icon\r"}
DROPPINGS |= {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin"}
DROPPINGS |= {"system volume information", "lost+found", "__pycache__"}
DROPPINGS |= {"@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"}
#: What Git leaves in place of a large file, and how large that is at most.
POINTER, MOST_POINTER = b"version https://git-lfs.github.com/", 200
DEPTH = 3  # folders that archives and caches wrap round a dataset, at most
MOST_TEXT = 2**26  # bytes; the largest table of a release has 3 MB


class File(NamedTuple):
    """A file as it was seen: enough to notice a change without reading it.

    Its path is text, since half a million `Path`s would take longer than all else in a load.
    """

    path: str
    size: int
    mtime_ns: int

    @property
    def name(self) -> str:
        return os.path.basename(self.path)


@contextmanager
def reading(what: str, remedy: str) -> Iterator[None]:
    """Turn whatever a library raises over people's files into a `DataError`.

    Args:
        what: the file, or the dataset and its folder.
        remedy: what to do; one or more sentences.
    """
    try:
        yield
    except AmintError:
        raise
    except Exception as error:  # libraries raise nearly every kind over damaged files
        if isinstance(error, MemoryError):
            remedy = f"There is too little memory for it. {remedy}"
        text = re.sub(r"\s+", " ", str(error)).encode("utf-8", "backslashreplace").decode()[:200]
        raise DataError(
            f"{what} cannot be read ({type(error).__name__}: {text}). {remedy}"
        ) from error


def is_dropping(name: str) -> bool:
    """Tell whether a file or folder is no part of a dataset, whatever it holds."""
    return name.startswith(".") or name.lower() in DROPPINGS


def scan(folder: Path, suffixes: Sequence[str] = IMAGES) -> list[File]:
    """List the files of one folder that end in `suffixes`, by name.

    Raises:
        DataError: one is a dangling link, a pipe or empty, or its name is no UTF-8.
    """
    with os.scandir(folder) as entries:
        wanted = [
            entry
            for entry in entries
            if entry.name.lower().endswith(tuple(suffixes)) and not is_dropping(entry.name)
        ]
        files = (_seen(entry.path, entry.stat) for entry in wanted if not _is_dir(entry))
        return sorted(files)


def seen(*paths: Path) -> tuple[File, ...]:
    """Look at files that must exist.

    Raises:
        DataError: one is missing or empty, so the dataset is half downloaded.
    """
    for path in paths:
        if not os.path.lexists(path):
            raise DataError(
                f"{shown(path)} is missing: the dataset is half downloaded. Fetch that file, or "
                "the whole dataset again."
            )
    return tuple(_seen(str(path), path.stat) for path in paths)


def _seen(path: str, look: Callable[[], os.stat_result]) -> File:
    problem = _odd_name(os.path.basename(path))
    try:
        found = look()
        if not stat.S_ISREG(found.st_mode):
            problem = "is no file (a folder, a pipe or a device)"
        elif not found.st_size:
            problem = problem or "is empty"
        elif found.st_size < MOST_POINTER and _is_pointer(path):
            problem = "stands for a file that Git LFS keeps; `git lfs pull` brings it"
    except OSError as error:
        link = "is a link to what is not there" if os.path.islink(path) else "cannot be looked at"
        problem = f"{link} ({error.strerror})"
    if problem:
        where = f"{shown(os.path.dirname(path))}/{printable(os.path.basename(path))}"
        raise DataError(f"{where} {problem}. Remove it, or fetch it again.")
    return File(path, found.st_size, found.st_mtime_ns)


def _is_pointer(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(POINTER)) == POINTER


def _odd_name(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        return "has a name that is no UTF-8; rename it"
    return ""


def subfolders(folder: Path) -> list[Path]:
    """List the folders inside `folder` by name, without droppings."""
    with os.scandir(folder) as entries:
        return sorted(Path(e.path) for e in entries if not is_dropping(e.name) and _is_dir(e))


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def class_folders(folder: Path) -> list[Path]:
    """List the folders that may be classes, by name.

    Raises:
        DataError: a name is no UTF-8, so no file could hold it as the name of a class, or a link
            leads nowhere.
    """
    refuse_dangling(folder, lambda name: not os.path.splitext(name)[1])
    places = subfolders(folder)
    for place in places:
        if problem := _odd_name(place.name):
            raise DataError(f"{shown(place)} {problem}.")
    return places


def refuse_dangling(folder: Path, meant: Callable[[str], bool]) -> None:
    """Refuse links in a folder that lead nowhere, of those whose name may be meant.

    Raises:
        DataError: there is one.
    """
    with os.scandir(folder) as entries:
        links = [e.name for e in entries if e.is_symlink() and not is_dropping(e.name)]
    for name in sorted(links):
        if meant(name) and not os.path.exists(folder / name):
            raise DataError(
                f"{shown(folder)}/{printable(name)} is a link to what is not there. Remove it, or "
                "fetch it again."
            )


def listed(folder: Path) -> str:
    """Name some of what lies in a folder."""
    names = sorted(name for name in os.listdir(folder) if not is_dropping(name))
    more = f" and {len(names) - 4:,} more" if len(names) > 4 else ""
    return (", ".join(map(printable, names[:4])) or "nothing") + more


def plain(name: str) -> str:
    """Reduce a name to its letters and digits, so that CIFAR-10, cifar_10 and CIFAR10 are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def within(folder: Path) -> Iterator[Path]:
    """Walk a folder and the few folders that archives and caches wrap round its content.

    A folder of classes is not walked into.
    """
    level = [folder]
    for _ in range(DEPTH + 1):
        yield from level
        inner = [subfolders(place) for place in level]
        level = [place for places in inner if len(places) < 10 for place in places]


def unwrapped(folder: Path) -> Iterator[Path]:
    """Walk a folder, the only folder in it, and so on, while there are no images beside it."""
    for _ in range(DEPTH + 1):
        yield folder
        inner = subfolders(folder)
        if len(inner) != 1 or scan(folder):
            return
        (folder,) = inner


def lookup(folder: Path, place: str) -> Path | None:
    """Find what lies at a place inside a folder, in whatever capitals and with whatever dashes.

    Raises:
        DataError: it is a link to what is not there.
    """
    for wanted in place.split("/"):
        if not os.path.lexists(folder / wanted):
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            fits = (
                name
                for name in names
                if name[:1].lower() == wanted[:1].lower() and plain(name) == plain(wanted)
            )
            if not (wanted := next(fits, "")):
                return None
        if not os.path.exists(folder / wanted):
            refuse_dangling(folder, wanted.__eq__)
        folder = folder / wanted
    return folder


def encoding_of(path: Path) -> str:
    """Tell the encoding of a text by its first bytes: UTF-16 and UTF-32 have a byte-order mark.

    Raises:
        DataError: it is one of these without it.
    """
    with path.open("rb") as file:
        start = file.read(200)
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in start:
        raise DataError(
            f"{shown(path)} is no text, or in UTF-16 without a byte-order mark. Save it as text in "
            "UTF-8, or fetch it again."
        )
    return "utf-8-sig"


def heading(lines: Iterable[str]) -> tuple[int, str]:
    """Return how many lines come before a table's first one, which are blank or Excel's, and it."""
    for number, line in enumerate(lines):
        if line.strip() and not line.lower().startswith("sep="):
            return number, line
    return 0, ""


def delimiter_of(head: str) -> str:
    """Tell what separates the columns of a table, by its first line."""
    return max(";,\t|", key=head.count)


def read_text(path: Path) -> str:
    """Read a table or a list: UTF-8 with or without a byte-order mark, UTF-16 or UTF-32 with one.

    Raises:
        DataError: it is missing, no file, too long, or in another encoding.
    """
    (file,) = seen(path)
    if file.size > MOST_TEXT:
        raise DataError(f"{shown(path)} has {file.size:,} bytes, more than any list. Replace it.")
    encoding = encoding_of(path)
    try:
        return path.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{shown(path)} is not in UTF-8 (byte {error.start}). Save it as UTF-8, or fetch it "
            "again."
        ) from error


def passed_over(folder: Path, files: Iterable[File]) -> tuple[str, ...]:
    """Count what lies in a dataset's folder and is not read, as a note; texts are not counted."""
    read, count = {file.path for file in files}, Counter[str]()
    for place, folders, names in os.walk(folder):
        count.update(name for name in folders if is_dropping(name))
        folders[:] = [name for name in folders if not is_dropping(name)]
        for name in names:
            kind = os.path.splitext(name)[1].lower() or name
            if is_dropping(name):
                count["hidden" if name.startswith(".") else name] += 1
            elif os.path.join(place, name) not in read and kind not in COMPANIONS:
                count[kind] += 1
    if not count:
        return ()
    kinds = ", ".join(f"{number:,} {printable(kind)}" for kind, number in count.most_common(6))
    more = f" and {len(count) - 6} more kinds" if len(count) > 6 else ""
    return (f"files: passed over, since they are no part of the layout: {kinds}{more}.",)

"""Atomic writes: a file or folder is either complete under its final name or absent."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from amint_core.errors import AmintError, ResultsError
from amint_core.locations import shown

#: How names of folders begin in which files are written. Writers lock theirs as long as they live.
UNFINISHED = ".unfinished-"
_PROBE = bytes(2**20)


@contextmanager
def atomic_path(target: Path | str, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path of the same name; rename it to `target` on success.

    On any failure the temporary file is removed and an existing `target` stays as it was. What
    killed writers left in the folder is removed, too.

    Args:
        target: the file.
        mode: who may read it, from its first moment on.

    Raises:
        ResultsError: the disk is full or the folder cannot be written.
    """
    target = Path(target)
    with (
        _refusals(target),
        _cleared(target.parent) as folder,
        _renamed(folder, target, mode) as temporary,
    ):
        yield temporary


def write_files(parent: Path | str, files: Iterable[tuple[str, Callable[[Path], Any]]]) -> None:
    """Write many files of one folder, each as in `atomic_path`, and look through it only once.

    Args:
        parent: the folder.
        files: of each its name and what writes it to a path.

    Raises:
        ResultsError: as `atomic_path`; the files before that one are complete.
    """
    parent = Path(parent)
    with _refusals(parent), _cleared(parent) as folder:
        for name, write in files:
            target = parent / name
            with _refusals(target), _renamed(folder, target) as temporary:
                write(temporary)


@contextmanager
def writable(folder: Path, variable: str) -> Iterator[None]:
    """Make a folder, and say what to do where the system refuses that, or a lock in it.

    Args:
        variable: the environment variable that names another place.

    Raises:
        ResultsError: it refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ResultsError(
            f"Cannot write to {shown(folder)}: {in_words(error, folder)}. Free some space, mend "
            f"the permissions, or name another folder by {variable}."
        ) from error


@contextmanager
def _refusals(target: Path) -> Iterator[None]:
    """Say of an error of the system what could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise ResultsError(
            f"Could not write {target}: {in_words(error, target.parent)}. Free some space or "
            "choose another folder; nothing is lost: what was there before is unchanged."
        ) from error


@contextmanager
def _cleared(parent: Path) -> Iterator[Path]:
    """Yield a folder to write in, below one in which dead writers have left nothing."""
    parent.mkdir(parents=True, exist_ok=True)
    clear_unfinished(parent)
    with own_folder(parent) as folder:
        yield folder


@contextmanager
def _renamed(folder: Path, target: Path, mode: int = 0o644) -> Iterator[Path]:
    """Yield a path in `folder`; what is written there becomes `target`, unless writing fails."""
    temporary = folder / target.name
    temporary.touch()
    try:
        yield temporary
    except Exception as error:
        refused = _refused_by_disk(error, temporary)
        if refused is None:
            raise
        raise refused from error
    temporary.chmod(mode)
    os.replace(temporary, target)


@contextmanager
def own_folder(parent: Path) -> Iterator[Path]:
    """Make a locked folder to write in; libraries may replace files there, and leave others.

    It is gone afterwards, with what was not moved elsewhere; after a kill, `clear_unfinished` takes
    it away.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=parent))
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another writer took it for a dead one's already
            continue
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.is_dir():
            break
        os.close(descriptor)  # another writer took it for a dead one's before it was locked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def clear_unfinished(parent: Path) -> None:
    """Remove what writers that are no more left in a folder; others have theirs locked."""
    for folder in parent.glob(f"{UNFINISHED}*"):
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _refused_by_disk(error: Exception, temporary: Path) -> OSError | None:
    """Return why the disk takes no more of a file, if so, where a library's error does not say."""
    if isinstance(error, AmintError) or (isinstance(error, OSError) and error.errno):
        return None
    if told := re.search(r"\(os error (\d+)\)", str(error)):  # as libraries in Rust say it
        return OSError(int(told[1]), os.strerror(int(told[1])))
    try:
        with temporary.open("ab") as file:
            file.write(_PROBE)
    except OSError as refused:
        return refused
    return None


def in_words(error: OSError, folder: Path) -> str:
    """Say why the system refused to write in a folder."""
    text = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.EFBIG:
        return f"{text}: a file may not grow beyond this shell's limit (ulimit -f)"
    if error.errno == errno.ENOSPC and _no_inodes(folder):
        return f"{text}: too many files, the disk has no inode left"
    return text


def _no_inodes(folder: Path) -> bool:
    with suppress(OSError):
        found = os.statvfs(folder)
        return bool(found.f_files) and found.f_favail < 4  # our own are freed by now
    return False


def is_full(folder: Path) -> bool:
    """Tell whether hardly a file can be written in a folder, or the nearest there is above it."""
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    found = os.statvfs(there)
    return found.f_bavail * found.f_frsize < len(_PROBE) or _no_inodes(there)


def write_text(target: Path | str, text: str, mode: int = 0o644) -> None:
    """Write `text` to `target` atomically, as UTF-8, for whom `mode` lets read it."""
    with atomic_path(target, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """Return `value` as readable JSON, as files hold it; NaN and infinities are refused."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(target: Path | str, value: Any) -> None:
    """Write `value` to `target` atomically as readable JSON; see `json_text`."""
    write_text(target, json_text(value))


def read_json(source: Path | str) -> Any:
    """Read JSON, naming the file when it is missing or damaged.

    Raises:
        ResultsError: the file is missing or is not JSON.
    """
    source = Path(source)
    if source.exists() and not source.is_file():  # a named pipe would hang
        raise ResultsError(f"{source} is no file. Delete it and run again to write it.")
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultsError(f"{source} is missing. Run it again to write it.") from error
    except OSError as error:
        raise ResultsError(f"{source} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ResultsError(
            f"{source} is not valid JSON ({error}). Delete it and run again to write it anew."
        ) from error


def require_free(folder: Path, names: Sequence[str], what: str) -> None:
    """Refuse a folder in which files of ours would replace others of the same names.

    Args:
        folder: where `what` is to go; it need not exist.

    Raises:
        ResultsError: it is a file, or holds one of `names`.
    """
    if folder.exists() and not folder.is_dir():
        raise ResultsError(f"{shown(folder)} is a file. Name a folder for {what}.")
    if there := [name for name in names if (folder / name).exists()]:
        raise ResultsError(
            f"{shown(folder / there[0])} is of something else, and would be replaced. Name another "
            f"folder for {what}, or move that file."
        )

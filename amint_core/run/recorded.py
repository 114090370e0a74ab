"""Recorded activations, kept for the next head on the same model.

On a CPU they are memory-mapped files under `AMINT_CACHE/activations`, in folders named by all that
they follow from; `DISK_BUDGET` bounds them. On a GPU they are in its memory and nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from amint_core import provenance
from amint_core.errors import CacheError, ResultsError
from amint_core.files import UNFINISHED, clear_unfinished, in_words, own_folder
from amint_core.locations import cache_root, shown
from amint_core.store import changed, hashes, read_sealed, set_aside, write_sealed
from amint_core.training.activations import (
    Part,
    Recording,
    activation_file,
    opened,
    record,
    shapes_of,
    size_of,
)
from amint_core.training.resident import Resident
from amint_core.training.transcript import state_digest

DISK_BUDGET = 40 * 2**30  # bytes of all recordings together; those used longest ago go first


def recorded(
    audited: nn.Module,
    taps: Sequence[str],
    images: Resident,
    parts: Sequence[Part],
    seed: int = 0,
    half: bool = True,
    low_pass: bool = False,
    *,
    fingerprint: str,
) -> Recording:
    """Return the activations of all parts, from files where the same were recorded before.

    Args:
        audited, taps, images, parts, seed, half, low_pass: see `activations.record`.
        fingerprint: of the dataset that the rows point into, and of what else the activations
            follow from, such as the code of a model from outside the package.

    Raises:
        CacheError: they would take more than `DISK_BUDGET`, or more than the disk has; or the
            folder cannot be read or written.
    """
    if images.pixels.device.type != "cpu":
        return record(audited, taps, images, parts, seed, half=half, low_pass=low_pass)
    identity = _identity(audited, taps, parts, seed, half, low_pass) | {"data": fingerprint}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    folder = cache_root() / "activations" / key
    count = sum(len(part.rows) for part in parts)
    shapes = shapes_of(audited, taps, images, half)
    with suppress(OSError):  # there is none, or it is another user's
        os.utime(folder / "identity.json")  # used last; before it is read, lest room is made of it
    try:
        if _is_whole(folder):
            return opened(folder, taps, shapes, count)
        _make_room(folder.parent, size_of(shapes, count))
        with own_folder(folder.parent) as outside:
            own = outside / key
            own.mkdir()
            recording = record(audited, taps, images, parts, seed, own, half, low_pass)
            files = hashes(activation_file(own, tap) for tap in taps)
            write_sealed(own / "identity.json", {**identity, "files": files})
            with suppress(OSError):  # another process has recorded the same meanwhile
                own.rename(folder)
        return recording  # maps stay what they are, wherever the file is
    except OSError as error:
        raise CacheError(
            f"Could not record activations in {shown(folder.parent)}, or read them there: "
            f"{in_words(error, folder.parent)}. Free some space, mend the permissions, or name "
            "another folder by AMINT_CACHE; nothing is lost."
        ) from error


def _identity(
    audited: nn.Module,
    taps: Sequence[str],
    parts: Sequence[Part],
    seed: int,
    half: bool,
    low_pass: bool,
) -> dict[str, Any]:
    return {
        "weights": state_digest(audited.state_dict()),
        "taps": list(taps),
        "rows": [state_digest(part.rows) for part in parts],
        "moves": [[part.copies.share, *part.copies.transformations] for part in parts],
        "seed": seed,
        "half": half,
        "low pass": low_pass,
        "code": provenance.code_fingerprint("amint_core.training.activations"),
        "torch": torch.__version__,
    }


def _is_whole(folder: Path) -> bool:
    """Tell whether a recording is there and undamaged; another is set aside."""
    if not folder.is_dir():
        return False
    try:
        if not changed(folder, read_sealed(folder / "identity.json").get("files", {"": ""})):
            return True
    except ResultsError:
        pass
    with suppress(FileNotFoundError):  # another process has made room meanwhile
        set_aside(folder)
    return False


def _make_room(folder: Path, size: int) -> None:
    """Delete the recordings used longest ago until `size` bytes fit into the budget."""
    folder.mkdir(parents=True, exist_ok=True)
    clear_unfinished(folder)
    whole = (one for one in folder.iterdir() if one.is_dir() and UNFINISHED not in one.name)
    kept = sorted(map(_Kept.of, whole), key=lambda one: one.used, reverse=True)
    free = shutil.disk_usage(folder).free + sum(one.size for one in kept)
    room = min(DISK_BUDGET, free)
    if size > room:
        raise CacheError(
            f"The activations would take {size / 2**30:.1f} GiB, but {shown(folder)} may hold "
            f"{DISK_BUDGET / 2**30:.0f} GiB and the disk has {free / 2**30:.1f} for them. Lower "
            "external, head_copies or members, take deeper taps, or name another folder by "
            "AMINT_CACHE."
        )
    total = size
    for one in kept:
        total += one.size
        if total > room:
            shutil.rmtree(one.folder, ignore_errors=True)


@dataclass(frozen=True)
class _Kept:
    """A recording on disk."""

    folder: Path
    size: int  # bytes
    used: float  # when last, by its files

    @classmethod
    def of(cls, folder: Path) -> _Kept:
        found = []
        with suppress(FileNotFoundError):  # another process makes room, too
            found = [file.stat() for file in folder.iterdir()]
        size = sum(one.st_size for one in found)
        return cls(folder, size, max((one.st_mtime for one in found), default=0.0))

"""Keep decoded images as memory-mapped arrays, so that decoding happens once.

A cache is one folder: `pixels` (N, H, W, C) uint8, `labels`, `groups`, `hashes` and `official_test`
as `.npy`, `files.txt` (the source files as they were) and `description.json`, which holds the
SHA-256 of all these. It is written under a temporary name and renamed, so it is whole or absent.
Every array is checked when it is opened, which reads it once; a damaged cache is set aside and
decoded again.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from amint_core.data.base import Dataset, DatasetSpec
from amint_core.data.building import build, listing
from amint_core.data.sources import Source
from amint_core.errors import CacheError, DamagedError, ResultsError, printable
from amint_core.locations import cache_root, shown
from amint_core.memory import is_of_memory
from amint_core.store import changed, read_sealed, set_aside

VERSION = 2  # of the format and of the decoding; a new one decodes anew
#: Array → type.
KINDS = {"pixels": "u1", "labels": "i8", "groups": "i8", "hashes": "S32", "official_test": "?"}


def load_cached(
    spec: DatasetSpec, image_size: int, source: Source, *, progress: bool, rebuild: bool = False
) -> Dataset:
    """Open the cache of a dataset, decoding its files first where there is none.

    Raises:
        DataError: a source file is broken, or the disk is full.
        CacheError: the files changed since they were decoded.
    """
    folder = cache_folder(spec, image_size, source)
    whole = None if rebuild else _whole(folder)
    if whole is None:
        with _sole_writer(folder, spec, rebuild):
            whole = _whole(folder)
            if whole is None:
                if folder.is_dir():
                    set_aside(folder)
                build(folder, spec, image_size, source, progress)
                whole = _read(folder)
    description, arrays = whole
    _check_unchanged(folder, spec, source, description)
    return Dataset(
        spec=spec,
        source="real",
        **arrays,
        class_names=tuple(description["class_names"]),
        fingerprint=description["fingerprint"],
        notes=(*_notes(spec, arrays["official_test"], description), *description["notes"]),
    )


def cache_folder(spec: DatasetSpec, image_size: int, source: Source) -> Path:
    """Return the cache's folder: one per dataset, size, channels, format and source folder."""
    place = str(source.folder.resolve()).encode("utf-8", "surrogateescape")
    key = hashlib.sha256(place).hexdigest()[:10]
    name = re.sub(r"[^\w.-]", "_", spec.name)[-40:]
    return cache_root() / f"{name}-{image_size}x{spec.channels}-v{VERSION}-{key}"


def _whole(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Return what `_read` does, or None where there is no cache or a file is damaged."""
    try:
        return _read(folder)
    except ResultsError:
        return None
    except Exception as error:  # numpy raises nearly every kind over what it did not write
        if isinstance(error, OSError) or is_of_memory(error):
            raise
        return None


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a cache's description, and its arrays as memory maps, if they are what `build` makes.

    Raises:
        ResultsError: there is no description, or a file is damaged.
        ValueError: among others: it is another version's.
    """
    description = read_sealed(folder / "description.json")
    if set(description["files"]) != {*(f"{kind}.npy" for kind in KINDS), "files.txt"}:
        raise ValueError("hashes of other files")
    if changed(folder, description["files"]):
        raise DamagedError(f"{shown(folder)} is damaged.")
    arrays = {kind: np.load(folder / f"{kind}.npy", mmap_mode="r") for kind in KINDS}
    names = list(description["class_names"])
    texts = [description["fingerprint"], *names, *description["notes"]]
    count, labels = len(arrays["pixels"]), arrays["labels"]
    shapes = {kind: (count,) for kind in KINDS} | {"pixels": (count, *arrays["pixels"].shape[1:])}
    forms = {kind: (array.dtype, array.shape) for kind, array in arrays.items()}
    if forms != {kind: (np.dtype(dtype), shapes[kind]) for kind, dtype in KINDS.items()}:
        raise ValueError("arrays of other types or shapes")
    if arrays["pixels"].ndim != 4 or not 0 <= labels.min() <= labels.max() < len(names):
        raise ValueError("pixels of another shape, or labels of no class")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("names that are no texts")
    return description, arrays


def _notes(
    spec: DatasetSpec, official_test: np.ndarray, description: Mapping[str, Any]
) -> list[str]:
    notes, classes = list(spec.notes), len(description["class_names"])
    for part, count in (("pool", (~official_test).sum()), ("test", official_test.sum())):
        official = spec.official_sizes.get(part, count)
        if count != official:
            notes.append(f"{part}: {count:,} images; the official release has {official:,}.")
    if classes != spec.num_classes:
        notes.append(f"{classes:,} classes; the official release has {spec.num_classes:,}.")
    return notes


def _check_unchanged(
    folder: Path, spec: DatasetSpec, source: Source, description: Mapping[str, Any]
) -> None:
    listed = listing(source)
    if hashlib.sha256(listed).hexdigest() == description["files"]["files.txt"]:
        return
    now, before = _stamps(listed), _stamps((folder / "files.txt").read_bytes())
    other = [name for name in now if before.get(name, now[name]) != now[name]]
    changes = [
        *(f"{printable(name)} was added" for name in sorted(now.keys() - before.keys())),
        *(f"{printable(name)} was removed" for name in sorted(before.keys() - now.keys())),
        *(f"{printable(name)} was changed" for name in other),
    ]
    more = f" and {len(changes) - 3:,} more changes" if len(changes) > 3 else ""
    raise CacheError(
        f"{spec.title}: the files in {shown(source.folder)} changed since they were decoded: "
        f"{'; '.join(changes[:3])}{more}. Delete {shown(folder)}, or call load({spec.name!r}, "
        "rebuild=True), to decode the files again. The dataset then gets another fingerprint if "
        "its images differ."
    )


def _stamps(listed: bytes) -> dict[str, str]:
    """Map the name of each file in a listing to its size and time of change."""
    lines = listed.decode("utf-8", "surrogateescape").split("\n")
    rows = (line.split(" ", 2) for line in lines if line.count(" ") >= 2)
    return {name: f"{size} {time}" for size, time, name in rows}


@contextmanager
def _sole_writer(folder: Path, spec: DatasetSpec, rebuild: bool) -> Iterator[None]:
    """Let one process at a time write a cache; clear what a killed one left."""
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if rebuild:
                shutil.rmtree(folder, ignore_errors=True)
            for leftover in folder.parent.glob(f".{folder.name}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            yield
    except (OSError, ResultsError) as error:
        raise CacheError(
            f"Could not decode {spec.title} into {shown(folder.parent)}: {error}. Free some space, "
            "or name another folder in AMINT_CACHE. Nothing half written is left."
        ) from error

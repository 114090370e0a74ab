"""Keep decoded images as memory-mapped arrays, so that decoding happens once.

A cache is one folder: `pixels` (N, H, W, C) uint8, `labels`, `groups`, `hashes` and `official_test`
as `.npy`, `files.txt` (the source files as they were) and `description.json`. It is written under a
temporary name and renamed, so it is whole or absent.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from amint_core.data.base import Dataset, DatasetSpec
from amint_core.data.building import Sources, build, listing, listing_digest
from amint_core.errors import CacheError
from amint_core.locations import cache_root, shown

VERSION = 2  # of the format and of the decoding; a new one decodes anew


def load_cached(
    spec: DatasetSpec, image_size: int, sources: Sources, *, progress: bool, rebuild: bool = False
) -> Dataset:
    """Open the cache of a dataset, decoding its files first where there is none.

    Raises:
        DataError: a source file is broken, or the disk is full.
        CacheError: the cache is damaged, or the files changed since it was made.
    """
    folder = cache_folder(spec, image_size, sources)
    if rebuild or not folder.is_dir():
        with _sole_writer(folder, spec, rebuild):
            if not folder.is_dir():
                build(folder, spec, image_size, sources, progress)
    description = _description(folder)
    _check_unchanged(folder, spec, sources, description)
    arrays = _open(folder, description)
    return Dataset(
        spec=spec,
        source="real",
        **arrays,
        class_names=tuple(description["class_names"]),
        fingerprint=description["fingerprint"],
        notes=(*_notes(spec, arrays["official_test"], description), *description["notes"]),
    )


def cache_folder(spec: DatasetSpec, image_size: int, sources: Sources) -> Path:
    """Return the cache's folder: one per dataset, size, channels, format and source folder."""
    places = "\n".join(str(sources[part].folder.resolve()) for part in sorted(sources))
    key = hashlib.sha256(places.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return cache_root() / f"{spec.name}-{image_size}x{spec.channels}-v{VERSION}-{key}"


def _notes(
    spec: DatasetSpec, official_test: np.ndarray, description: Mapping[str, Any]
) -> list[str]:
    notes, names = list(spec.notes), description["class_names"]
    for part, count in (("pool", (~official_test).sum()), ("test", official_test.sum())):
        official = spec.official_sizes.get(part, count)
        if count != official:
            notes.append(f"{part}: {count:,} images; the official release has {official:,}.")
    if len(names) != spec.num_classes:
        notes.append(f"{len(names):,} classes; the official release has {spec.num_classes:,}.")
    return notes


def _remedy(folder: Path, name: str) -> str:
    return (
        f"Delete {shown(folder)}, or call load({name!r}, rebuild=True), to decode the files again."
    )


def _description(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "description.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CacheError(
            f"The cache {shown(folder)} is damaged: description.json cannot be read ({error}). "
            f"{_remedy(folder, folder.name.split('-')[0])}"
        ) from error


def _open(folder: Path, description: Mapping[str, Any]) -> dict[str, np.ndarray]:
    shape = tuple(description["shape"])
    expected = {
        "pixels": (shape, np.uint8),
        "labels": (shape[:1], np.int64),
        "groups": (shape[:1], np.int64),
        "hashes": (shape[:1], np.dtype("S32")),
        "official_test": (shape[:1], np.bool_),
    }
    arrays = {}
    for kind, (size, dtype) in expected.items():
        path = folder / f"{kind}.npy"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise CacheError(
                f"The cache {shown(folder)} is damaged: {path.name} cannot be read ({error}). "
                f"{_remedy(folder, description['dataset'])}"
            ) from error
        if array.shape != size or array.dtype != dtype:
            raise CacheError(
                f"The cache {shown(folder)} is damaged: {path.name} holds {array.shape} "
                f"{array.dtype}, not {size} {np.dtype(dtype)}. "
                f"{_remedy(folder, description['dataset'])}"
            )
        arrays[kind] = array
    return arrays


def _check_unchanged(
    folder: Path, spec: DatasetSpec, sources: Sources, description: Mapping[str, Any]
) -> None:
    now = listing(sources)
    if listing_digest(now) == description["source"]["digest"]:
        return
    text = (folder / "files.txt").read_text(encoding="utf-8", errors="surrogateescape")
    before = {name: f"{size} {time}" for size, time, name in _rows(text)}
    changes = [
        *(f"{name} was added" for name in sorted(now.keys() - before.keys())),
        *(f"{name} was removed" for name in sorted(before.keys() - now.keys())),
        *(
            f"{name} was changed"
            for name in sorted(now)
            if before.get(name, now[name]) != now[name]
        ),
    ]
    more = f" and {len(changes) - 3:,} more changes" if len(changes) > 3 else ""
    raise CacheError(
        f"{spec.title}: the files in {shown(sources['pool'].folder)} changed since they were "
        f"decoded: {'; '.join(changes[:3])}{more}. {_remedy(folder, spec.name)} The dataset then "
        "gets another fingerprint if its images differ."
    )


def _rows(text: str) -> Iterator[list[str]]:
    return (line.split(" ", 2) for line in text.split("\n") if line)


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
    except OSError as error:
        raise CacheError(
            f"Could not decode {spec.title} into {shown(folder.parent)}: {error}. Free some space, "
            "or name another folder in AMINT_CACHE. Nothing half written is left."
        ) from error

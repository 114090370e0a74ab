"""Decode a dataset's files into the arrays of its cache, in constant memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from amint_core.data.base import DatasetSpec
from amint_core.data.decode import Decoded, decode
from amint_core.data.entries import passed_over, reading
from amint_core.data.hashes import fingerprint, image_hashes
from amint_core.data.sources import Item, Part, Source
from amint_core.errors import DataError
from amint_core.locations import shown
from amint_core.progress import progress_bar
from amint_core.store import hashes, write_sealed

CHUNK_BYTES = 2**22  # of decoded pixels held in memory at a time


def build(folder: Path, spec: DatasetSpec, image_size: int, source: Source, progress: bool) -> None:
    """Decode all images into `folder`, which appears whole or not at all.

    Raises:
        DataError: a file is broken, or the files do not belong together.
        OSError: the disk is full or not writable.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        description = _write(temporary, spec, image_size, source, progress)
        (temporary / "files.txt").write_bytes(listing(source))
        files = hashes(sorted(temporary.iterdir()))
        write_sealed(temporary / "description.json", {**description, "files": files})
        temporary.chmod(0o755)  # mkdtemp makes private folders; a cache may be shared
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def listing(source: Source) -> bytes:
    """Return a line per source file: size, time of change, and place in the source folder."""
    start = len(str(source.folder)) + 1
    lines = {f.path[start:]: f"{f.size} {f.mtime_ns} {f.path[start:]}\n" for f in source.files}
    return "".join(lines[name] for name in sorted(lines)).encode("utf-8", "surrogateescape")


def _write(
    folder: Path, spec: DatasetSpec, image_size: int, source: Source, progress: bool
) -> dict[str, Any]:
    """Write the arrays, the pool's images before the test set's, and describe them."""
    with reading(f"{spec.title} in {shown(source.folder)}", spec.obtain):
        content = source.read()
    parts, names = {"pool": content.pool, "test": content.test}, content.class_names
    for name, part in parts.items():
        _check_labels(name, part.labels, len(names), source.folder, spec)
    counts = [len(part.labels) for part in parts.values()]
    shape = (sum(counts), image_size, image_size, spec.channels)
    content_hashes, notes = _write_pixels(folder / "pixels.npy", shape, parts, spec, progress)
    arrays = {
        "labels": np.concatenate([part.labels for part in parts.values()]).astype(np.int64),
        "groups": _groups(parts.values()),
        "official_test": np.repeat([False, True], counts),
    }
    for kind, array in {**arrays, "hashes": content_hashes}.items():
        np.save(folder / f"{kind}.npy", array)
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    return {
        "dataset": spec.name,
        "class_names": names,
        "fingerprint": fingerprint(pixels, **arrays),
        "notes": [*source.notes, *passed_over(source.home or source.folder, source.files), *notes],
    }


def _check_labels(
    name: str, labels: np.ndarray, classes: int, folder: Path, spec: DatasetSpec
) -> None:
    """Refuse a part without images, or with labels that are no class (-1 is the hub's for none).

    Such a label would fail in training only, where a loss indexes by it.
    """
    if not len(labels):
        raise DataError(f"{shown(folder)} holds no image of the {name}. {spec.obtain}")
    odd = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(odd):
        from_one = " They seem to count from 1: count from 0." * bool(
            labels.min() == 1 and labels.max() == classes
        )
        raise DataError(
            f"{shown(folder)}: image {odd[0]:,} of the {name} has label {labels[odd[0]]}, but "
            f"{spec.title} has the classes 0 to {classes - 1}: these are damaged files, or another "
            f"dataset's.{from_one} Replace them. {spec.obtain}"
        )


def _groups(parts: Iterable[Part]) -> np.ndarray:
    """Return (N,) int64 group numbers, none of which stands in both parts."""
    groups, start = [], 0
    for part in parts:
        own = np.arange(len(part.labels)) if part.tracks is None else part.tracks
        groups.append(own.astype(np.int64) + start)
        start = int(groups[-1].max()) + 1
    return np.concatenate(groups)


def _write_pixels(
    path: Path,
    shape: tuple[int, ...],
    parts: Mapping[str, Part],
    spec: DatasetSpec,
    progress: bool,
) -> tuple[np.ndarray, list[str]]:
    """Stream the pixels into `path`; return the images' hashes and the notes on them.

    A plain file is written rather than a memory map, which on a full disk kills the process.
    """
    found, notes, title = [], [], f"Decoding {spec.title}"
    with path.open("wb") as file, progress_bar(shown=progress, total=shape[0], desc=title) as bar:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for name, part in parts.items():
            count = changed = 0
            for chunk in _chunks(part.items, spec, shape[1]):
                pixels = np.stack([image.pixels for image in chunk])
                file.write(pixels.data)
                found.append(image_hashes(pixels))
                changed += sum(image.changed for image in chunk)
                count += len(chunk)
                bar.update(len(chunk))
            _check_part(count, changed, part, spec)
            notes += [f"{name}: {note}" for note in part.notes]
            if changed and spec.channels == 3:
                notes.append(f"{name}: {changed:,} grey images were given three channels.")
            elif changed:
                notes.append(f"{name}: {changed:,} grey images were saved in colour.")
    return np.concatenate(found), notes


def _check_part(count: int, grey: int, part: Part, spec: DatasetSpec) -> None:
    """Refuse a part without a label for each image, or a known dataset's of grey images alone."""
    if count != len(part.labels):
        raise DataError(
            f"{spec.title}: {count:,} images, but {len(part.labels):,} labels: the files do not "
            f"belong together. {spec.obtain}"
        )
    if spec.channels == 3 and grey == count and spec.official_sizes:
        raise DataError(
            f"{spec.title}: all {count:,} images of a part are grey (1 channel), but the dataset "
            f"is in colour (3 channels). These are other images, or converted ones. {spec.obtain}"
        )


def _chunks(items: Iterable[Item], spec: DatasetSpec, image_size: int) -> Iterator[list[Decoded]]:
    """Decode in order, some 4 MiB at a time, on several threads (Pillow frees the interpreter)."""
    size = max(1, CHUNK_BYTES // (image_size * image_size * spec.channels))
    decode_one = partial(decode, spec=spec, image_size=image_size)
    walk = iter(items)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        while True:
            with reading(f"{spec.title}: an image", spec.obtain):
                images = list(threads.map(decode_one, islice(walk, size)))
            if not images:
                return
            yield images

"""Decode a dataset's files into the arrays of its cache, in constant memory."""

from __future__ import annotations

import hashlib
import json
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
from tqdm import tqdm

from amint_core.data.base import DatasetSpec, Part
from amint_core.data.decode import Decoded, decode
from amint_core.data.identity import Fingerprint, image_hashes
from amint_core.data.sources import Content, Item, Source
from amint_core.errors import DataError
from amint_core.locations import shown
from amint_core.progress import progress_bar

CHUNK_BYTES = 2**22  # of decoded pixels held in memory at a time
Sources = Mapping[Part, Source]


def build(
    folder: Path, spec: DatasetSpec, image_size: int, sources: Sources, progress: bool
) -> None:
    """Decode all images into `folder`, which appears whole or not at all.

    Raises:
        DataError: a file is broken, or the files do not belong together.
        OSError: the disk is full or not writable.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        description = _write_parts(temporary, spec, image_size, sources, progress)
        files = listing(sources)
        description["source"] = {"files": len(files), "digest": listing_digest(files)}
        lines = "".join(f"{stamp} {name}\n" for name, stamp in sorted(files.items()))
        (temporary / "files.txt").write_text(lines, encoding="utf-8", errors="surrogateescape")
        (temporary / "description.json").write_text(json.dumps(description), encoding="utf-8")
        temporary.chmod(0o755)  # mkdtemp makes private folders; a cache may be shared
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def listing(sources: Sources) -> dict[str, str]:
    """Map each source file, by its place in the source folder, to its size and time of change."""
    return {
        file.path[len(str(source.folder)) + 1 :]: f"{file.size} {file.mtime_ns}"
        for source in sources.values()
        for file in source.files
    }


def listing_digest(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of a listing."""
    lines = "".join(f"{stamp} {name}\n" for name, stamp in sorted(files.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _write_parts(
    folder: Path, spec: DatasetSpec, image_size: int, sources: Sources, progress: bool
) -> dict[str, Any]:
    total, shapes, notes, first_group = Fingerprint(), {}, [], 0
    names: tuple[str, ...] = ()
    for part, source in sources.items():
        content = source.read()
        labels = content.labels.astype(np.int64)
        groups = np.arange(len(labels)) if content.groups is None else content.groups
        groups = groups.astype(np.int64) + first_group  # no group number stands in both parts
        names = content.class_names
        shape = (len(labels), image_size, image_size, spec.channels)
        if not len(labels):
            raise DataError(f"{shown(source.folder)} holds no image of the {part}. {spec.obtain}")
        total.start(part, shape)
        with progress_bar(
            shown=progress, total=len(labels), desc=f"Decoding {spec.title} ({part})"
        ) as bar:
            hashes, grey = _write_pixels(
                folder / f"{part}-pixels.npy", shape, content, spec, total, bar
            )
        total.finish(labels, groups)
        for kind, array in (("labels", labels), ("groups", groups), ("hashes", hashes)):
            np.save(folder / f"{part}-{kind}.npy", array)
        shapes[part], first_group = shape, int(groups.max()) + 1
        notes += [f"{part}: {note}" for note in source.notes]
        if grey and spec.channels == 3:
            notes.append(f"{part}: {grey:,} grey images were given three channels.")
    return {
        "dataset": spec.name,
        "parts": shapes,
        "class_names": names,
        "fingerprint": total.hexdigest(),
        "notes": notes,
    }


def _write_pixels(
    path: Path,
    shape: tuple[int, ...],
    content: Content,
    spec: DatasetSpec,
    total: Fingerprint,
    bar: tqdm,
) -> tuple[np.ndarray, int]:
    """Stream the pixels into `path`; return the images' hashes and how many were grey.

    A plain file is written rather than a memory map, which on a full disk kills the process.
    """
    hashes, grey = [], 0
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in _chunks(content.items, spec, shape[1]):
            pixels = np.stack([image.pixels for image in chunk])
            grey += sum(image.was_grey for image in chunk)
            file.write(pixels.data)
            total.pixels(pixels)
            hashes.append(image_hashes(pixels))
            bar.update(len(chunk))
    count = sum(map(len, hashes))
    if count != len(content.labels):
        raise DataError(
            f"{spec.title}: {count:,} images, but {len(content.labels):,} labels: the files do not "
            f"belong together. {spec.obtain}"
        )
    if spec.channels == 3 and grey == count:
        raise DataError(
            f"{spec.title}: all {count:,} images of a part are grey (1 channel), but the dataset "
            f"is in colour (3 channels). These are other images, or converted ones. {spec.obtain}"
        )
    return np.concatenate(hashes), grey


def _chunks(items: Iterable[Item], spec: DatasetSpec, image_size: int) -> Iterator[list[Decoded]]:
    """Decode in order, some 4 MiB at a time, on several threads (Pillow frees the interpreter)."""
    size = max(1, CHUNK_BYTES // (image_size * image_size * spec.channels))
    decode_one = partial(decode, spec=spec, image_size=image_size)
    walk = iter(items)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        while chunk := list(islice(walk, size)):
            yield list(threads.map(decode_one, chunk))

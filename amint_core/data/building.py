"""Decode a dataset's files into the arrays of its cache, in constant memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from amint_core.data.base import DatasetSpec, Part
from amint_core.data.decode import Decoded, decode
from amint_core.data.identity import fingerprint, image_hashes
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
        description = _write(temporary, spec, image_size, sources, progress)
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


def _write(
    folder: Path, spec: DatasetSpec, image_size: int, sources: Sources, progress: bool
) -> dict[str, Any]:
    """Write the arrays, the pool's images before the test set's, and describe them."""
    contents = {part: source.read() for part, source in sources.items()}
    counts = {part: len(content.labels) for part, content in contents.items()}
    for part, count in counts.items():
        if not count:
            raise DataError(
                f"{shown(sources[part].folder)} holds no image of the {part}. {spec.obtain}"
            )
    labels = np.concatenate([content.labels.astype(np.int64) for content in contents.values()])
    names = contents["pool"].class_names
    _check_labels(labels, names, spec)
    shape = (len(labels), image_size, image_size, spec.channels)
    hashes, grey = _write_pixels(folder / "pixels.npy", shape, contents, spec, progress)
    groups = _groups(contents)
    official_test = np.repeat([part == "test" for part in counts], list(counts.values()))
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")
    arrays = {"labels": labels, "groups": groups, "hashes": hashes, "official_test": official_test}
    for kind, array in arrays.items():
        np.save(folder / f"{kind}.npy", array)
    return {
        "dataset": spec.name,
        "shape": shape,
        "class_names": names,
        "fingerprint": fingerprint(pixels, labels, groups, official_test),
        "notes": [
            *(f"{part}: {note}" for part, source in sources.items() for note in source.notes),
            *(
                f"{part}: {count:,} grey images were given three channels."
                for part, count in grey.items()
                if count and spec.channels == 3
            ),
        ],
    }


def _check_labels(labels: np.ndarray, names: Sequence[str], spec: DatasetSpec) -> None:
    """Refuse labels that are no class, before they reach a loss that indexes by them."""
    odd = np.flatnonzero((labels < -1) | (labels >= len(names)))
    if len(odd):
        raise DataError(
            f"{spec.title}: image {odd[0]:,} has label {labels[odd[0]]}, but the classes are 0 to "
            f"{len(names) - 1}: the files are damaged. Delete them and fetch them again. "
            f"{spec.obtain}"
        )


def _groups(contents: Mapping[Part, Content]) -> np.ndarray:
    """Return (N,) group numbers, none of which stands in both parts."""
    groups, first = [], 0
    for content in contents.values():
        own = np.arange(len(content.labels)) if content.groups is None else content.groups
        groups.append(own.astype(np.int64) + first)
        first = int(groups[-1].max()) + 1
    return np.concatenate(groups)


def _write_pixels(
    path: Path,
    shape: tuple[int, ...],
    contents: Mapping[Part, Content],
    spec: DatasetSpec,
    progress: bool,
) -> tuple[np.ndarray, dict[Part, int]]:
    """Stream the pixels into `path`; return the images' hashes and how many were grey by part.

    A plain file is written rather than a memory map, which on a full disk kills the process.
    """
    hashes, grey = [], {}
    title = f"Decoding {spec.title}"
    with path.open("wb") as file, progress_bar(shown=progress, total=shape[0], desc=title) as bar:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part, content in contents.items():
            done, grey[part] = 0, 0
            for chunk in _chunks(content.items, spec, shape[1]):
                pixels = np.stack([image.pixels for image in chunk])
                grey[part] += sum(image.was_grey for image in chunk)
                file.write(pixels.data)
                hashes.append(image_hashes(pixels))
                done += len(chunk)
                bar.update(len(chunk))
            _check_part(done, grey[part], content, spec)
    return np.concatenate(hashes), grey


def _check_part(count: int, grey: int, content: Content, spec: DatasetSpec) -> None:
    """Refuse a part without a label for each image, or one of grey images alone."""
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


def _chunks(items: Iterable[Item], spec: DatasetSpec, image_size: int) -> Iterator[list[Decoded]]:
    """Decode in order, some 4 MiB at a time, on several threads (Pillow frees the interpreter)."""
    size = max(1, CHUNK_BYTES // (image_size * image_size * spec.channels))
    decode_one = partial(decode, spec=spec, image_size=image_size)
    walk = iter(items)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        while chunk := list(islice(walk, size)):
            yield list(threads.map(decode_one, chunk))

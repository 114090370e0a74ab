"""A dataset in one small file, for a machine that sees no network and little disk.

`python -m amint_core.data.packed NAME FOLDER` writes FOLDER/NAME-SIZE.packed from the files in
`AMINT_DATA`; `load_packed` reads it. The file is a zip archive: `description.json`, labels and
groups, and the images of the pool and of the test set, either as their own JPEG files, compressed
together (their headers are the same), or as decoded pixels, lossless: in colour as WebP, in grey as
they are, compressed. What comes out is compared with the dataset's fingerprint.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from amint_core.data import DATASETS, load
from amint_core.data.base import Dataset, DatasetSpec
from amint_core.data.decode import decode
from amint_core.data.entries import MOST_TEXT, reading
from amint_core.data.hashes import fingerprint, image_hashes
from amint_core.data.sources import Item, Part
from amint_core.errors import AmintError, DataError
from amint_core.files import atomic_path
from amint_core.locations import data_root, shown

STRIP = 30  # images in one lossless WebP: a track of GTSRB
CHUNK = 1000  # JPEG files that a process decodes at a time
_LZMA = {"preset": 9}


def packed_file(folder: Path, name: str, image_size: int) -> Path:
    """Return the file of a dataset at a size in `folder`."""
    return folder / f"{name}-{image_size}.packed"


def pack(name: str, folder: Path, image_size: int | None = None) -> Path:
    """Write a dataset as one small file and return its path.

    Args:
        name: a name of `DATASETS`.
        folder: where the file goes.
        image_size: pixels a side; None: the dataset's own.

    Raises:
        DataError: the dataset's files are missing or damaged.
    """
    dataset = load(name, image_size=image_size)
    target = packed_file(folder, name, dataset.image_size)
    content = dataset.spec.find(Path(data_root())).read()
    description: dict[str, Any] = {
        "dataset": name,
        "image_size": dataset.image_size,
        "class_names": dataset.class_names,
        "fingerprint": dataset.fingerprint,
        "notes": dataset.notes,
        "forms": {},
        "pool": int((~dataset.official_test).sum()),
    }
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for part in ("pool", "test"):
            rows = np.flatnonzero(dataset.official_test == (part == "test"))
            form, images = _encoded(dataset, rows, getattr(content, part))
            description["forms"][part] = form
            archive.writestr(f"{part}.images", images)
        for kind in ("labels", "groups"):
            values = np.asarray(getattr(dataset, kind)).astype(np.int32)
            archive.writestr(kind, lzma.compress(values.tobytes(), **_LZMA))
        archive.writestr("description.json", json.dumps(description))
    return target


def load_packed(path: Path) -> Dataset:
    """Read a dataset from its packed file, all of it into memory.

    Pixels of JPEG files follow from this machine's decoder; where they differ from those packed,
    the dataset says so in its notes and has a fingerprint of its own.

    Raises:
        DataError: the file is missing or damaged.
    """
    with reading(shown(path), "Pack it again."), zipfile.ZipFile(path) as archive:
        description = _checked(json.loads(_member(archive, "description.json", MOST_TEXT)))
        spec = DATASETS[description["dataset"]]
        labels, groups = (
            np.frombuffer(_unpacked(_member(archive, kind, MOST_TEXT), MOST_TEXT), np.int32)
            for kind in ("labels", "groups")
        )
        official_test = np.arange(len(labels)) >= description["pool"]
        counts = {"pool": description["pool"], "test": int(official_test.sum())}
        pixels = [_pixels(archive, part, counts[part], description, spec) for part in counts]
        arrays = {"pixels": np.concatenate(pixels), "official_test": official_test}
        arrays |= {"labels": labels.astype(np.int64), "groups": groups.astype(np.int64)}
        if {len(one) for one in arrays.values()} != {len(labels)}:
            raise ValueError("parts of different lengths")
    found, notes = fingerprint(**arrays), tuple(description["notes"])
    if found != description["fingerprint"]:
        if set(description["forms"].values()) != {"files"}:
            raise DataError(f"{shown(path)}: its pixels are not those packed. Pack it again.")
        notes = (*notes, "JPEG files decoded to other pixels than on the machine that packed them.")
    return Dataset(
        spec=spec,
        source="real",
        **arrays,
        hashes=image_hashes(arrays["pixels"]),
        class_names=tuple(description["class_names"]),
        fingerprint=found,
        notes=notes,
    )


def _checked(description: dict[str, Any]) -> dict[str, Any]:
    """Refuse a description whose numbers and texts are none."""
    sizes = [description["image_size"], description["pool"]]
    texts = [description["fingerprint"], *description["class_names"], *description["notes"]]
    if any(type(size) is not int or size < 0 for size in sizes) or not 4 <= sizes[0] <= 1024:
        raise ValueError("sizes that no images have")
    if any(type(text) is not str for text in texts):
        raise ValueError("names that are no texts")
    return description


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Read a member, which is stored as it is and is no longer than it can be."""
    found = archive.getinfo(name)
    if found.file_size > most or found.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} has {found.file_size:,} bytes, or was packed by something else")
    return archive.read(name)


def _unpacked(content: bytes, most: int) -> bytes:
    """Unpack at most so many bytes: a few may unpack to any number."""
    unpacker = lzma.LZMADecompressor()
    found = unpacker.decompress(content, most + 1)
    if len(found) > most or not unpacker.eof:
        raise ValueError(f"it would unpack to more than {most:,} bytes, or is cut short")
    return found


def _pixels(
    archive: zipfile.ZipFile, part: str, count: int, description: dict, spec: DatasetSpec
) -> np.ndarray:
    side, read = description["image_size"], _FORMS[description["forms"][part]]
    # No form takes much more than the pixels; a small JPEG file is mostly head.
    most = count * (2 * side * side * spec.channels + 4096) + 4096
    return read(_member(archive, f"{part}.images", most), count, side, spec)


def _encoded(dataset: Dataset, rows: np.ndarray, part: Part) -> tuple[str, bytes]:
    """Return the form and the bytes of a part's images."""
    files = _jpeg_files(dataset, part)
    if files is not None:
        sizes = np.array([len(one) for one in files], np.int32).tobytes()
        return "files", lzma.compress(sizes + b"".join(files), **_LZMA)
    pixels = np.asarray(dataset.pixels[rows])
    if dataset.channels == 3:
        return "strips", _strips(pixels)
    return "pixels", lzma.compress(pixels.tobytes(), **_LZMA)


def _jpeg_files(dataset: Dataset, part: Part) -> list[bytes] | None:
    """Return the bytes of a part's JPEG files, or None where it has other files, or larger ones."""
    contents = []
    for item in part.items:
        if not isinstance(item.data, str) or not item.data.lower().endswith((".jpg", ".jpeg")):
            return None
        content = Path(item.data).read_bytes()
        if Image.open(io.BytesIO(content)).size != (dataset.image_size,) * 2:
            return None
        contents.append(content)
    return contents


def _strips(pixels: np.ndarray) -> bytes:
    """Write neighbouring images one above the other as lossless WebP, `STRIP` at a time."""

    def strip(start: int) -> bytes:
        stacked = np.concatenate(pixels[start : start + STRIP])  # (STRIP · H, W, 3)
        target = io.BytesIO()
        Image.fromarray(stacked).save(target, "webp", lossless=True, quality=100, method=4)
        return target.getvalue()

    strips = list(_threads(strip, range(0, len(pixels), STRIP)))
    sizes = np.array([len(strips), *map(len, strips)], np.int32).tobytes()
    return sizes + b"".join(strips)


def _from_files(content: bytes, count: int, side: int, spec: DatasetSpec) -> np.ndarray:
    raw = _unpacked(content, count * (2 * side * side * spec.channels + 4096))
    items = [
        Item(f"image {number}", one)
        for number, one in enumerate(_cut(raw[4 * count :], raw[: 4 * count]))
    ]
    # In processes: for small images most of the time goes to Python, which threads share.
    several = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    decode_several = partial(_decoded, name=spec.name, side=side)
    workers = min(16, os.cpu_count() or 1, len(several))
    if workers == 1:
        return np.concatenate(list(map(decode_several, several)))
    with get_context("fork").Pool(workers) as pool:
        return np.concatenate(pool.map(decode_several, several, chunksize=1))


def _decoded(items: list[Item], name: str, side: int) -> np.ndarray:
    return np.stack([decode(item, DATASETS[name], side).pixels for item in items])


def _from_strips(content: bytes, count: int, side: int, spec: DatasetSpec) -> np.ndarray:
    strips = int(np.frombuffer(content[:4], np.int32)[0])
    parts = _cut(content[4 * strips + 4 :], content[4 : 4 * strips + 4])

    def pixels(strip: bytes) -> np.ndarray:
        image = Image.open(io.BytesIO(strip), formats=["WEBP"])
        if image.width != side or image.height > side * STRIP:
            raise ValueError(f"a strip of {image.width} × {image.height} pixels")
        return np.asarray(image.convert("RGB"))

    return np.concatenate(list(_threads(pixels, parts))).reshape(count, side, side, 3)


def _from_pixels(content: bytes, count: int, side: int, spec: DatasetSpec) -> np.ndarray:
    raw = _unpacked(content, count * side * side * spec.channels)
    return np.frombuffer(raw, np.uint8).reshape(count, side, side, spec.channels)


_FORMS: dict[str, Callable[[bytes, int, int, DatasetSpec], np.ndarray]] = {
    "files": _from_files,
    "strips": _from_strips,
    "pixels": _from_pixels,
}


def _cut(content: bytes, sizes: bytes) -> list[bytes]:
    """Cut content into pieces of these sizes, (N,) int32."""
    ends = np.cumsum(np.frombuffer(sizes, np.int32), dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    return [content[start:end] for start, end in zip(starts, ends, strict=True)]


def _threads(call: Callable, items) -> Iterator:
    """Call on each item, in order; Pillow frees the interpreter while it works."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as threads:
        yield from threads.map(call, items, chunksize=64)


def main(arguments: list[str] | None = None) -> int:
    """Pack a dataset from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m amint_core.data.packed", description=pack.__doc__.splitlines()[0]
    )
    parser.add_argument("name", metavar="NAME", help="a dataset")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="where the file goes")
    parser.add_argument("--size", type=int, help="pixels a side (default: the dataset's own)")
    options = parser.parse_args(arguments)
    try:
        target = pack(options.name, options.folder, options.size)
    except AmintError as error:
        print(f"amint: {error}", file=sys.stderr)
        return 2
    print(f"amint: {shown(target)}, {target.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

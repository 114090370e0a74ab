"""Read faces as insightface packs them: RecordIO, one file `train.rec` of labelled images.

The format is that of dmlc-core's recordio.h, with the header of mxnet's image records before each
image. The library that wrote such files, mxnet, is no longer maintained and has no builds for
current Pythons, hence a reader of our own.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from amint_core.data.entries import reading, seen
from amint_core.data.folders import as_part, class_order, set_aside
from amint_core.data.sources import Content, Item, Source
from amint_core.errors import DataError
from amint_core.locations import shown

FILE = "train.rec"
MAGIC = struct.pack("<I", 0xCED7230A)
#: A chunk: magic number, and a word with its place in the record (3 bits) and its length (29 bits).
CHUNK = struct.Struct("<4sI")
#: Places: all of a record, or the first, a middle or the last chunk of one in whose bytes the magic
#: number occurs: it is cut there, and the number left out.
WHOLE, FIRST, MIDDLE, LAST = range(4)
#: A record's header: count of further labels, label, key, and a second key that faces do not use.
HEADER = struct.Struct("<IfQQ")
MOST_CHUNKS, MOST_LABELS, MOST_BYTES = 64, 1024, 2**22  # of a record; bytes of an encoded image


class Record(NamedTuple):
    """One image in the file.

    Attributes:
        name: IDENTITY/KEY.jpg, as it is called where the file was unpacked into folders: so the
            images come in the same order.
        identity: its class, as the name that a folder of it would have.
        chunks: (start, end) in bytes, the record's header left out.
    """

    name: str
    identity: str
    chunks: tuple[tuple[int, int], ...]


def recordio(
    folder: Path, *, title: str, most: int, share: tuple[int, int], obtain: str
) -> Source | None:
    """Read the faces in `train.rec`, or return None where there is no such file.

    Args:
        most: identities of the dataset.
        share: so many of so many images are set aside as the test part, as of a folder per
            identity: it is the same one.

    Raises:
        DataError: the file is missing, truncated or damaged, or has more identities.
    """
    path = folder / FILE
    if not path.exists():
        return None
    remedy = f"Fetch it again. {obtain}"

    def read() -> Content:
        with (
            reading(shown(path), remedy),
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw,
        ):
            records = list(_records(raw, path, remedy))
        classes: dict[str, list[Record]] = {}
        for record in records:
            classes.setdefault(record.identity, []).append(record)
        names = class_order(tuple(classes))
        if not 0 < len(names) <= most:
            raise DataError(
                f"{shown(path)} holds images of {len(names):,} identities, but {title} has "
                f"{most:,}. {remedy}"
            )
        parts = set_aside(classes, names, share, title, obtain, called=lambda _, one: one.name)
        items = partial(_items, path, remedy)
        return Content(*(as_part(part, names, items=items) for part in parts), names)

    return Source(folder, seen(path), read)


def _records(raw: mmap.mmap, path: Path, remedy: str) -> Iterator[Record]:
    """Walk the records that hold an image; those without are lists of an identity's keys."""
    damaged = partial(_damaged, path, remedy)
    end, chunks = 0, []
    while (start := end) < len(raw):
        if start + CHUNK.size > len(raw):
            raise damaged(start, "ends within a record")
        magic, word = CHUNK.unpack_from(raw, start)
        place, begin = word >> 29, start + CHUNK.size
        stop = begin + (word & 0x1FFFFFFF)
        end = stop + -stop % 4
        if magic != MAGIC or place > LAST or (place in (WHOLE, FIRST)) != (not chunks):
            raise damaged(start, "holds no record")
        if end > len(raw) or len(chunks) == MOST_CHUNKS:
            raise damaged(start, "ends within a record")
        chunks.append((begin, stop))
        if place not in (WHOLE, LAST):
            continue
        (begin, stop), *rest = chunks
        chunks = []
        if stop - begin < HEADER.size:
            raise damaged(start, "holds a record without its header")
        count, label, key, _ = HEADER.unpack_from(raw, begin)
        image = begin + HEADER.size + 4 * count
        if count > MOST_LABELS or image > stop:
            raise damaged(start, "holds a record without its labels")
        if image == stop and not rest:
            continue
        if count:
            (label,) = struct.unpack_from("<f", raw, begin + HEADER.size)
        if not math.isfinite(label) or label < 0 or label != int(label):
            raise damaged(start, f"has the label {label}, which is no identity's number,")
        identity = str(int(label))
        yield Record(f"{identity}/{key}.jpg", identity, ((image, stop), *rest))
    if chunks:
        raise damaged(len(raw), "ends within a record")


def _damaged(path: Path, remedy: str, byte: int, what: str) -> DataError:
    return DataError(f"{shown(path)} {what} at byte {byte:,}: it is truncated or damaged. {remedy}")


def _items(path: Path, remedy: str, records: Sequence[Record]) -> Iterator[Item]:
    with reading(shown(path), remedy), path.open("rb") as file:
        for record in records:
            size = sum(stop - start for start, stop in record.chunks)
            if size > MOST_BYTES:
                raise DataError(
                    f"{shown(path)}: {record.name} has {size:,} bytes, more than any face. {remedy}"
                )
            parts = []
            for start, stop in record.chunks:
                file.seek(start)
                parts.append(file.read(stop - start))
            yield Item(f"{path.name}[{record.name}]", MAGIC.join(parts))

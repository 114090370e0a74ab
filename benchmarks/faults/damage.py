"""Damage to every kind of stored file: cut short, a bit, zeros, nothing, or another schema.

Files of another schema have the right hashes, as if another version had written them.
"""

from __future__ import annotations

import io
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.numpy
import torch

from amint_core.files import UNFINISHED
from amint_core.store import files_to_hash, hashes, sha256, write_sealed
from benchmarks.faults.known import PROFILE, SLOW, Job, Known
from benchmarks.faults.place import Place
from benchmarks.faults.trial import Bench, Trial

DAMAGED = "damage to a stored file"
#: What answers for the other files of its folder.
_SEALED = ("description.json", "identity.json", "manifest.json", "auditable.json")


def _with(
    content: bytes, draw: random.Random, change: Callable[[int], int], size: int = 1
) -> bytes:
    start = draw.randrange(len(content))
    part = bytes(map(change, content[start : start + size]))
    return content[:start] + part + content[start + size :]


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": lambda content, draw: content[: draw.randrange(len(content))],
    "flipped": lambda content, draw: _with(content, draw, lambda one: one ^ 1 << draw.randrange(8)),
    "zeroed": lambda content, draw: _with(content, draw, lambda one: 0, 16),
    "emptied": lambda content, draw: b"",
}


def trials(known: Known) -> list[Trial]:
    """Return the trials of this file: each damage to a file of each kind that any job leaves."""
    found, seen = [], set()
    sources = [(name, job.after) for name, job in known.jobs.items() if name not in SLOW]
    for name, source in [("single run", known.cut), *sources]:
        for place in sorted(source.names()):
            kind = kind_of(place)
            path = source.folder / place
            if kind in seen or UNFINISHED in place:  # the latter are not copied to a trial's place
                continue
            if not path.is_file() or not path.stat().st_size:
                continue
            seen.add(kind)
            changes = [*DAMAGES, *(["of another schema"] if path.suffix in SCHEMAS else [])]
            found += [Trial(DAMAGED, name, damaged(source, place, change)) for change in changes]
    return found


def kind_of(place: str) -> str:
    """Return a file's place without the names of runs and the keys of trainings."""
    return re.sub(r"(?<=runs/)[^/]+|[0-9a-f]{10,}", "*", place)


def damaged(source: Place, file: str, change: str) -> Callable:
    """Return a fault: one file that lies in a place is damaged.

    What a report says of damaged results is looked at before they are mended.
    """

    def fault(bench: Bench, job: Job) -> tuple[str, list[int], str | None]:
        bench.known.place(bench.place.folder.name, source)
        path, detail = bench.place.folder / file, f"{kind_of(file)} {change}"
        spoil(path, change, bench.draw)
        if "/runs/" in file and source is not bench.known.cut:
            early = reported(bench, job, change)
            if early:
                return detail, [], early
        return detail, [], None

    return fault


def spoil(path: Path, change: str, draw: random.Random) -> None:
    """Damage a file, which then is another; or give it another schema, and the right hashes."""
    if change in DAMAGES:
        content = path.read_bytes()
        while (changed := DAMAGES[change](content, draw)) == content:
            pass
        path.write_bytes(changed)
    else:
        SCHEMAS[path.suffix](path, draw)
        answer_for(path)


def reported(bench: Bench, job: Job, change: str) -> str | None:
    """Report on damaged results: they are refused in words, or not part of the report at all."""
    profile = "trial" if job.name == "grid" else PROFILE
    expected = bench.known.reports[profile]
    status = bench.place.do(("report", "--profile", profile))
    if status not in (0, 2) or "Traceback" in bench.place.said():
        return "foreign"
    found = {name: digest for name, digest in bench.place.content().items() if name in expected}
    for part in ("tables", "figures"):  # which the job itself does not make
        shutil.rmtree(bench.place.folder / "results" / profile / part, ignore_errors=True)
    # A file of another schema, well written, is another result.
    same = found == expected or change not in DAMAGES
    return None if status == 2 or same else "wrong"


def answer_for(path: Path) -> None:
    """Put a changed file's hash where its old one is."""
    beside = path.with_name(f"{path.name}.sha256")
    if beside.is_file():
        beside.write_text(f"{sha256(path)}  {path.name}\n")
    for name in _SEALED:
        seal = path.with_name(name)
        if seal.is_file() and seal != path:
            content = json.loads(seal.read_text())
            content.pop("sha256", None)
            files = files_to_hash(path.parent) if name == "manifest.json" else [path]
            write_sealed(seal, {**content, "files": {**content["files"], **hashes(files)}})


def _json(path: Path, draw: random.Random) -> None:
    content = json.loads(path.read_text())
    sealed = isinstance(content, dict) and content.pop("sha256", None)
    if isinstance(content, list):
        path.write_text(json.dumps({"left": content}))
        return
    content.pop(draw.choice(sorted(set(content) - {"files"})))
    if sealed:
        write_sealed(path, content)
    else:
        path.write_text(json.dumps(content))


def _csv(path: Path, draw: random.Random) -> None:
    table = pd.read_csv(path)
    table.drop(columns=draw.choice(list(table))).to_csv(path, index=False)


def _parquet(path: Path, draw: random.Random) -> None:
    table = pd.read_parquet(path)
    table.drop(columns=draw.choice(list(table))).to_parquet(path, index=False)


def _safetensors(path: Path, draw: random.Random) -> None:
    tensors = safetensors.numpy.load_file(path)
    tensors.pop(draw.choice(sorted(tensors)))
    safetensors.numpy.save_file(tensors, path)


def _npy(path: Path, draw: random.Random) -> None:
    array = np.load(path)
    target = io.BytesIO()
    np.save(target, draw.choice([array[:-1], array.astype("U8"), array[..., None]]))
    path.write_bytes(target.getvalue())


def _checkpoint(path: Path, draw: random.Random) -> None:
    state = torch.load(path, weights_only=True)
    state.pop(draw.choice(sorted(state)))
    torch.save(state, path)


#: Ending → what takes a part out of such a file.
SCHEMAS: dict[str, Callable[[Path, random.Random], None]] = {
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    ".safetensors": _safetensors,
    ".npy": _npy,
    ".pt": _checkpoint,
}

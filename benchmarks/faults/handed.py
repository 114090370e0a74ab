"""Damage to what is handed from one to another: models for auditors, ledgers, packed datasets.

Nothing makes these again: what reads them must refuse them, or return what was written.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from amint_core.audit import ledger, model_folder, statement
from amint_core.audit.export import export
from amint_core.audit.fingerprints import Published
from amint_core.data.packed import load_packed, pack
from amint_core.errors import AmintError
from benchmarks.faults.damage import DAMAGES, SCHEMAS, spoil
from benchmarks.faults.known import PROFILE, Job, Known
from benchmarks.faults.trial import Bench, Trial

HANDED = "damage to what is handed out"
_KEY = bytes(range(32))


def make(known: Known, folder: Path) -> None:
    """Write one of everything that is handed out into a folder."""
    os.environ |= {"AMINT_DATA": str(known.data), "AMINT_CACHE": str(folder / "cache")}
    run = next(known.jobs["single run"].after.folder.glob(f"results/{PROFILE}/runs/*"))
    export(run, folder / "model")
    images = [f"{number:032x}".encode() for number in range(20)]
    listed = ledger.Ledger.of(_KEY, members=images[:10], external=images[10:])
    listed.save(folder / "ledger.json")
    statement.publish(folder / "statement.json", listed.statement("0" * 64), _KEY)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    Published.of(pixels).save(folder / "fingerprints.npz")
    pack("mnist", folder, 8)


def _model(path: Path) -> Any:
    model = model_folder.load(path.parent)
    weights = statement.hash_of_weights(model.enhanced.state_dict())
    members = model.members if model.members is None else model.members.tobytes()  # may be left out
    return weights, model.calibration.scores.tobytes(), members, dict(model.card)


def _ledger(path: Path) -> Any:
    listed = ledger.Ledger.load(path)
    return listed.secret, listed.images


def _statement(path: Path) -> Any:
    return asdict(statement.read(path, statement.public_key_of(_KEY)))


def _fingerprints(path: Path) -> Any:
    found = Published.load(path)
    return sorted(found.exact), found.perceptual.tolist()


def _packed(path: Path) -> Any:
    dataset = load_packed(path)
    # What a stored zip archive keeps besides, such as times, is not read.
    return dataset.fingerprint, dataset.class_names, dataset.official_test.tobytes()


#: File → what reads it.
READERS: dict[str, Callable[[Path], Any]] = {
    "model/model.safetensors": _model,
    "model/scores.safetensors": _model,
    "model/auditable.json": _model,
    "ledger.json": _ledger,
    "statement.json": _statement,
    "fingerprints.npz": _fingerprints,
    "mnist-8.packed": _packed,
}
TIMES = 3  # of each damage


def trials(known: Known) -> list[Trial]:
    """Return the trials of this file."""
    folder = known.folder / "handed"
    if not folder.is_dir():
        make(known, folder)
    return [
        Trial(HANDED, "", damaged(folder, file, change))
        for file in READERS
        for change in [*DAMAGES, *(["of another schema"] if Path(file).suffix in SCHEMAS else [])]
        for _ in range(TIMES)
    ]


def damaged(folder: Path, file: str, change: str) -> Callable:
    """Return a fault: a file that was handed out is damaged, and read."""

    def fault(bench: Bench, job: Job) -> tuple[str, list[int], str]:
        expected = pickle.dumps(READERS[file](folder / file))
        path = bench.place.folder / file
        path.parent.mkdir(exist_ok=True)
        for one in (folder / file).parent.iterdir():
            if one.is_file():
                (path.parent / one.name).write_bytes(one.read_bytes())
        spoil(path, change, bench.draw)
        return f"{file} {change}", [], _read(bench, READERS[file], path, expected)

    return fault


def _read(bench: Bench, reader: Callable[[Path], Any], path: Path, expected: bytes) -> str:
    """Return "survived" where a damaged file is refused, or what was written is read."""
    try:
        found = pickle.dumps(reader(path))
    except AmintError:
        return "survived"
    except Exception as error:
        bench.place.log.write_text(f"{type(error).__name__}: {error}")
        return "foreign"
    return "survived" if found == expected else "wrong"

"""CASIA-WebFace's size on this machine: decode, cache, split and train, no pixels held in memory.

A stand-in of as many files and identities as the real set has is generated once; then each phase
runs in a process of its own, which reports its seconds and its largest private memory. Pages of the
memory-mapped cache are not private: the system takes them back when it needs them.

    python -m benchmarks.casia_scale [--images 494414] [--folder build/casia-standin/494414]

Fewer images have as many fewer identities, and another file of results beside the whole one's.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from tqdm import tqdm

from amint_core.batch.planning import busy
from amint_core.batch.planning.worker import Worker, resident
from amint_core.config import RunConfig
from amint_core.data import load as load_dataset
from amint_core.data.casia_webface import IDENTITIES, IMAGES, TEST_IMAGES
from amint_core.data.prepare import prepare
from amint_core.errors import AmintError
from amint_core.files import write_json
from amint_core.locations import results_root
from amint_core.run.models import build, fit_model
from amint_core.settings import create
from amint_core.training.kinds import ACTIVE
from benchmarks.machine import machine

SIDE = 112  # pixels of a stored face, as aligned copies have; decoding shrinks them to 64
CELLS = 8  # an image is this many random colours a side, drawn out smoothly
QUALITY = 90
#: Shares of the pool, as in config/paper.yaml: 200,000 members and 249,000 external images.
MEMBERS, EXTERNAL = 200_000 / (IMAGES - TEST_IMAGES), 249_000 / (IMAGES - TEST_IMAGES)
STEPS = 20
LEAST = 2600  # images: enough external ones for so many steps
_MARK = "STAND-IN.json"  # beside the images: what was generated
_TICK = 0.02  # seconds between looks at the memory


def generate(folder: Path, images: int, identities: int) -> None:
    """Write the stand-in's files, `CASIA-WebFace/IDENTITY/*.jpg`, unless they are there.

    The folder appears whole or not at all.

    Raises:
        AmintError: the folder holds something else, which is left as it is.
    """
    made = {"stand_in": True, "images": images, "identities": identities, "side": SIDE}
    done = folder / _MARK
    if done.is_file() and done.read_text(encoding="utf-8") == json.dumps(made):
        return
    temporary = folder.with_name(f".{folder.name}.part")
    for place in (folder, temporary):
        if place.exists() and any(place.iterdir()) and not (place / _MARK).is_file():
            raise AmintError(f"{place} holds no stand-in of this script. Name another --folder.")
        shutil.rmtree(place, ignore_errors=True)
    faces = temporary / "CASIA-WebFace"
    faces.mkdir(parents=True)
    mark = temporary / _MARK
    mark.write_text("{}", encoding="utf-8")  # unfinished, and may be removed
    edges = np.linspace(0, images, identities + 1).round().astype(int)
    write = functools.partial(_write_identity, faces, edges)
    with ProcessPoolExecutor() as pool:
        written = pool.map(write, range(identities), chunksize=50)
        list(tqdm(written, total=identities, desc="Generating STAND-IN faces", unit="identity"))
    mark.write_text(json.dumps(made), encoding="utf-8")
    temporary.rename(folder)


def _write_identity(faces: Path, edges: np.ndarray, identity: int) -> None:
    place = faces / f"{identity:07d}"
    place.mkdir()
    for number in range(edges[identity], edges[identity + 1]):
        cells = np.random.default_rng(number).integers(0, 256, (CELLS, CELLS, 3), dtype=np.uint8)
        image = Image.fromarray(cells).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        image.save(place / f"{number:07d}.jpg", quality=QUALITY)


class Phases:
    """What a run of the paper's shares of `images` faces does, one phase after the other."""

    def __init__(self, images: int) -> None:
        self.settings = settings_for(images)

    def decode(self) -> None:
        """Decode all files into the cache."""
        load_dataset(self.settings.dataset, self.settings.data, rebuild=True)

    def reopen(self) -> None:
        """Open the cache, as every later run does."""
        load_dataset(self.settings.dataset, self.settings.data)

    def split(self) -> None:
        """Open the cache and deal all images to roles."""
        prepare(self.settings)

    def train(self) -> None:
        """Open, split, build, and train for some steps at the set's own size."""
        data = prepare(self.settings)
        roles, images = data.split.roles, STEPS * self.settings.batch_size
        # One epoch is one pass over the external images: some of them for some steps.
        some = np.random.default_rng(0).choice(roles["external"], images, replace=False)
        split = dataclasses.replace(data.split, roles={**roles, "external": some})
        data = dataclasses.replace(data, split=split)
        fit_model(
            *(ACTIVE, data, build(data), roles["members"]),
            monitor=None,
            resume=None,
            keep=lambda state: None,
            title=f"{STEPS} steps",
        )

    def watch(self, phase: str) -> dict[str, float]:
        """Do a phase; return its seconds and the most private and mapped memory, in MiB."""
        most, over, started = np.zeros(2), threading.Event(), time.perf_counter()

        def look() -> None:
            while not over.wait(_TICK):
                np.maximum(most, resident(), out=most)

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            getattr(self, phase)()
        finally:
            over.set()
            watcher.join()
        private, mapped = (most / 2**20).round(2).tolist()
        seconds = round(time.perf_counter() - started, 2)
        return {"private_mib": private, "mapped_mib": mapped, "seconds": seconds}


PHASES = ("decode", "reopen", "split", "train")


@contextmanager
def phases(folder: Path, images: int) -> Iterator[Phases]:
    """Open the phases for a process of their own, which finds its data in `folder`."""
    os.environ |= {"AMINT_DATA": str(folder), "AMINT_CACHE": str(folder / "cache")}
    yield Phases(images)


def settings_for(images: int) -> RunConfig:
    """Return a run of the paper's shares of `images` faces."""
    pool = images - round(images * TEST_IMAGES / IMAGES)
    return create(
        dataset="casia_webface",
        model="mobilenet",
        protocol="paper",
        members=int(pool * MEMBERS),
        external=int(pool * EXTERNAL),
        calibration=0,
        epochs=1,
    )


def measure(folder: Path, images: int, identities: int) -> dict[str, Any]:
    """Generate the stand-in, run each phase in a fresh process and return all figures."""
    started = time.perf_counter()
    generate(folder, images, identities)
    found: dict[str, Any] = {
        "data": "STAND-IN: generated images, not CASIA-WebFace",
        "images": images,
        "identities": identities,
        "stored_side": SIDE,
        "steps": STEPS,
        "batch": 2 * settings_for(images).batch_size,
        "machine": machine("cpu"),
        "others": [busy.share()],
        "generate_seconds": round(time.perf_counter() - started, 1),
        "phases": {},
    }
    for name in PHASES:
        try:
            with Worker("Its process", phases, folder, images) as worker:
                found["phases"][name] = worker.ask("watch", name)
        except AmintError as error:
            raise AmintError(f"phase {name!r} failed: {error}") from error
        print(name, found["phases"][name], flush=True)
    found["others"].append(busy.share())
    return found


def main() -> int:
    """Measure all phases."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.casia_scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--images", type=int, default=IMAGES, help=f"{LEAST} or more")
    parser.add_argument("--folder", type=Path, help="default: build/casia-standin/IMAGES")
    parser.add_argument("--out", type=Path, default=results_root() / "benchmarks")
    given = parser.parse_args()
    if not hasattr(psutil.Process().memory_info(), "shared"):
        parser.error("this system does not tell private memory from mapped files: use Linux.")
    if not LEAST <= given.images <= IMAGES:
        parser.error(f"--images must be {LEAST} to {IMAGES}.")
    folder = given.folder or Path("build/casia-standin") / str(given.images)
    identities = round(given.images * IDENTITIES / IMAGES)
    name = "casia_scale" if given.images == IMAGES else f"casia_scale_{given.images}"
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        found = measure(folder.absolute(), given.images, identities)
    except (OSError, AmintError) as error:
        parser.error(str(error))
    write_json(given.out / f"{name}.json", found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""From files to batches: decoding once, against decoding in every step."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from amint_core.batch.planning.made_up import now, timed
from amint_core.data import DATASETS
from amint_core.data.building import build
from amint_core.data.entries import seen
from amint_core.data.sources import Content, Item, Part, Source
from amint_core.errors import AmintError
from amint_core.training.batches import Batch, JointBatches
from benchmarks.encoded import write_files
from benchmarks.pairs import Harness, Ratio, by_hand, interleaved
from benchmarks.published import Files

SIDE = 64
BATCHES = 20  # in a turn
HALF = 64  # members in a batch
LARGE = 450_000  # images in the large cache: about CASIA-WebFace's
_BYTES = SIDE * SIDE * 3  # of an image

Arrays = tuple[np.ndarray, np.ndarray]  # (N, H, W, C) uint8 pixels and (N,) labels


class BenchmarkError(AmintError):
    """Something cannot be measured on this machine."""


def measure_loading(
    device: str, files: int = 2_000, large: int = LARGE, harness: Harness = by_hand
) -> dict[str, Any]:
    """Measure images per second of cold decoding, of a DataLoader and of the warm cache.

    Args:
        files: encoded images that are decoded.
        large: images in the large cache, whose file is filled with one random block over and over.
    """
    with tempfile.TemporaryDirectory(prefix="amint-benchmarks-") as name:
        folder = Path(name)
        (folder / "files").mkdir()
        paths = write_files(folder / "files", SIDE, files)
        place, cpu = torch.device(device), torch.device("cpu")
        started = now(cpu)
        small = _decoded(folder, paths)
        cold = files / (now(cpu) - started)
        published = iter(DataLoader(Files(paths, SIDE, 10), batch_size=HALF, num_workers=2))
        sides = {
            "published": _turn(published, 2 * BATCHES, cpu),
            "large": _turn(_stream(_large_cache(large), place), BATCHES, place),
            "warm": _turn(_stream(small, place), BATCHES, place),
        }
        times = interleaved(sides, 10.0, rounds=(3, 9), harness=harness)
    images = 2 * HALF * BATCHES
    return {
        "image_size": SIDE,
        "files": files,
        "large": large,
        "cold_per_second": cold,
        **{f"{name}_per_second": images / float(np.median(t)) for name, t in times.items()},
        **Ratio.of(times["published"], times["warm"]).row("warm_over_published"),
        **Ratio.of(times["large"], times["warm"]).row("large_over_warm"),
    }


def _decoded(folder: Path, paths: list[Path]) -> Arrays:
    """Decode the files into a cache as a dataset's first load does, and open it."""
    labels = np.arange(len(paths)) % 10

    def content() -> Content:
        items = [Item(path.name, str(path)) for path in paths]
        pool, test = Part(items[:-1], labels[:-1]), Part(items[-1:], labels[-1:])
        return Content(pool, test, tuple("0123456789"))

    source = Source(paths[0].parent, seen(*paths), content)
    build(folder / "cache", DATASETS["gtsrb"], SIDE, source, progress=False)
    pixels = np.load(folder / "cache" / "pixels.npy", mmap_mode="r")
    return pixels, np.load(folder / "cache" / "labels.npy")


def announce(large: int = LARGE) -> None:
    """Say how much `measure_loading` writes and where.

    Raises:
        BenchmarkError: there is too little space.
    """
    folder, wanted = tempfile.gettempdir(), large * _BYTES / 1e9
    free = shutil.disk_usage(folder).free / 1e9
    if free < 1.1 * wanted:
        raise BenchmarkError(
            f"Loading is measured on a file of {wanted:.1f} GB in {folder}, which has {free:.1f} "
            "GB left. Free some, or name another folder by TMPDIR."
        )
    print(f"Loading is measured on a file of {wanted:.1f} GB in {folder}, gone afterwards.")


def _large_cache(count: int) -> Arrays:
    """Write a memory-mapped file of `count` images, in constant memory.

    It has no name, so that its space is free again however this process ends.
    """
    shape = count, SIDE, SIDE, 3
    block = np.random.default_rng(0).integers(0, 256, (4_096, *shape[1:]), dtype=np.uint8)
    with tempfile.TemporaryFile() as file:
        for start in range(0, count, len(block)):
            file.write(block[: count - start].tobytes())
        pixels = np.memmap(file, np.uint8, "r", shape=shape)
    return pixels, np.arange(count) % 10


def _stream(images: Arrays, device: torch.device) -> Iterator[Batch]:
    """Yield random batches from a cache, on the device as floats, without end."""
    numbers = np.arange(len(images[1]))
    half = len(numbers) // 2
    batches = JointBatches(
        *(*images, numbers[:half], numbers[half:]), batch_size=HALF, seed=0, device=device
    )
    return itertools.chain.from_iterable(map(batches.epoch, itertools.count(1)))


def _turn(stream: Iterator[object], count: int, device: torch.device) -> Callable[[], float]:
    """Return a function for the seconds of `count` batches."""
    return lambda: timed(lambda: [next(stream) for _ in range(count)] and None, device)

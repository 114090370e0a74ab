"""From files to batches: decoding once, against decoding in every step."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from amint_core.data import DATASETS
from amint_core.data.building import build
from amint_core.data.entries import seen
from amint_core.data.sources import Content, Item, Part, Source
from amint_core.training.batches import JointBatches
from benchmarks.encoded import write_files
from benchmarks.loops import BenchmarkError
from benchmarks.pairs import Harness, Ratio, by_hand, interleaved
from benchmarks.published import Files

SIDE = 64
BATCHES = 20  # in a turn
HALF = 64  # members in a batch
LARGE = 450_000  # images in the large cache: about CASIA-WebFace's
_BYTES = SIDE * SIDE * 3  # of an image


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
        started = time.perf_counter()
        small = _decoded(folder, paths)
        cold = files / (time.perf_counter() - started)
        published = iter(DataLoader(Files(paths, SIDE, 10), batch_size=HALF, num_workers=2))
        sides = {
            "published": lambda: _seconds(published, 2 * BATCHES),
            "large": _turn(_large_cache(large), device),
            "warm": _turn(small, device),
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


Arrays = tuple[np.ndarray, np.ndarray]  # (N, H, W, C) uint8 pixels and (N,) labels


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


def _turn(images: Arrays, device: str):
    """Return a function for the seconds of random batches from a cache, on the device as floats."""
    numbers, place = np.arange(len(images[1])), torch.device(device)
    half = len(numbers) // 2
    batches = JointBatches(
        *images, numbers[:half], numbers[half:], HALF, half // HALF, seed=0, device=place
    )
    stream = itertools.chain.from_iterable(map(batches.epoch, itertools.count(1)))
    return lambda: _seconds(stream, BATCHES)


def _seconds(stream, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        next(stream)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started

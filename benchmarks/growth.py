"""How a step and an epoch grow with images, image size and classes."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch

from amint_core.training.batches import JointBatches
from benchmarks.configurations import Configuration
from benchmarks.loops import start
from benchmarks.pairs import Harness, Ratio, by_hand, interleaved

SIZES = (32, 64, 96)
CLASSES = (10, 200, 10_575)
COUNTS = (2_000, 20_000, 200_000)


def measure_growth(
    configuration: Configuration, seconds: float, harness: Harness = by_hand
) -> list[dict[str, Any]]:
    """Measure our step at other image sizes and numbers of classes, and an epoch's start.

    Returns:
        One row per point: what grows, its value, seconds, and the ratio to the first point.
    """
    sizes = {size: replace(configuration, image_size=size) for size in SIZES}
    classes = {count: replace(configuration, classes=count) for count in CLASSES}
    few = COUNTS[0]
    starts = {
        "members": {count: partial(_draw, count, few) for count in COUNTS},
        "external images": {count: partial(_draw, few, count) for count in COUNTS},
    }
    return [
        *_rows("image size", _steps(sizes, seconds / 2, harness)),
        *_rows("classes", _steps(classes, seconds / 2, by_hand)),
        *(
            row
            for name, sides in starts.items()
            for row in _rows(f"{name} (an epoch's start)", interleaved(sides, 1.0))
        ),
    ]


def _steps(
    points: dict[int, Configuration], seconds: float, harness: Harness
) -> dict[int, list[float]]:
    with ExitStack() as stack:
        loops = {at: stack.enter_context(start("active", one)) for at, one in points.items()}
        sides = {at: lambda loop=loop: loop.ask("steps", 2) / 2 for at, loop in loops.items()}
        return interleaved(sides, seconds, harness=harness)


def _draw(members: int, external: int) -> float:
    """Return the seconds that a whole epoch costs besides its steps: drawing all indices."""
    none, numbers = np.empty(0), np.arange(members + external)
    batches = JointBatches(
        *(none, none, numbers[:members], numbers[members:]),
        batch_size=64,
        seed=0,
        device=torch.device("cpu"),
    )
    started = time.perf_counter()
    for _ in batches.indices(1):
        pass
    return time.perf_counter() - started


def _rows(name: str, times: dict[int, list[float]]) -> list[dict[str, Any]]:
    first = next(iter(times.values()))
    return [
        {
            "grows": name,
            "to": at,
            "seconds": median(values),
            **Ratio.of(values, first).row("ratio"),
        }
        for at, values in times.items()
    ]

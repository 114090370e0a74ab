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
from benchmarks.cases import Case
from benchmarks.loops import Loop
from benchmarks.pairs import Harness, Ratio, by_hand, interleaved

SIZES = (32, 64, 96)
CLASSES = (10, 200, 10_575)
COUNTS = (2_000, 20_000, 200_000)


def measure_growth(case: Case, seconds: float, harness: Harness = by_hand) -> list[dict[str, Any]]:
    """Measure our step at other image sizes and numbers of classes, and an epoch's start.

    Returns:
        One row per point: what grows, its value, seconds, and the ratio to the first point.
    """
    sizes = {size: replace(case, image_size=size) for size in SIZES}
    classes = {count: replace(case, classes=count) for count in CLASSES}
    return [
        *_grown("image size", sizes, seconds / 2, harness),
        *_grown("classes", classes, seconds / 2, by_hand),
        *_epoch_starts(),
    ]


def _grown(
    name: str, points: dict[int, Case], seconds: float, harness: Harness
) -> list[dict[str, Any]]:
    with ExitStack() as stack:
        loops = {at: stack.enter_context(Loop("active", case)) for at, case in points.items()}
        times = interleaved(
            {at: lambda at=at: loops[at].ask("steps", 2) / 2 for at in points},
            seconds,
            harness=harness,
        )
    return _rows(name, times)


def _epoch_starts() -> list[dict[str, Any]]:
    """Time what a whole epoch costs besides its steps: drawing all batches' indices."""
    few = COUNTS[0]
    sides = {
        "members": {count: (count, few) for count in COUNTS},
        "external images": {count: (few, count) for count in COUNTS},
    }
    rows = []
    for name, points in sides.items():
        turns = {at: partial(_draw, *counts) for at, counts in points.items()}
        rows += _rows(f"{name} (an epoch's start)", interleaved(turns, 1.0))
    return rows


def _draw(members: int, external: int) -> float:
    none = np.empty(0)
    batches = JointBatches(
        none,
        none,
        np.arange(members),
        np.arange(members, members + external),
        size=64,
        steps=external // 64,
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

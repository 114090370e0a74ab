"""All figures of a device, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from amint_core.batch.planning import busy
from benchmarks.configurations import Configuration, configurations
from benchmarks.growth import measure_growth
from benchmarks.loading import measure_loading
from benchmarks.machine import machine, matrix_throughput
from benchmarks.shadows import measure_shadows
from benchmarks.steps import measure_steps

#: Seconds of training steps per configuration, so that all figures take at most 10 minutes on 2 CPU
#: cores and 8 on a GPU.
SECONDS = {"cpu": 6.0, "cuda": 10.0}
SECTIONS = ("steps", "loading", "growth", "shadows")


@dataclass(frozen=True)
class Figure:
    """One thing to measure.

    Attributes:
        name: what the harness calls it.
        section: where its rows go in the results, one of `SECTIONS`.
        measure: called with a `harness`, returns one row or several.
    """

    name: str
    section: str
    measure: Callable[..., Any]


def figures(device: str, only: Sequence[Configuration] | None = None) -> list[Figure]:
    """Return what is measured on a device.

    Args:
        device: "cpu" or "cuda".
        only: the configurations of steps; None: all of the device.
    """
    throughput = max(matrix_throughput(device).values())
    seconds, small = SECONDS[device], Configuration("mobilenet", 32, 16, device=device)
    steps = [
        Figure(f"steps: {one.name}", "steps", partial(measure_steps, one, seconds, throughput))
        for one in (configurations(device) if only is None else only)
    ]
    return [
        *steps,
        Figure("loading", "loading", partial(measure_loading, device)),
        Figure("growth", "growth", partial(measure_growth, small, seconds)),
        Figure("shadow models", "shadows", partial(measure_shadows, small, seconds / 2)),
    ]


def no_results(device: str) -> dict[str, Any]:
    """Return results that name the machine and hold no figure yet.

    `others`: the share of the machine (0 to 1) that other work took, before and after each figure.
    """
    return {
        "machine": machine(device),
        "others": [busy.share()],
        "matrix": matrix_throughput(device),
        **{section: [] for section in SECTIONS},
    }


def add(results: dict[str, Any], figure: Figure, found: Any) -> None:
    """Put a figure's rows into the results, and look whether other work loads the machine."""
    results["others"].append(busy.share())
    results[figure.section] += found if isinstance(found, list) else [found]

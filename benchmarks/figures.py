"""All figures of a device, in the order in which they are measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from amint_core.batch.planning import load
from benchmarks.cases import Case, cases
from benchmarks.growth import measure_growth
from benchmarks.loading import measure_loading
from benchmarks.machine import machine, matrix_throughput
from benchmarks.pairs import Harness
from benchmarks.shadows import measure_shadows
from benchmarks.steps import measure_steps

#: Seconds of training steps per case, so that all figures take at most 10 minutes on 2 CPU cores
#: and 8 on a GPU.
SECONDS = {"cpu": 6.0, "cuda": 10.0}


@dataclass(frozen=True)
class Figure:
    """One thing to measure.

    Attributes:
        name: what the harness calls it.
        section: where its rows go in the results.
        measure: harness → one row or several.
    """

    name: str
    section: str
    measure: Callable[[Harness], Any]


def figures(device: str, only: Sequence[Case] | None = None) -> list[Figure]:
    """Return what is measured on a device.

    Args:
        device: "cpu" or "cuda".
        only: the cases of steps; None: all of the device.
    """
    throughput = max(matrix_throughput(device).values())
    seconds = SECONDS[device]
    small = Case("mobilenet", 32, 16, device=device)
    steps = [
        Figure(
            f"steps: {case.name}",
            "steps",
            partial(_measured, measure_steps, case, seconds, throughput),
        )
        for case in (cases(device) if only is None else only)
    ]
    return [
        *steps,
        Figure("loading", "loading", partial(_measured, measure_loading, device)),
        Figure("growth", "growth", partial(_measured, measure_growth, small, seconds)),
        Figure("shadow models", "shadows", partial(_measured, measure_shadows, small, seconds / 2)),
    ]


def _measured(measure: Callable[..., Any], *args: Any) -> Any:
    *given, harness = args
    return measure(*given, harness=harness)


def no_results(device: str) -> dict[str, Any]:
    """Return results that name the machine and hold no figure yet.

    `others`: the share of the machine (0 to 1) that other work took, before and after each figure.
    """
    return {
        "machine": machine(device),
        "others": [load.others()],
        "matrix": matrix_throughput(device),
        "steps": [],
        "loading": [],
        "growth": [],
        "shadows": [],
    }


def add(results: dict[str, Any], figure: Figure, found: Any) -> None:
    """Put a figure's rows into the results, and look whether other work loads the machine."""
    results["others"].append(load.others())
    results[figure.section] += found if isinstance(found, list) else [found]

"""Shadow models side by side: two processes of one thread each against one of two threads."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.cases import Case
from benchmarks.loops import Loop
from benchmarks.pairs import Harness, Ratio, by_hand, interleaved

STEPS = 4  # of each model in a turn


def measure_shadows(
    case: Case, seconds: float, workers: int = 2, harness: Harness = by_hand
) -> dict[str, Any]:
    """Measure training `workers` plain models side by side against one after the other.

    On a CPU each process gets its share of the threads, on a GPU they share the device.
    """
    single = replace(case, threads=1) if case.device == "cpu" else case
    with ExitStack() as stack:
        alone = stack.enter_context(Loop("plain", case))
        side_by_side = [stack.enter_context(Loop("plain", single)) for _ in range(workers)]

        def together() -> float:
            for loop in side_by_side:
                loop.send("steps", STEPS)
            return max(loop.answer() for loop in side_by_side)

        times = interleaved(
            {"serial": lambda: alone.ask("steps", workers * STEPS), "together": together},
            seconds,
            harness=harness,
        )
    return {
        "model": case.model,
        "image_size": case.image_size,
        "batch": case.batch,
        "workers": workers,
        **Ratio.of(times["serial"], times["together"]).row("speedup"),
    }

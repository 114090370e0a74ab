"""Shadow models side by side: two processes of one thread each against one of two threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.configurations import Configuration
from benchmarks.loops import start
from benchmarks.pairs import Harness, Ratio, by_hand, interleaved

STEPS = 4  # of each model in a turn


def measure_shadows(
    configuration: Configuration, seconds: float, workers: int = 2, harness: Harness = by_hand
) -> dict[str, Any]:
    """Measure training `workers` plain models side by side against one after the other.

    On a CPU each process gets its share of the threads, on a GPU they share the device.
    """
    on_cpu = configuration.device == "cpu"
    single = replace(configuration, threads=1) if on_cpu else configuration
    with ExitStack() as stack:
        alone = stack.enter_context(start("plain", configuration))
        loops = [stack.enter_context(start("plain", single)) for _ in range(workers)]
        askers = stack.enter_context(ThreadPoolExecutor(workers))
        sides = {
            "serial": lambda: alone.ask("steps", workers * STEPS),
            "together": lambda: max(askers.map(lambda loop: loop.ask("steps", STEPS), loops)),
        }
        times = interleaved(sides, seconds, harness=harness)
    return {
        "model": configuration.model,
        "image_size": configuration.image_size,
        "batch": configuration.batch,
        "workers": workers,
        **Ratio.of(times["serial"], times["together"]).row("speedup"),
    }

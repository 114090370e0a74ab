"""Figures of a model at a size: our step beside the published one and beside plain training."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.configurations import Configuration
from benchmarks.encoded import write_files
from benchmarks.floor import Floor, floor
from benchmarks.loops import KINDS, start
from benchmarks.ours import our_model
from benchmarks.pairs import Harness, Ratio, by_hand, interleaved

SCORED = 2  # batches in a turn of scoring


def measure_steps(
    configuration: Configuration, seconds: float, throughput: float, harness: Harness = by_hand
) -> dict[str, Any]:
    """Measure speed, price, peak memory and scoring of one configuration.

    Args:
        configuration: model, size and batch.
        seconds: time to spend on training steps; scoring takes a third more.
        throughput: operations per second of the machine's best matrix product.
        harness: repeats and records our side's turns.

    Returns:
        One row of the table of steps: ratios, seconds of a step, images per second, bytes.
    """
    scored = SCORED * configuration.batch
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="amint-benchmarks-"))
        files = write_files(Path(folder), configuration.image_size, 4 * configuration.batch)
        loops = {kind: stack.enter_context(start(kind, configuration, files)) for kind in KINDS}
        for loop in loops.values():
            loop.ask("steps", 1)  # worker processes start, kernels are chosen
        once = {kind: loop.ask("steps", 1) for kind, loop in loops.items()}
        # Turns of about the same length, so that a disturbance meets all sides alike.
        turns = {kind: max(1, round(once["published"] / once[kind] / 2)) for kind in KINDS}

        def mean_step(kind: str, order: str = "steps", count: int = 1) -> Any:
            return lambda: loops[kind].ask(order, count) / count

        sides = {
            kind: mean_step(kind, count=turns[kind]) for kind in ("published", "plain", "active")
        }
        times = interleaved(sides, seconds, harness=harness)
        memory = {kind: loop.ask("peak") for kind, loop in loops.items()}
        sides = {"head": mean_step("active", "head_steps", 2), "active": mean_step("active")}
        head = interleaved(sides, seconds / 6)
        sides = {
            kind: lambda loop=loops[kind]: loop.ask("score", scored)
            for kind in ("published", "active")
        }
        scoring = interleaved(sides, seconds / 6, rounds=(2, 5))
        precision = {
            f"{kind}_precision": loops[kind].ask("precision") for kind in ("active", "plain")
        }
    row = _row(configuration, times, memory, head, scoring, throughput)
    return {**row, **precision}


def _row(
    configuration: Configuration,
    times: dict[str, list[float]],
    memory: dict[str, dict[str, int]],
    head: dict[str, list[float]],
    scoring: dict[str, list[float]],
    throughput: float,
) -> dict[str, Any]:
    least, ours = counted(configuration), median(times["active"])
    price = Ratio.of(times["active"], times["plain"])
    return {
        **asdict(configuration),
        "rounds": len(times["active"]),
        **{f"{kind}_seconds": median(values) for kind, values in times.items()},
        **Ratio.of(times["published"], times["active"]).row("speedup"),
        **price.row("price"),
        "floor": least.price,
        "price_over_floor": price.median / least.price,
        "shared_layers": least.shared,
        "head_flops": least.head_of_step,
        "head_time": Ratio.of(head["head"], head["active"]).median,
        "images_per_second": 2 * configuration.batch / ours,
        "matrix_share": least.active / ours / throughput,
        **{f"{kind}_bytes": value["loop"] for kind, value in memory.items()},
        **{f"{kind}_process_bytes": value["process"] for kind, value in memory.items()},
        "memory": memory["active"]["loop"] / memory["published"]["loop"],
        "process_memory": memory["active"]["process"] / memory["published"]["process"],
        "scored_per_second": SCORED * configuration.batch / median(scoring["active"]),
        **Ratio.of(scoring["published"], scoring["active"]).row("scoring"),
    }


def counted(configuration: Configuration) -> Floor:
    """Return the floor of a configuration's step, computing nothing."""
    side = configuration.image_size
    with torch.device("meta"):
        images = torch.zeros(configuration.batch, 3, side, side)
        return floor(our_model(configuration), images, configuration.classes)

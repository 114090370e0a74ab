"""Figures of a model at a size: our step beside the published one and beside plain training."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.cases import Case
from benchmarks.flops import floor
from benchmarks.loops import KINDS, Loop, open_files
from benchmarks.ours import our_model
from benchmarks.pairs import Harness, Ratio, by_hand, interleaved

SCORED = 2  # batches in a turn of scoring


def measure_steps(
    case: Case,
    seconds: float,
    throughput: float,
    harness: Harness = by_hand,
) -> dict[str, Any]:
    """Measure speed, price, peak memory and scoring of one case.

    Args:
        case: model, size and batch.
        seconds: time to spend on training steps; scoring takes a third more.
        throughput: operations per second of the machine's best matrix product.
        harness: repeats and records our side's turns.

    Returns:
        One row of the table of steps: ratios, seconds of a step, images per second, bytes.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(open_files(case))
        files = sorted(Path(folder).iterdir())
        loops = {kind: stack.enter_context(Loop(kind, case, files)) for kind in KINDS}
        once = {kind: loop.ask("steps", 1) for kind, loop in loops.items()}
        once |= {kind: loops[kind].ask("steps", 1) for kind in ("plain", "active")}  # warmed up
        # Turns of about the same length, so that a disturbance meets all sides alike.
        turns = {kind: max(1, round(once["published"] / once[kind] / 2)) for kind in KINDS}
        times = interleaved(
            {
                kind: lambda kind=kind: loops[kind].ask("steps", turns[kind]) / turns[kind]
                for kind in ("published", "plain", "active")
            },
            seconds,
            harness=harness,
        )
        memory = {kind: loop.ask("peak") for kind, loop in loops.items()}
        head = interleaved(
            {
                "head": lambda: loops["active"].ask("head_steps", 2) / 2,
                "active": lambda: loops["active"].ask("steps", 1),
            },
            seconds / 6,
        )
        scored = SCORED * case.batch
        scoring = _scoring(loops, scored, seconds / 6)
        precision = {kind: loops[kind].ask("precision") for kind in ("active", "plain")}
    row = _row(case, times, memory, head, scoring, scored, throughput)
    return {**row, **{f"{kind}_precision": found for kind, found in precision.items()}}


def _scoring(loops: dict[str, Loop], scored: int, seconds: float) -> dict[str, list[float]]:
    return interleaved(
        {
            "published": lambda: loops["published"].ask("score_images", scored),
            "active": lambda: loops["active"].ask("score_images", scored),
        },
        seconds,
        rounds=(2, 5),
    )


def _row(
    case: Case,
    times: dict[str, list[float]],
    memory: dict[str, dict[str, int]],
    head: dict[str, list[float]],
    scoring: dict[str, list[float]],
    scored: int,
    throughput: float,
) -> dict[str, Any]:
    least = counted(case)
    ours = median(times["active"])
    price = Ratio.of(times["active"], times["plain"])
    return {
        **asdict(case),
        "rounds": len(times["active"]),
        **{f"{kind}_seconds": median(values) for kind, values in times.items()},
        **Ratio.of(times["published"], times["active"]).row("speedup"),
        **price.row("price"),
        "floor": least.price,
        "price_over_floor": price.median / least.price,
        "shared_layers": least.shared,
        "head_flops": least.head_of_step,
        "head_time": Ratio.of(head["head"], head["active"]).median,
        "images_per_second": 2 * case.batch / ours,
        "matrix_share": least.active / ours / throughput,
        **{f"{kind}_bytes": value["loop"] for kind, value in memory.items()},
        **{f"{kind}_process_bytes": value["process"] for kind, value in memory.items()},
        "memory": memory["active"]["loop"] / memory["published"]["loop"],
        "process_memory": memory["active"]["process"] / memory["published"]["process"],
        "scored_per_second": scored / median(scoring["active"]),
        **Ratio.of(scoring["published"], scoring["active"]).row("scoring"),
    }


def counted(case: Case):
    """Return the `Floor` of a step of a case, computing nothing."""
    images = torch.zeros(case.batch, 3, case.image_size, case.image_size, device="meta")
    return floor(our_model(case).to("meta"), images, case.classes)

"""What was measured on: names, versions, and how fast the machine multiplies matrices."""

from __future__ import annotations

import os
from functools import cache
from statistics import median
from typing import Any

import psutil
import torch

from amint_core import provenance
from amint_core.batch.planning.made_up import timed

SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices
REPEATS = 7
SMALLER, PATIENCE = 8, 3.0  # the small ones' sides; seconds of a large product


def machine(device: str) -> dict[str, Any]:
    """Name the machine, the versions and the commit."""
    return {
        "device": provenance.hardware(torch.device(device)),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "versions": provenance.versions(),
        **provenance.git_state(),
    }


@cache
def matrix_throughput(device: str) -> dict[str, float]:
    """Measure operations per second of a square matrix product, in fp32 and in bf16; once.

    Where a large product would take long, as in bf16 without instructions for it, a small one
    stands for it.
    """
    place, rates = torch.device(device), {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        side = SIDE[device] // SMALLER
        seconds = _product(side, dtype, place)
        if seconds * SMALLER**3 < PATIENCE:
            side *= SMALLER
            seconds = _product(side, dtype, place)
        rates[name] = 2 * side**3 / seconds
    return rates


def _product(side: int, dtype: torch.dtype, place: torch.device) -> float:
    """Return the median seconds of a product of two square matrices."""
    matrices = [torch.rand(side, side, dtype=dtype, device=place) for _ in range(2)]
    torch.mm(*matrices)
    return median(timed(lambda: torch.mm(*matrices), place) for _ in range(REPEATS))

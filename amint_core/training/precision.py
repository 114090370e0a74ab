"""What a run computes in, where it leaves the choice to the machine."""

from __future__ import annotations

import time
from functools import cache

import torch

#: How much faster a product in bf16 must be than in fp32 for precision = "auto" to take it. Without
#: instructions for it bf16 is slower, with them 3 times faster or more: no machine is in between.
_WORTH_IT = 1.5


def chosen_precision(precision: str) -> str:
    """Return what a run computes in: the precision named, or what "auto" finds on this machine."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if torch.backends.mps.is_available():  # not the CPU trains; of Apple's GPUs not all know bf16
        return "fp32"
    return "bf16" if _gain_of_bf16() >= _WORTH_IT else "fp32"


@cache
def _gain_of_bf16() -> float:
    """Return how many times faster this CPU multiplies matrices in bf16 than in fp32.

    By turns on one thread, and the quickest turns count: each is too short for other work on the
    machine to disturb them all, where several threads would wait for each other.
    """
    # Ones: what is multiplied does not matter, and no random number is drawn.
    matrices = [torch.ones(256, 256, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        turns = [[_seconds_of_a_square(matrix) for matrix in matrices] for _ in range(50)]
    finally:
        torch.set_num_threads(threads)
    full, half = (min(seconds) for seconds in zip(*turns, strict=True))
    return full / half


def _seconds_of_a_square(matrix: torch.Tensor) -> float:
    started = time.perf_counter()
    torch.mm(matrix, matrix)
    return time.perf_counter() - started

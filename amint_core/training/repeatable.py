"""Make a computation reproducible, whatever ran before it."""

from __future__ import annotations

import ctypes
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free, for the next step's tensors.

    glibc gives large blocks back to the kernel at once, which then clears them anew in every step:
    about a quarter of a step on a CPU. Where there is no glibc, nothing changes.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(mmap_threshold, 1 << 30)
            mallopt(trim_threshold, (1 << 31) - 1)


@contextmanager
def repeatable(cpu_threads: int | None = None) -> Iterator[None]:
    """Make a computation reproducible, whatever ran before it, and leave the process as it was.

    Random state is restored afterwards, so that what runs next does not depend on this, either.

    Args:
        cpu_threads: the last bits of a sum on a CPU depend on it; None: PyTorch's choice.
    """
    keep_freed_memory()
    threads = torch.get_num_threads()
    mode = torch.get_deterministic_debug_mode()
    filling = torch.utils.deterministic.fill_uninitialized_memory
    others = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*determinis.*")
        # The effect of `use_deterministic_algorithms`, without importing PyTorch's compiler, which
        # is not used here and takes seconds.
        torch.set_deterministic_debug_mode("warn")
        # Guards against reading memory never written, at about 8 % of a step on a CPU.
        torch.utils.deterministic.fill_uninitialized_memory = False
        if cpu_threads:
            torch.set_num_threads(cpu_threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode(mode)
            torch.utils.deterministic.fill_uninitialized_memory = filling
            random.setstate(others[0])
            np.random.set_state(others[1])

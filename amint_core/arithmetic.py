"""Device, precision and repeatability of a run's arithmetic."""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from amint_core.config import RunConfig
from amint_core.exceptions import SettingsError

_ACCELERATE = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def open_accelerator(settings: RunConfig) -> Accelerator:
    """Return accelerate's handle on device, precision and processes.

    Raises:
        SettingsError: the device cannot compute in the precision asked for.
    """
    if settings.precision == "fp16" and not torch.cuda.is_available():
        raise SettingsError(
            "precision = 'fp16' needs a CUDA device; use 'bf16' or 'fp32' on this machine."
        )
    # cuBLAS repeats itself only with a workspace of its own, named before CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # accelerate keeps the precision for the whole process; a notebook may change it between runs.
    if processes().num_processes == 1:
        AcceleratorState._reset_state()
    return Accelerator(mixed_precision=_ACCELERATE[settings.precision])


def processes() -> PartialState:
    """Return accelerate's handle on the processes that train together; often this one alone."""
    # Without `cpu`, processes that torchrun starts on a CPU would not know of each other.
    return PartialState(cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available())


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
def repeatable(settings: RunConfig) -> Iterator[None]:
    """Make arithmetic depend on the settings alone, and leave the process as it was.

    On a CPU the last bits of a sum depend on the number of threads, hence `cpu_threads`. Random
    state is restored afterwards, so what ran before or after changes nothing.
    """
    keep_freed_memory()
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*determinis.*")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Guards against reading memory never written, at about 8 % of a step on a CPU.
        torch.utils.deterministic.fill_uninitialized_memory = False
        if settings.cpu_threads:
            torch.set_num_threads(settings.cpu_threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)
            torch.utils.deterministic.fill_uninitialized_memory = filling

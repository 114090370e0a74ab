"""Device, precision and processes that a model is trained with, and repeatable results."""

from __future__ import annotations

import ctypes
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list

from amint_core.errors import SettingsError
from amint_core.training.cpu_bf16 import fast_operations

Value = TypeVar("Value")

_ACCELERATE = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
#: How much faster a product in bf16 must be than in fp32 for precision = "auto" to take it. Without
#: instructions for it bf16 is slower, with them 3 times faster or more: no machine is in between.
_WORTH_IT = 1.5


class _Accelerator(Accelerator):
    """accelerate's handle, with the quick operations of bf16 on a CPU."""

    @contextmanager
    def autocast(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        with super().autocast(*args, **kwargs), self._operations():
            yield

    def backward(self, *args: Any, **kwargs: Any) -> None:
        with self._operations():  # a model may compute activations again
            super().backward(*args, **kwargs)

    def _operations(self) -> AbstractContextManager:
        fast = self.device.type == "cpu" and self.mixed_precision == "bf16"
        return fast_operations() if fast else nullcontext()


def open_accelerator(precision: str = "fp32", some_unused: bool = False) -> Accelerator:
    """Return accelerate's handle on device, precision and processes.

    Args:
        precision: "fp32", "bf16", "fp16", or "auto", see `chosen_precision`.
        some_unused: whether training leaves some of the model's layers out.

    Raises:
        SettingsError: the device cannot compute in the precision asked for.
    """
    if precision == "fp16" and not torch.cuda.is_available():
        raise SettingsError(
            "precision = 'fp16' needs a CUDA device; use 'bf16' or 'fp32' on this machine."
        )
    # cuBLAS repeats itself only with a workspace of its own, named before CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # accelerate keeps the precision for the whole process; a notebook may change it between runs.
    if processes().num_processes == 1:
        AcceleratorState._reset_state()
    # Buffers are those of batch normalisation, which distributed.py averages.
    gradients = DistributedDataParallelKwargs(
        broadcast_buffers=False, find_unused_parameters=some_unused
    )
    chosen = agreed(lambda: chosen_precision(precision))
    return _Accelerator(mixed_precision=_ACCELERATE[chosen], kwargs_handlers=[gradients])


def chosen_precision(precision: str) -> str:
    """Return what a run computes in: the precision named, or what "auto" finds on this machine."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
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


def processes() -> PartialState:
    """Return accelerate's handle on the processes that train together; often this one alone."""
    # Without `cpu`, processes that torchrun starts on a CPU would not know of each other.
    cpu = not torch.cuda.is_available() and not torch.backends.mps.is_available()
    state = PartialState(cpu=cpu)
    if state.num_processes == 1 < int(os.environ.get("WORLD_SIZE", "1")):
        # Started by a notebook that worked alone before, and inherited from it.
        PartialState._reset_state()
        state = PartialState(cpu=cpu)
    return state


def refuse_lone_process() -> None:
    """Refuse to train alone where `accelerate launch` was asked for several processes.

    Without --multi_gpu it starts one and says nothing; that it gives it a port tells that more were
    wanted, and that it gives no number of processes that they are not there.

    Raises:
        SettingsError: several processes were asked for, and there is one.
    """
    given, alone = os.environ, processes().num_processes == 1
    if alone and {"ACCELERATE_USE_CPU", "MASTER_PORT"} <= set(given) and "WORLD_SIZE" not in given:
        raise SettingsError(
            "accelerate launch was asked for several processes and started one: without "
            "--multi_gpu it starts no more. Give it --multi_gpu, on CPUs too and then without "
            "--cpu, or --num_processes 1."
        )


def agreed(decide: Callable[[], Value]) -> Value:
    """Let the first process decide for all, where each might find the machine in another state."""
    decided = [decide() if processes().is_main_process else None]
    if processes().num_processes > 1:
        broadcast_object_list(decided)
    return decided[0]


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
    """Make results depend on what is computed alone, and leave the process as it was.

    Random state is restored afterwards, so what ran before or after changes nothing.

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

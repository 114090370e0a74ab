"""Device and precision that a model is trained with: accelerate's handle on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from amint_core.errors import SettingsError
from amint_core.training.cpu_bf16 import fast_operations
from amint_core.training.distributed import agreed, processes
from amint_core.training.precision import chosen_precision

_ACCELERATE = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


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

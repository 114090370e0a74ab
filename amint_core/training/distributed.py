"""Several processes that train one model together: what they must agree on.

Each process takes its slice of every batch; gradients are averaged, so that the step is that of the
whole batch. Batch normalisation is what would differ:

| device | statistics that normalise a batch | running statistics |
|---|---|---|
| GPUs | of the whole batch, over all processes (`SyncBatchNorm`) | the same everywhere |
| CPU | of the process's own slice: PyTorch has no `SyncBatchNorm` there | averaged every epoch |
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import PartialState
from accelerate.utils import broadcast_object_list, reduce
from torch import nn

from amint_core.errors import SettingsError

Value = TypeVar("Value")


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


def share_batch_statistics(model: nn.Module, accelerator: Accelerator) -> None:
    """Normalise over the batches of all processes, in place, where there are several with GPUs."""
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        # timm's own: it knows timm's batch normalisation with a built-in activation. Imported here,
        # since that takes seconds.
        from timm.layers import convert_sync_batchnorm

        convert_sync_batchnorm(model)


@torch.no_grad()
def average_running_statistics(model: nn.Module) -> None:
    """Give the running statistics of all processes their mean, so that one model leaves training.

    The mean of variances leaves out how the means of the slices differ, which is small beside them.
    """
    if processes().num_processes > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.copy_(reduce(buffer, "mean"))


def averaged(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Return the means of numbers over all processes."""
    if processes().num_processes == 1:
        return dict(values)
    means = reduce(torch.tensor(list(values.values()), device=device), "mean")
    return dict(zip(values, means.tolist(), strict=True))

"""Several processes that train one model together: what they must agree on.

Each process takes its slice of every batch; gradients are averaged, so that the step is that of the
whole batch. Batch normalisation is what would differ:

| device | statistics that normalise a batch | running statistics |
|---|---|---|
| GPUs | of the whole batch, over all processes (`SyncBatchNorm`) | the same everywhere |
| CPU | of the process's own slice: PyTorch has no `SyncBatchNorm` there | averaged every epoch |
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from accelerate.utils import reduce
from torch import nn

from amint_core.training.device import processes


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

"""Forward passes over many images, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from amint_core.datasets.base import Images
from amint_core.mint import EnhancedAuditedModel
from amint_core.progress import progress_bar
from amint_core.training.batches import to_tensor

#: Images per forward pass. Fixed: on some devices the last bits of a sum depend on it.
BATCH = 256


def membership_logits(
    model: EnhancedAuditedModel, images: Images, indices: np.ndarray, device: torch.device
) -> np.ndarray:
    """Return (N,) membership logits of the images at `indices`, through the shared layers only."""
    passes = _passes(model, images, indices, device, lambda batch: (model.membership(batch),))
    return np.concatenate([np.empty(0, np.float32), *(logits for (logits,) in passes)])


def both_outputs(
    model: EnhancedAuditedModel,
    images: Images,
    indices: np.ndarray,
    device: torch.device,
    progress: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, classes) class logits and (N,) membership logits of the images at `indices`.

    Args:
        progress: what the progress bar says; None shows none.
    """
    passes = list(_passes(model, images, indices, device, model, progress))
    if not passes:
        return np.empty((0, 0), np.float32), np.empty(0, np.float32)
    classes, membership = zip(*passes, strict=True)
    return np.concatenate(classes), np.concatenate(membership)


def _passes(
    model: torch.nn.Module,
    images: Images,
    indices: np.ndarray,
    device: torch.device,
    outputs: Callable[[Tensor], tuple[Tensor, ...]],
    progress: str | None = None,
) -> Iterator[tuple[np.ndarray, ...]]:
    was_training = model.training
    model.eval()
    starts = range(0, len(indices), BATCH)
    bar = progress_bar(starts, shown=progress is not None, desc=progress, unit="batch")
    try:
        with torch.inference_mode():
            for start in bar:
                batch = to_tensor(images.pixels[indices[start : start + BATCH]], device)
                yield tuple(output.float().cpu().numpy() for output in outputs(batch))
    finally:
        model.train(was_training)

"""Forward passes over many images, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from amint_core.data.transforms import normalised, to_bytes
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.model.reading import evaluating
from amint_core.progress import progress_bar

#: Images per forward pass. Fixed: on some devices the last bits of a sum depend on it.
BATCH = 256

#: Row numbers → (n, H, W, C) uint8 pixels.
Pixels = Callable[[np.ndarray], np.ndarray]

#: Views of one query: whether it is mirrored, and by how many pixels it is shifted. The score is
#: the highest of all: what was mirrored or shifted after training meets its own view again. Shifted
#: images do so up to a side of 40 pixels: the transformation `shift` moves larger ones further, as
#: those of 64 pixels by up to 4, and the views stay at 2.
VIEWS: dict[str, Sequence[tuple[bool, int, int]]] = {
    "one": [(False, 0, 0)],
    "flips": [(mirrored, 0, 0) for mirrored in (False, True)],
    "flips_and_shifts": [
        (mirrored, dy, dx)
        for mirrored in (False, True)
        for dy in range(-2, 3)
        for dx in range(-2, 3)
    ],
}


def class_logits(
    model: nn.Module, pixels: Pixels, count: int, device: torch.device, progress: str | None = None
) -> np.ndarray:
    """Return (count, classes) float32 class logits of any classifier; (0,) where count is 0.

    Args:
        progress: what the progress bar says; None shows none.
    """
    return _outputs(model, model, pixels, count, device, progress)


def predicted_classes(
    model: nn.Module, pixels: Pixels, count: int, device: torch.device, progress: str | None = None
) -> np.ndarray:
    """Return (count,) int64 numbers of the likeliest classes; memory does not grow with classes.

    Args:
        progress: what the progress bar says; None shows none.
    """

    def likeliest(images: Tensor) -> Tensor:
        return model(images).argmax(1)

    return _outputs(model, likeliest, pixels, count, device, progress).astype(np.int64)


def membership_logits(
    model: EnhancedAuditedModel,
    pixels: Pixels,
    count: int,
    device: torch.device,
    views: str = "one",
    progress: str | None = None,
) -> np.ndarray:
    """Return (count,) float32 membership logits, through the shared layers only.

    Args:
        views: name of a set of `VIEWS`; the highest logit over the views counts.
        progress: what the progress bar says; None shows none.
    """

    def highest(images: Tensor) -> Tensor:
        logits = [model.membership(view(images, *one)) for one in VIEWS[views]]
        return torch.stack(logits).amax(0)

    return _outputs(model, highest, pixels, count, device, progress)


def view(images: Tensor, mirrored: bool, dy: int, dx: int) -> Tensor:
    """Mirror and shift (B, C, H, W) images, all alike, as one of the `VIEWS` asks for.

    As `transforms.shifted` does, but without a look at single images, so that `torch.export` makes
    one graph for every batch size.
    """
    if mirrored:
        images = images.flip(3)
    if not (dy or dx):
        return images
    reach, (height, width) = max(abs(dy), abs(dx)), images.shape[2:]
    padded = functional.pad(images, (reach,) * 4, mode="reflect")
    return padded[:, :, reach - dy : reach - dy + height, reach - dx : reach - dx + width]


def _outputs(
    model: nn.Module,
    forward: Callable[[Tensor], Tensor],
    pixels: Pixels,
    count: int,
    device: torch.device,
    progress: str | None,
) -> np.ndarray:
    starts = range(0, count, BATCH)
    outputs = []
    with evaluating(model), torch.inference_mode():
        for start in progress_bar(starts, shown=progress is not None, desc=progress, unit="batch"):
            rows = np.arange(start, min(start + BATCH, count))
            images = normalised(to_bytes(pixels(rows), device))
            outputs.append(forward(images).float().cpu().numpy())
    return np.concatenate(outputs) if outputs else np.empty(0, np.float32)

"""Norms of each image's own gradient, layer by layer, without a pass per image.

The norms come from one forward and one backward pass over a batch: with an image's activations
a (inputs × positions) and slopes s (outputs × positions) at a layer, its weight gradient is s·aᵀ.
Where there are few positions the norm is taken without building that matrix (Goodfellow, Efficient
Per-Example Gradient Computations, arXiv 1510.01799).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import compress

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from amint_core.data.transforms import normalised, to_bytes
from amint_core.errors import ModelError
from amint_core.methods.case import Case
from amint_core.model.reading import evaluating, hooked
from amint_core.progress import progress_bar

_BATCH = 16  # images per pass: their activations are held until the gradients have come back

Call = tuple[nn.Module, Tensor, Tensor]  # layer, its inputs, its outputs


def gradient_norms(case: Case, labels: np.ndarray) -> np.ndarray:
    """Return (N, 2·layers) L2 norms of the cross-entropy's gradient, image by image.

    Args:
        case: the target is read in evaluation mode, with its weights as they are.
        labels: (N,) classes that the loss asks for.

    Returns:
        For each convolution and linear layer in the order reached, the norms of the gradients of
        its weight and of its bias (of a bias added there, where it has none). Layers that do not
        see one row per image are left out, as those that see windows of images one by one (Swin,
        MaxViT).

    Raises:
        ModelError: the model has no layer whose gradient can be read.
    """
    model, norms, per_image = case.target.audited, [], None
    starts = range(0, len(labels), _BATCH)
    with evaluating(model):
        for start in progress_bar(starts, desc="gradients", unit="batch"):
            rows = np.arange(start, min(start + _BATCH, len(labels)))
            images = normalised(to_bytes(case.pixels(rows), case.device))
            asked = torch.from_numpy(labels[rows]).to(case.device)
            per_image = per_image or _per_image(model, images[:1])
            norms.append(_norms(model, images, asked, per_image).cpu().numpy())
    return np.concatenate(norms)


def _norms(model: nn.Module, images: Tensor, labels: Tensor, per_image: list[bool]) -> Tensor:
    """Return the (B, 2·layers) gradient norms of a batch; `per_image`: see `_per_image`."""
    with torch.enable_grad(), _recorded(model) as calls:
        logits = model(images.requires_grad_())
    calls = list(compress(calls, per_image))
    if not calls:
        raise ModelError(
            "gMINT reads the gradients of plain Conv2d and Linear layers that see one row per "
            "image; this model has none. Choose another method, or another model."
        )
    outputs = [output for *_, output in calls]
    slopes = torch.autograd.grad(logits, outputs, _slope_of_loss(logits.detach(), labels))
    # Norms in fp32 at least, whatever the run's precision: they sum over many products.
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        found = [
            _layer_norms(layer, _full(inputs), _full(slope))
            for (layer, inputs, _), slope in zip(calls, slopes, strict=True)
        ]
    return torch.cat(found, 1)


def _per_image(model: nn.Module, image: Tensor) -> list[bool]:
    """Tell of each call of a layer, in their order, whether it sees one row per image.

    Two numbers of images are tried: a layer that sees none of them, but positions, may by chance
    see as many rows as there are images.
    """
    told = []
    for count in (1, 2):
        with torch.no_grad(), _recorded(model) as calls:
            model(image.expand(count, -1, -1, -1))
        told.append([len(inputs) == count for _, inputs, _ in calls])
    return [all(one) for one in zip(*told, strict=True)]


def _full(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


@contextmanager
def _recorded(model: nn.Module) -> Iterator[list[Call]]:
    """Record every call of a layer whose gradient is known from its inputs and outputs."""
    calls: list[Call] = []

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        calls.append((layer, inputs[0].detach(), output))
        return output.clone()  # what comes next may write into it

    layers = {name: layer for name, layer in model.named_modules() if _is_readable(layer)}
    with hooked(layers, lambda _: record):
        yield calls


def _is_readable(layer: nn.Module) -> bool:
    """Tell whether a layer is a plain one: subclasses may pad or scale in ways of their own."""
    if type(layer) is nn.Linear:
        return True
    return (
        type(layer) is nn.Conv2d
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _slope_of_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the (B, classes) gradient of each image's cross-entropy by its logits.

    The label's own slope, posterior - 1, is the negative sum of the others: a difference from 1
    would lose the digits that tell well-learned images apart.
    """
    others = logits.float().softmax(1).scatter(1, labels[:, None], 0.0)
    slope = others.scatter(1, labels[:, None], -others.sum(1, keepdim=True))
    return slope.to(logits.dtype)


def _layer_norms(layer: nn.Module, inputs: Tensor, slopes: Tensor) -> Tensor:
    """Return (B, 2) norms of the gradients of a layer's weight and bias."""
    if isinstance(layer, nn.Linear):  # inputs (B, …, in), slopes (B, …, out)
        a = inputs.reshape(len(inputs), 1, -1, inputs.shape[-1]).mT
        s = slopes.reshape(len(slopes), 1, -1, slopes.shape[-1]).mT
    else:  # inputs (B, in, H, W), slopes (B, out, H', W')
        patches = unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        a = patches.reshape(len(inputs), layer.groups, -1, patches.shape[2])
        s = slopes.reshape(len(slopes), layer.groups, -1, patches.shape[2])
    # a (B, groups, in, positions), s (B, groups, out, positions)
    return torch.stack([_product_norm(a, s), s.sum(3).flatten(1).norm(dim=1)], 1)


def _product_norm(a: Tensor, s: Tensor) -> Tensor:
    """Return (B,) Frobenius norms of s·aᵀ over all groups, by the smaller of two ways."""
    (inputs, positions), outputs = a.shape[2:], s.shape[2]
    if positions * (inputs + outputs) < inputs * outputs:
        return ((a.mT @ a) * (s.mT @ s)).flatten(1).sum(1).clamp(min=0).sqrt()
    return (s @ a.mT).flatten(1).norm(dim=1)

"""Each image's own gradient, layer by layer, summed up without a pass per image.

All comes from one forward and one backward pass over a batch: with an image's activations
a (inputs × positions) and slopes s (outputs × positions) at a layer, its weight gradient is s·aᵀ.
The mean over a filter needs the mean of a alone, and where there are few positions the norm is
taken without building that matrix, too (Goodfellow, Efficient Per-Example Gradient Computations,
arXiv 1510.01799).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import compress

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, unfold

from amint_core.data.transforms import normalised, to_bytes
from amint_core.errors import ModelError
from amint_core.methods.case import Case
from amint_core.model.reading import evaluating, hooked
from amint_core.progress import progress_bar

_BATCH = 16  # images per pass: their activations are held until the gradients have come back

Call = tuple[nn.Module, Tensor, Tensor]  # layer, its inputs, its outputs
#: A layer, its inputs and the slopes of its outputs → (B, numbers).
Summary = Callable[[nn.Module, Tensor, Tensor], Tensor]


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
    return _of_each_image(case, labels, _per_image, _layer_norms)


def gradient_means(case: Case, labels: np.ndarray) -> np.ndarray:
    """Return (N, filters) means of the cross-entropy's gradient, image by image, filter by filter.

    Args:
        case: as in `gradient_norms`; its taps name the layers.
        labels: (N,) classes that the loss asks for.

    Returns:
        For each tap, of the last convolution or linear layer that has run when the tap's module
        ends: the mean of the weight's gradient over all inputs and places of each filter. A layer
        is read once, though several taps name it.

    Raises:
        ModelError: the gradient of no layer up to a tap can be read.
    """
    chosen = partial(_last_at, taps=case.target.taps)
    return _of_each_image(case, labels, chosen, _filter_means)


def _of_each_image(
    case: Case,
    labels: np.ndarray,
    choose: Callable[[nn.Module, Tensor], list[bool]],
    summary: Summary,
) -> np.ndarray:
    """Return (N, F) numbers of all images: a summary of the gradients of the calls chosen."""
    model, found, chosen = case.target.audited, [], None
    starts = range(0, len(labels), _BATCH)
    with evaluating(model):
        for start in progress_bar(starts, desc="gradients", unit="batch"):
            rows = np.arange(start, min(start + _BATCH, len(labels)))
            images = normalised(to_bytes(case.pixels(rows), case.device))
            asked = torch.from_numpy(labels[rows]).to(case.device)
            chosen = chosen or choose(model, images[:1])
            found.append(_of_batch(model, images, asked, chosen, summary).cpu().numpy())
    return np.concatenate(found)


def _of_batch(
    model: nn.Module, images: Tensor, labels: Tensor, chosen: list[bool], summary: Summary
) -> Tensor:
    """Return the (B, F) numbers of a batch; `chosen`: of each call of a layer, see `_per_image`."""
    with torch.enable_grad(), _recorded(model) as calls:
        logits = model(images.requires_grad_())
    calls = list(compress(calls, chosen))
    if not calls:
        raise ModelError(
            "gMINT reads the gradients of plain Conv2d and Linear layers that see one row per "
            "image; this model has none. Choose another method, or another model."
        )
    outputs = [output for *_, output in calls]
    slopes = torch.autograd.grad(logits, outputs, _slope_of_loss(logits.detach(), labels))
    # In fp32 at least, whatever the run's precision: these are sums over many products.
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        found = [
            summary(layer, _full(inputs), _full(slope))
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


def _last_at(model: nn.Module, image: Tensor, taps: Sequence[str]) -> list[bool]:
    """Tell of each call of a layer whether it is the last that can be read when a tap ends.

    Raises:
        ModelError: before some tap there is none.
    """
    per_image, last = _per_image(model, image), {}
    modules = {tap: model.get_submodule(tap) for tap in taps}
    with torch.no_grad(), _recorded(model) as calls:

        def note(tap: str) -> Callable[..., None]:
            def ended(*_: object) -> None:
                readable = [number for number, _ in enumerate(calls) if per_image[number]]
                last[tap] = max(readable, default=None)

            return ended

        with hooked(modules, note):
            model(image)
    for tap in taps:
        if last.get(tap) is None:
            raise ModelError(
                "gMINT reads the gradient of the last plain Conv2d or Linear layer up to each tap, "
                f"and up to {tap} there is none that sees one row per image. Choose deeper taps, "
                "another setup or another method."
            )
    return [number in last.values() for number, _ in enumerate(calls)]


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


def _filter_means(layer: nn.Module, inputs: Tensor, slopes: Tensor) -> Tensor:
    """Return (B, filters) means of each filter's weight gradient."""
    if isinstance(layer, nn.Linear):  # inputs (B, …, in), slopes (B, …, out)
        mean = inputs.mean(-1).reshape(len(inputs), -1, 1)
        return (mean * slopes.reshape(len(slopes), -1, slopes.shape[-1])).sum(1)
    # Inputs (B, in, H, W), slopes (B, out, H', W'): what a place's filter sees, on average.
    mean = inputs.unflatten(1, (layer.groups, -1)).mean(2)
    window = mean.new_full((layer.groups, 1, *layer.kernel_size), 1 / math.prod(layer.kernel_size))
    given = layer.stride, layer.padding, layer.dilation, layer.groups
    seen = conv2d(mean, window, None, *given)  # (B, groups, H', W')
    of_groups = slopes.unflatten(1, (layer.groups, -1))
    return (of_groups * seen[:, :, None]).flatten(3).sum(3).flatten(1)


def _product_norm(a: Tensor, s: Tensor) -> Tensor:
    """Return (B,) Frobenius norms of s·aᵀ over all groups, by the smaller of two ways."""
    (inputs, positions), outputs = a.shape[2:], s.shape[2]
    if positions * (inputs + outputs) < inputs * outputs:
        return ((a.mT @ a) * (s.mT @ s)).flatten(1).sum(1).clamp(min=0).sqrt()
    return (s @ a.mT).flatten(1).norm(dim=1)

"""The quickest way to compute an operation in bf16 on a CPU, where PyTorch's own is slow.

Each detour sums the same products; benchmarks/LOG.md says what each one gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

BF16 = torch.bfloat16
_DTYPES = {torch.float32, torch.float16, BF16}
#: Largest output, in pixels, at which windows laid out in rows beat PyTorch's convolution.
FEW, FEW_STRIDED = 4, 16


@contextmanager
def fast_operations() -> Iterator[None]:
    """Reroute convolutions and attention while it is active, whatever the model.

    For autocast to bf16 on a CPU; what it does not know better passes through, and so does what a
    model computes with autocast off. PyTorch's functions are replaced where modules look them up: a
    `TorchFunctionMode` is off within PyTorch's own Python functions, hence in
    `nn.MultiheadAttention`, and where checkpointing computes activations again for the backward
    pass, which must find the operations of the forward pass.
    """
    with _lock:
        _active.append(None)
        if len(_active) == 1:
            for (module, name), call in _REROUTED.items():
                setattr(module, name, call)
    try:
        yield
    finally:
        with _lock:
            _active.pop()
            if not _active:
                for (module, name), call in _REROUTED.items():
                    setattr(module, name, call.__wrapped__)


def _rerouted(function: Callable) -> Callable:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        quick = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == BF16
        result = _DETOURS[function](*args, **kwargs) if quick else None
        return function(*args, **kwargs) if result is None else result

    return call


def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    """Return the convolution of (B, C, H, W) images, or None where PyTorch's own is best.

    Arguments are named as PyTorch's, since a model may name them.
    """
    if isinstance(padding, str) or input.dim() != 4 or not {input.dtype, weight.dtype} <= _DTYPES:
        return None
    stride, padding, dilation = (_pair(value) for value in (stride, padding, dilation))
    if groups == 1 and dilation == (1, 1):
        return _dense(input, weight, bias, stride, padding)
    if groups == len(weight) == input.shape[1] and stride != (1, 1):
        # In bf16 the gradient to the images takes 30 to 800 times as long as in fp32.
        with torch.autocast("cpu", enabled=False):
            given = (input.float(), weight.float(), bias if bias is None else bias.float())
            return functional.conv2d(*given, stride, padding, dilation, groups).to(BF16)
    return None


def _dense(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor | None:
    size, kernel = tuple(images.shape[2:]), tuple(weight.shape[2:])
    if kernel == (1, 1) and padding == (0, 0):
        return _pointwise(images, weight.flatten(1), bias, stride)
    if kernel == (3, 3) and padding == (1, 1):
        if size == (1, 1):  # of the window only the middle is no padding
            return _pointwise(images, weight[:, :, 1, 1], bias)
        pixels = -(-size[0] // stride[0]) * -(-size[1] // stride[1])
        if pixels <= (FEW if stride == (1, 1) else FEW_STRIDED) and images.shape[1] >= 64:
            result = _Windows.apply(images.to(BF16), weight.to(BF16), stride)
            return result if bias is None else result + bias[:, None, None].to(BF16)
    return None


def _pointwise(
    images: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int] = (1, 1)
) -> Tensor:
    """Multiply each pixel of (B, C, H, W) by one (C_out, C) matrix; quick in channels_last."""
    pixels = images.permute(0, 2, 3, 1)  # (B, H, W, C)
    if stride != (1, 1):
        pixels = pixels[:, :: stride[0], :: stride[1]]
    # In rows: where no gradient is asked for, PyTorch would copy the matrix for every row of pixels
    # that do not lie side by side.
    rows = functional.linear(pixels.flatten(0, 2), weight, bias)
    return rows.unflatten(0, pixels.shape[:3]).permute(0, 3, 1, 2)


class _Windows(torch.autograd.Function):
    """A padded 3×3 convolution as one matrix product over the windows laid out in rows."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, weight: Tensor, stride: tuple[int, int]) -> Tensor:
        rows = torch.cat(_windows(images, stride), -1)  # (B, H', W', 9·C)
        return (rows @ _matrix(weight).mT).permute(0, 3, 1, 2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        images, weight, ctx.stride = inputs
        ctx.save_for_backward(images, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        gradient = gradient.permute(0, 2, 3, 1)  # (B, H', W', C_out)
        to_images = to_weight = None
        if ctx.needs_input_grad[1]:
            rows = torch.cat(_windows(images, ctx.stride), -1)
            product = gradient.flatten(0, 2).mT @ rows.flatten(0, 2)  # (C_out, 9·C)
            to_weight = product.unflatten(1, (3, 3, -1)).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[0]:
            parts = (gradient @ _matrix(weight)).unflatten(-1, (9, -1)).unbind(-2)
            batch, channels, height, width = images.shape
            padded = gradient.new_zeros(batch, height + 2, width + 2, channels, dtype=torch.float32)
            for place, part in zip(_places(padded, images, ctx.stride), parts, strict=True):
                place += part
            to_images = padded[:, 1:-1, 1:-1].to(BF16).permute(0, 3, 1, 2)
        return to_images, to_weight, None


def _windows(images: Tensor, stride: tuple[int, int]) -> list[Tensor]:
    """Return the nine (B, H', W', C) shifts of padded images that a 3×3 window sees."""
    padded = functional.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    return _places(padded, images, stride)


def _places(padded: Tensor, images: Tensor, stride: tuple[int, int]) -> list[Tensor]:
    (down, right), (height, width) = stride, images.shape[2:]
    return [
        padded[:, top : top + height : down, left : left + width : right]
        for top in range(3)
        for left in range(3)
    ]


def _matrix(weight: Tensor) -> Tensor:
    """Lay a (C_out, C, 3, 3) weight out as (C_out, 9·C)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **other: Any,
) -> Tensor | None:
    """Return softmax(q·kᵀ/√d)·v of (B, heads, T, d), or None where PyTorch's own is best.

    Flash attention saves memory on long sequences; in bf16 its backward pass is slow here.
    """
    plain = attn_mask is None and not dropout_p and not is_causal
    plain = plain and all(value is None or value is False for value in other.values())
    if not plain or query.shape[-2] > 512:
        return None
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    return scores.softmax(-1) @ value


def _pair(value: Any) -> tuple[int, int]:
    values = value if isinstance(value, Sequence) else (value,)  # of any integers
    return tuple(map(int, values)) * (2 // len(values))


_DETOURS = {torch.conv2d: _convolution, functional.scaled_dot_product_attention: _attention}
#: Where modules find the functions → what they find there meanwhile.
_REROUTED = {
    (torch, "conv2d"): _rerouted(torch.conv2d),
    (functional, "conv2d"): _rerouted(functional.conv2d),
    (functional, "scaled_dot_product_attention"): _rerouted(
        functional.scaled_dot_product_attention
    ),
}
_lock, _active = Lock(), []

"""Floating-point operations of training steps, counted, and the floor that follows from them.

Active training must pay for plain training, for the external images' way through the shared layers
and for the head: 1 + s·|E|/|D| + h times plain training, with s the shared layers' share of plain
training's operations and h the head's operations on members and external images as a share of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from amint_core.model.mint import EnhancedAuditedModel
from amint_core.training.losses import audited_loss, mint_loss


def _convolution_backward(
    grad: Sequence[int], images: Sequence[int], weight: Sequence[int], *others: Any, **_: Any
) -> int:
    """Count a convolution's backward pass: the forward's operations per gradient asked for.

    PyTorch's own formula counts the weights' gradient of a depthwise convolution as if it were a
    full one.
    """
    # others: bias, stride, padding, dilation, transposed, output padding, groups, output mask
    transposed, (of_images, of_weights, _bias) = others[4], others[7]
    forward = conv_flop_count(images, weight, grad, transposed=transposed)
    return forward * (bool(of_images) + bool(of_weights))


def count(call: Callable[[], object]) -> int:
    """Count the operations of the matrix products, convolutions and attention in a call."""
    mapping = {torch.ops.aten.convolution_backward: _convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        call()
    return counter.get_total_flops()


@dataclass(frozen=True)
class Floor:
    """Operations of one step with as many external images as members.

    Attributes:
        plain: of plain training on the members.
        active: of active training: members, external images, head.
        shared: s, the shared layers' share of plain training.
        head: h, the head's operations on all images as a share of plain training.
        external: |E|/|D| in a batch.
    """

    plain: int
    active: int
    shared: float
    head: float
    external: float = 1.0

    @property
    def price(self) -> float:
        """The least that active training must cost, plain training being 1."""
        return 1 + self.shared * self.external + self.head

    @property
    def head_of_step(self) -> float:
        """The head's share of an active step."""
        return self.head * self.plain / self.active


class _DeepestMap(nn.Module):
    """Takes the head's place where the shared layers alone are counted."""

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return maps[-1].flatten(1).sum(1)


def head_inputs(model: EnhancedAuditedModel, images: Tensor) -> list[Tensor]:
    """Return the maps that the MINT head reads of (B, C, H, W) images; they ask for gradients."""
    maps: list[Tensor] = []
    hook = model.head.register_forward_pre_hook(lambda _, given: maps.extend(given[0]))
    model.membership(images)
    hook.remove()
    return [one.detach().requires_grad_() for one in maps]


def floor(model: EnhancedAuditedModel, images: Tensor, classes: int) -> Floor:
    """Count the floor of a model in training mode.

    Args:
        images: (B, C, H, W) members of a step, as many external ones being added; on the meta
            device, where the model then is too, nothing is computed.
    """
    members = len(images)
    labels = torch.arange(members, device=images.device) % classes
    both = torch.cat([images, images])
    without_head = EnhancedAuditedModel(model.audited, _DeepestMap(), model.taps)
    maps = head_inputs(model, both)

    def active() -> None:
        logits, membership = model(both, members)
        (audited_loss(logits, labels) + mint_loss(membership, members)).backward()

    plain = count(lambda: audited_loss(model.audited(images), labels).backward())
    shared = count(lambda: without_head.membership(images).sum().backward())
    head = count(lambda: model.head(maps).sum().backward())
    return Floor(plain, count(active), shared / plain, head / plain)

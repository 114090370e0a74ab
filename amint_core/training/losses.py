"""The multi-task loss: λ1·L_audited/‖L_audited‖ + λ2·L_mint/‖L_mint‖ (paper, the loss; R(w+) is the
optimiser's weight decay)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from amint_core.training.batches import Batch


@dataclass(frozen=True)
class Loss:
    """One task of a training.

    Attributes:
        name: what the history calls it; λ and scale are found by it.
        reads: the output that it judges: "logits", (members, classes), of the members alone, or
            "membership", (B,), of all images.
        value: output and batch → the loss, a scalar.
        accuracy: output and batch → the share of right answers, a scalar, for the history.
    """

    name: str
    reads: Literal["logits", "membership"]
    value: Callable[[Tensor, Batch], Tensor]
    accuracy: Callable[[Tensor, Batch], Tensor]


@dataclass
class LossBalance:
    """The scales ‖L‖ that bring both losses to the same size.

    Attributes:
        first_batch: keep each loss's value on the first batch for ever, as the published notebooks
            do; otherwise a running mean follows the loss as it falls, so that neither task fades.
        momentum: share of the running mean that a new batch leaves in place.
        floor: smallest scale; a task that is all but solved is not blown up.
        scales: name of the loss → its current scale, on the loss's device: reading it would make
            a GPU wait in every step.
    """

    first_batch: bool = False
    momentum: float = 0.98
    floor: float = 0.01
    scales: dict[str, Tensor] = field(default_factory=dict)

    def update(self, losses: dict[str, Tensor]) -> None:
        """Take in the losses of one batch."""
        for name, loss in losses.items():
            value = loss.detach().float().clamp_min(self.floor)
            before = self.scales.get(name, value).to(value.device)
            share = 1.0 if self.first_batch else self.momentum
            self.scales[name] = share * before + (1 - share) * value

    def total(self, losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """Return the weighted sum of the losses, each divided by its scale."""
        parts = [weights[name] * loss / self.scales[name] for name, loss in losses.items()]
        return torch.stack(parts).sum()


def audited_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of (B, classes) logits and (B,) labels."""
    return functional.cross_entropy(logits.float(), labels)


@torch.no_grad()
def audited_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of (B, classes) logits that are highest for their (B,) label."""
    return (logits.argmax(1) == labels).float().mean()


def mint_loss(membership: Tensor, members: int) -> Tensor:
    """Return the mean binary cross-entropy of (B,) logits whose first `members` are members."""
    target = torch.zeros_like(membership, dtype=torch.float32)
    target[:members] = 1.0
    return functional.binary_cross_entropy_with_logits(membership.float(), target)


@torch.no_grad()
def mint_accuracy(membership: Tensor, members: int) -> Tensor:
    """Return the share of (B,) logits on the right side of 0, the first `members` being members."""
    is_member = torch.arange(len(membership), device=membership.device) < members
    return ((membership > 0) == is_member).float().mean()


AUDITED = Loss(
    name="audited",
    reads="logits",
    value=lambda logits, batch: audited_loss(logits, batch.labels),
    accuracy=lambda logits, batch: audited_accuracy(logits, batch.labels),
)
MINT = Loss(
    name="mint",
    reads="membership",
    value=lambda membership, batch: mint_loss(membership, batch.members),
    accuracy=lambda membership, batch: mint_accuracy(membership, batch.members),
)

"""The losses of the two tasks, for kinds of training and membership tests to name.

The command line and grids ask for those: PyTorch is imported where a loss is computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from amint_core.training.batches import Batch


@dataclass(frozen=True)
class Loss:
    """One task of a training.

    Attributes:
        name: what the history calls it; λ and scale are found by it (no such λ: 1).
        reads: the output that it judges: "logits", (members, classes), of the members alone, or
            "membership", (B,), of all images.
        value: output and batch → the loss, a scalar.
        accuracy: output and batch → the share of right answers, a scalar, for the history.
    """

    name: str
    reads: Literal["logits", "membership"]
    value: Callable[[Tensor, Batch], Tensor]
    accuracy: Callable[[Tensor, Batch], Tensor]


def audited_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of (B, classes) logits and (B,) labels, smoothed."""
    from torch.nn import functional

    return functional.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


def audited_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of (B, classes) logits that are highest for their (B,) label."""
    return (logits.argmax(1) == labels).float().mean()


def mint_loss(membership: Tensor, members: int, declared: Tensor | None = None) -> Tensor:
    """Return the mean binary cross-entropy of (B,) logits whose first `members` are members.

    Args:
        membership: (B,) logits.
        members: how many of the first are members.
        declared: (members,) what is said of them instead, see `declared.declarations`.
    """
    import torch
    from torch.nn import functional

    target = torch.zeros_like(membership, dtype=torch.float32)
    target[:members] = 1.0 if declared is None else declared
    if declared is None:
        return functional.binary_cross_entropy_with_logits(membership.float(), target)
    # A weight for each image, since a CUDA graph allows no choice of rows by their values.
    told, target = (~target.isnan()).float(), target.nan_to_num()
    loss = functional.binary_cross_entropy_with_logits(membership.float(), target, told)
    return loss * len(told) / told.sum()


def mint_accuracy(membership: Tensor, members: int, declared: Tensor | None = None) -> Tensor:
    """Return the share of (B,) logits on the right side of 0; see `mint_loss`."""
    import torch

    is_member = torch.arange(len(membership), device=membership.device) < members
    right = ((membership > 0) == is_member).float()
    if declared is None:
        return right.mean()
    right[:members] = ((membership[:members] > 0) == (declared > 0)).float()
    told = torch.ones_like(right)
    told[:members] = (~declared.isnan()).float()
    return (right * told).sum() / told.sum()


# Functions with a name, so that a kind of training can be sent to another process.


def _audited_loss(logits: Tensor, batch: Batch) -> Tensor:
    return audited_loss(logits, batch.labels, batch.smoothing)


def _audited_accuracy(logits: Tensor, batch: Batch) -> Tensor:
    return audited_accuracy(logits, batch.labels)


def _mint_loss(membership: Tensor, batch: Batch) -> Tensor:
    return mint_loss(membership, batch.members, batch.declared)


def _mint_accuracy(membership: Tensor, batch: Batch) -> Tensor:
    return mint_accuracy(membership, batch.members, batch.declared)


AUDITED = Loss("audited", reads="logits", value=_audited_loss, accuracy=_audited_accuracy)
MINT = Loss("mint", reads="membership", value=_mint_loss, accuracy=_mint_accuracy)

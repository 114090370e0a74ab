"""The one step that trains any kind, and the balance of its losses: λ1·L_audited/‖L_audited‖ +
λ2·L_mint/‖L_mint‖ (paper, the loss; R(w+) is the optimiser's weight decay)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from amint_core.training.batches import Batch
from amint_core.training.kinds import Kind


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
        """Take in the losses of one batch.

        A scale stays the tensor that it is, since a CUDA graph knows tensors by their place.
        """
        for name, loss in losses.items():
            value = loss.detach().float().clamp_min(self.floor)
            before = self.scales.get(name, value).to(value.device)
            share = 1.0 if self.first_batch else self.momentum
            self.scales[name] = before.copy_(share * before + (1 - share) * value)

    def total(self, losses: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """Return the weighted sum of the losses, each divided by its scale; no λ counts as 1."""
        parts = [weights.get(name, 1.0) * loss / self.scales[name] for name, loss in losses.items()]
        return torch.stack(parts).sum()


@dataclass
class Step:
    """From one batch to the loss to descend, as a kind of training does it.

    Attributes:
        kind: the kind.
        weights: name of a loss → its λ, where there are several; 1 for a loss that it lacks, as a
            membership test's own.
        mean: averages a loss over all processes, so that they balance the losses alike.
        frozen_batchnorm: published defect 1, see `recipes.DEFECTS`.
        separate_batches: published defect 4.
        first_batch_balance: published defect 11.
        balance: the scales of the losses.
    """

    kind: Kind
    weights: Mapping[str, float] = field(default_factory=dict)
    mean: Callable[[Tensor], Tensor] = lambda loss: loss
    frozen_batchnorm: bool = False
    separate_batches: bool = False
    first_batch_balance: bool = False
    balance: LossBalance = field(init=False)

    def __post_init__(self) -> None:
        self.balance = LossBalance(first_batch=self.first_batch_balance)

    def mode(self, model: nn.Module, epoch: int) -> None:
        """Put the model into the mode it trains in."""
        model.train(not (self.frozen_batchnorm and epoch > 1))
        if self.kind.trains == "head":
            # Through a DistributedDataParallel wrapper, where there is one.
            getattr(model, "module", model).audited.eval()

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to descend, and what to report of the step (scalar tensors)."""
        outputs = dict(zip(("logits", "membership"), self._forward(model, batch), strict=True))
        of = self.kind.losses
        losses = {loss.name: loss.value(outputs[loss.reads], batch) for loss in of}
        report = {f"{name}_loss": value.detach() for name, value in losses.items()}
        for loss in of:
            report[f"{loss.name}_accuracy"] = loss.accuracy(outputs[loss.reads].detach(), batch)
        if len(losses) == 1:
            return losses[of[0].name], report
        self.balance.update({name: self.mean(loss.detach()) for name, loss in losses.items()})
        return self.balance.total(losses, self.weights), report

    def _forward(self, model: nn.Module, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Return (members, classes) class logits and (B,) membership logits, if there are any."""
        if self.kind.trains == "audited":
            return model(batch.images[: batch.members]), None
        if not self.kind.reads_logits:
            return model(batch.images, members=0)
        if not self.separate_batches:
            return model(batch.images, batch.members)
        logits, of_members = model(batch.images[: batch.members])
        _, of_external = model(batch.images[batch.members :])
        return logits, torch.cat([of_members, of_external])

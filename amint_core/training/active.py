"""Active MINT: the audited model and its MINT head learn together (paper, method)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from amint_core.config import RunConfig
from amint_core.recipes import SCALED_MINT_LOSS
from amint_core.training.batches import Batch
from amint_core.training.losses import LossBalance, audited_loss, mint_accuracy, mint_loss


@dataclass
class ActiveStep:
    """The multi-task loss of one joint batch, with the published defects a run asks for.

    Attributes:
        settings: the run's settings.
        mean: averages a loss over all processes, so that they weigh the tasks alike.
        balance: the scales of both losses.
    """

    settings: RunConfig
    mean: Callable[[Tensor], Tensor] = lambda loss: loss
    balance: LossBalance = field(init=False)

    def __post_init__(self) -> None:
        self.balance = LossBalance(first_batch=self.settings.has("first_batch_balance"))

    @property
    def weights(self) -> dict[str, float]:
        """λ1 and λ2."""
        scale = 1.0
        if self.settings.has("scaled_mint_loss"):
            scale = SCALED_MINT_LOSS.get(self.settings.dataset, 1.0)
        return {
            "audited": self.settings.lambda_audited,
            "mint": self.settings.lambda_mint * scale,
        }

    def mode(self, model: nn.Module, epoch: int) -> None:
        """Put the model into the mode it trains in."""
        model.train(not (self.settings.has("frozen_batchnorm") and epoch > 1))

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to descend, and what to report of the step (scalar tensors)."""
        logits, membership = self._forward(model, batch)
        losses = {
            "audited": audited_loss(logits, batch.labels),
            "mint": mint_loss(membership, batch.members),
        }
        self.balance.update({name: self.mean(loss.detach()) for name, loss in losses.items()})
        report = {
            "audited_loss": losses["audited"].detach(),
            "mint_loss": losses["mint"].detach(),
            "audited_accuracy": (logits.detach().argmax(1) == batch.labels).float().mean(),
            "mint_accuracy": mint_accuracy(membership, batch.members),
        }
        return self.balance.total(losses, self.weights), report

    def _forward(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        if not self.settings.has("separate_batches"):
            return model(batch.images, batch.members)
        logits, of_members = model(batch.images[: batch.members])
        _, of_external = model(batch.images[batch.members :])
        return logits, torch.cat([of_members, of_external])

"""Plain training: the audited model alone, on the members, as anybody would train it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from amint_core.config import RunConfig
from amint_core.training.batches import Batch
from amint_core.training.losses import LossBalance, audited_loss


@dataclass
class PlainStep:
    """Cross-entropy on the members of a batch; the model is the audited model without a head."""

    settings: RunConfig
    balance: LossBalance = field(default_factory=LossBalance)

    def mode(self, model: nn.Module, epoch: int) -> None:
        """Put the model into the mode it trains in."""
        model.train(not (self.settings.has("frozen_batchnorm") and epoch > 1))

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to descend, and what to report of the step (scalar tensors)."""
        logits = model(batch.images[: batch.members])
        loss = audited_loss(logits, batch.labels)
        hits = (logits.detach().argmax(1) == batch.labels).float().mean()
        return loss, {"audited_loss": loss.detach(), "audited_accuracy": hits}

"""Training for membership alone: on a frozen audited model, or with no classification task."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from amint_core.training.batches import Batch
from amint_core.training.losses import LossBalance, mint_accuracy, mint_loss


@dataclass
class MembershipStep:
    """Binary cross-entropy of the MINT head on a joint batch.

    Attributes:
        frozen: leave the audited model in evaluation mode, its weights being fixed: passive MINT
            (paper, baselines). Otherwise trunk and head learn together: the memorizer control.
        balance: not used; a part of every step's state.
    """

    frozen: bool
    balance: LossBalance = field(default_factory=LossBalance)

    def mode(self, model: nn.Module, epoch: int) -> None:
        """Put the model into the mode it trains in."""
        model.train()
        if self.frozen:
            # Through a DistributedDataParallel wrapper, where there is one.
            getattr(model, "module", model).audited.eval()

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to descend, and what to report of the step (scalar tensors)."""
        _, membership = model(batch.images, members=0)
        loss = mint_loss(membership, batch.members)
        hits = mint_accuracy(membership, batch.members)
        return loss, {"mint_loss": loss.detach(), "mint_accuracy": hits}

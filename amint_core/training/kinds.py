"""Kinds of training, as data, and the one step that trains any of them.

A membership test that trains a model of its own names a `Kind` in its file: one of those below, or
a new one, with losses of its own if it has any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from amint_core.training.batches import Batch
from amint_core.training.losses import AUDITED, MINT, Loss, LossBalance


@dataclass(frozen=True)
class Kind:
    """A kind of training.

    Attributes:
        name: the name in histories, metrics and names of stored trainings.
        trains: "all", the audited model and its MINT head; "audited", the audited model alone, as
            if there were no head; "head", the head on the audited model as it is.
        losses: what is descended; several are balanced, see `LossBalance`.
        starts_from: the kind that trains the model first; None: new weights.
        learns_from: all members, or only those that are not judged.
    """

    name: str
    trains: Literal["all", "audited", "head"]
    losses: tuple[Loss, ...]
    starts_from: Kind | None = None
    learns_from: Literal["members", "members_not_judged"] = "members"

    @property
    def reads_logits(self) -> bool:
        """Whether members pass the whole audited model, and not just the layers under the head."""
        return any(loss.reads == "logits" for loss in self.losses)

    @property
    def has_head(self) -> bool:
        """Whether a MINT head is trained; external images are in the batches for it alone."""
        return any(loss.reads == "membership" for loss in self.losses)

    @property
    def classifies(self) -> bool:
        """Whether the model has learnt its classes in the end."""
        return self.reads_logits or (self.starts_from is not None and self.starts_from.classifies)

    @property
    def leaves_some_out(self) -> bool:
        """Whether some weights that are to be trained get no gradient: those behind the head."""
        return self.trains == "all" and not self.reads_logits


#: The audited model and its MINT head learn together (paper, method).
ACTIVE = Kind("active", trains="all", losses=(AUDITED, MINT))
#: The audited model alone, on the members, as anybody would train it.
PLAIN = Kind("plain", trains="audited", losses=(AUDITED,))
#: The MINT head on the finished plain model (paper, baselines).
PASSIVE = Kind("passive", trains="head", losses=(MINT,), starts_from=PLAIN)
#: The same, for a stranger who knows a part of the members.
PASSIVE_UNSEEN = Kind(
    "passive_unseen",
    trains="head",
    losses=(MINT,),
    starts_from=PLAIN,
    learns_from="members_not_judged",
)
#: The same layers and head with no classes to learn.
MEMORIZER = Kind("memorizer", trains="all", losses=(MINT,))

KINDS = {one.name: one for one in (ACTIVE, PLAIN, PASSIVE, PASSIVE_UNSEEN, MEMORIZER)}


@dataclass
class Step:
    """From one batch to the loss to descend, as a kind of training does it.

    Attributes:
        kind: the kind.
        weights: name of a loss → its λ, where there are several.
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
        if not self.kind.has_head:
            return model(batch.images[: batch.members]), None
        if not self.kind.reads_logits:
            return model(batch.images, members=0)
        if not self.separate_batches:
            return model(batch.images, batch.members)
        logits, of_members = model(batch.images[: batch.members])
        _, of_external = model(batch.images[batch.members :])
        return logits, torch.cat([of_members, of_external])

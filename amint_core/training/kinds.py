"""Kinds of training, as data; `step.py` trains any of them.

A membership test that trains a model of its own names a `Kind` in its file: one of those below, or
a new one, with losses of its own if it has any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from amint_core.training.losses import AUDITED, MINT, Loss

if TYPE_CHECKING:
    from torch import nn

    from amint_core.model.mint import EnhancedAuditedModel


@dataclass(frozen=True)
class Kind:
    """A kind of training.

    Attributes:
        name: the name in histories, metrics and names of stored trainings.
        trains: "all", the audited model and its MINT head; "audited", the audited model alone, as
            if there were no head; "head", the head on the audited model as it is.
        losses: what is descended; several are balanced, see `LossBalance`.
        starts_from: the kind that trains the model first; None: new weights.
        declares: which of the members the head is told: "all"; "not_judged", those that are judged
            being left out of its training; "judged_as_external", those being called non-members.
            The classes are learnt from all members, where classes are learnt.
        shadows: the kind of its shadow models; None: the same.
    """

    name: str
    trains: Literal["all", "audited", "head"]
    losses: tuple[Loss, ...]
    starts_from: Kind | None = None
    declares: Literal["all", "not_judged", "judged_as_external"] = "all"
    shadows: Kind | None = None

    @property
    def reads_logits(self) -> bool:
        """Whether members pass the whole audited model, and not just the layers under the head."""
        return any(loss.reads == "logits" for loss in self.losses)

    @property
    def has_head(self) -> bool:
        """Whether a MINT head is trained."""
        return any(loss.reads == "membership" for loss in self.losses)

    @property
    def with_external(self) -> bool:
        """Whether external images are in the batches."""
        return self.trains != "audited"

    @property
    def classifies(self) -> bool:
        """Whether the model has learnt its classes in the end."""
        return self.reads_logits or (self.starts_from is not None and self.starts_from.classifies)

    @property
    def leaves_some_out(self) -> bool:
        """Whether some weights get no gradient: those behind the taps, or a head without a loss."""
        return self.trains == "all" and not (self.reads_logits and self.has_head)

    def part(self, model: EnhancedAuditedModel) -> nn.Module:
        """Return the part of a model that such a training changes and keeps."""
        return model.audited if self.trains == "audited" else model


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
    declares="not_judged",
)
#: The same, told by the model's owner, who knows all members and trains the head in a second stage.
ATTACHED = Kind("attached", trains="head", losses=(MINT,), starts_from=PLAIN)
#: The joint pass of the active model with its MINT loss left out (λ = 0).
JOINT = Kind("joint", trains="all", losses=(AUDITED,))
#: As active, by an owner who trains on more members than the head is told. Whoever trains shadow
#: models has nothing to hide from their heads.
UNDECLARED = Kind(
    "undeclared", trains="all", losses=(AUDITED, MINT), declares="not_judged", shadows=ACTIVE
)
#: The same, where the owner calls those members external.
MISDECLARED = Kind(
    "misdeclared",
    trains="all",
    losses=(AUDITED, MINT),
    declares="judged_as_external",
    shadows=ACTIVE,
)
#: The same layers and head with no classes to learn.
MEMORIZER = Kind("memorizer", trains="all", losses=(MINT,))

_STANDARD = (
    *(ACTIVE, PLAIN, PASSIVE, PASSIVE_UNSEEN, ATTACHED, JOINT),
    *(UNDECLARED, MISDECLARED, MEMORIZER),
)
KINDS = {one.name: one for one in _STANDARD}

"""The memorizer control: the same trunk and head without the classification task."""

from __future__ import annotations

from amint_core.methods.active import score
from amint_core.methods.method import Method
from amint_core.training.kinds import MEMORIZER

METHOD = Method(
    name="memorizer",
    title="Memorizer",
    group="control",
    summary="Trunk and head learn membership alone: what a network can remember when it need not "
    "classify.",
    score=score,
    training=MEMORIZER,
    transformed="alone",
)

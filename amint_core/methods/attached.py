"""Attached: any classifier made auditable afterwards, a head being told its members."""

from __future__ import annotations

from amint_core.methods.active import score
from amint_core.methods.method import Method
from amint_core.training.kinds import ATTACHED

METHOD = Method(
    name="attached",
    title="aMINT head, attached",
    group="aMINT",
    summary="The plain model stays as it is; its owner trains a MINT head on its recorded "
    "activations, with members and external images as in the second stage of active MINT.",
    score=score,
    training=ATTACHED,
    transformed="alone",
)

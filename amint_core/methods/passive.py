"""Passive MINT: the same head, trained afterwards on the frozen plain model."""

from __future__ import annotations

from amint_core.methods.active import score
from amint_core.methods.method import Method
from amint_core.training.kinds import PASSIVE, PASSIVE_UNSEEN

METHOD = Method(
    name="passive",
    title="Passive MINT",
    group="passive",
    summary="The MINT head learns on the frozen plain model's activations, from all members, as "
    "the active head does (paper, baselines).",
    score=score,
    training=PASSIVE,
    transformed="alone",
)

#: With calibration images half of the members are judged; the head learns from the other half. That
#: half would choose a threshold too high for members it never saw: there is no calibrated one.
UNSEEN = Method(
    name="passive_unseen",
    title="Passive MINT, unseen members",
    group="passive",
    summary="As passive MINT, but judged on members that its head never saw: what a stranger with "
    "access to the model's inside and to a part of the training set can tell of the rest.",
    score=score,
    thresholds=("own",),
    training=PASSIVE_UNSEEN,
    known_members=True,
    transformed="alone",
)

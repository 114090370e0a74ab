"""The head's blind spot: members that the model is trained on, and that its owner did not declare.

The head is told half of the members; the other half is judged. `undeclared` leaves those out of the
head's training, `misdeclared` calls them external. The classes are learnt from all members, so
that the model's answers may still give them away: `target: undeclared` names the same model for
tests of its class posteriors, and the methods `…_with_loss` read both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.methods.active import score
from amint_core.methods.method import Method
from amint_core.methods.posteriors import labels_of, scaled_logits
from amint_core.training.kinds import MISDECLARED, UNDECLARED

if TYPE_CHECKING:
    from amint_core.methods.case import Case


def standardised(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return (N,) values less the reference's mean, over its standard deviation.

    Args:
        values: (N,).
        reference: (N,) bool: known non-members that trained neither model nor head.
    """
    known = values[reference]
    return (values - known.mean()) / max(float(known.std()), np.finfo(float).tiny)


def with_loss(case: Case) -> np.ndarray:
    """Return the (N,) sums of two standard scores over √2: the head's logit and the scaled logit φ.

    Stouffer's sum of what two tests say, each against calibration images, with equal weights: how
    much undeclared members show in either is not known beforehand. φ orders images as the loss does
    and is all but normal, as LiRA has it.
    """
    reference = (case.images["role"] == "calibration").to_numpy()
    parts = (case.membership.astype(float), scaled_logits(case.logits, labels_of(case)))
    return sum(standardised(part, reference) for part in parts) / np.sqrt(2)


#: The declared half would choose a threshold too high for members that the head was not told, so
#: there is no calibrated one.
METHOD = Method(
    name="undeclared",
    title="aMINT, undeclared members",
    group="aMINT",
    summary="As active MINT, but judged on members that the model was trained on and its head was "
    "not told.",
    score=score,
    thresholds=("own",),
    training=UNDECLARED,
    known_members=True,
    transformed="alone",
)
MISDECLARED_METHOD = Method(
    name="misdeclared",
    title="aMINT, members declared external",
    group="aMINT",
    summary="As active MINT, but judged on members that the model was trained on and its head was "
    "told are none.",
    score=score,
    thresholds=("own",),
    training=MISDECLARED,
    known_members=True,
    transformed="alone",
)
WITH_LOSS = Method(
    name="undeclared_with_loss",
    title="aMINT and loss, undeclared members",
    group="aMINT",
    summary="The head's answer and the loss of the same model together, on members that the head "
    "was not told.",
    score=with_loss,
    thresholds=(),
    training=UNDECLARED,
    known_members=True,
    transformed="among_others",
)
MISDECLARED_WITH_LOSS = Method(
    name="misdeclared_with_loss",
    title="aMINT and loss, members declared external",
    group="aMINT",
    summary="The head's answer and the loss of the same model together, on members that the head "
    "was told are none.",
    score=with_loss,
    thresholds=(),
    training=MISDECLARED,
    known_members=True,
    transformed="among_others",
)

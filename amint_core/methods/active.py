"""Active MINT: the audited model learns its task and its own membership test together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.methods.method import Method
from amint_core.training.kinds import ACTIVE

if TYPE_CHECKING:
    from amint_core.methods.case import Case


def score(case: Case) -> np.ndarray:
    """Return the membership logits of the target's own MINT head, (N,)."""
    return case.membership


METHOD = Method(
    name="active",
    title="aMINT (active)",
    group="aMINT",
    summary="The audited model and its MINT head learn together (paper, method).",
    score=score,
    training=ACTIVE,
    transformed="alone",
)

"""The audited model alone, with no membership test: what auditability is paid against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amint_core.methods.method import Method
from amint_core.training.kinds import PLAIN

if TYPE_CHECKING:
    from amint_core.methods.case import Case


def no_test(case: Case) -> np.ndarray:
    """Return NaN for each of the N images."""
    return np.full(len(case.images), np.nan)


METHOD = Method(
    name="plain",
    title="Audited model alone",
    group="aMINT",
    summary="Trained as anybody would; has no membership test of its own.",
    score=no_test,
    training=PLAIN,
)

"""The joint pass without the MINT loss (λ = 0): what the price of auditability is quoted against.

Members and external images pass the shared layers together, as in active MINT, and so share batch
statistics; the head learns nothing and tests nothing.
"""

from __future__ import annotations

from amint_core.methods.method import Method, NoTest
from amint_core.training.kinds import JOINT

METHOD = Method(
    name="joint",
    title="Joint pass, λ = 0",
    group="aMINT",
    summary="The joint pass of active MINT with its MINT loss left out: the control for what the "
    "external images' presence in the batches does to the classifier.",
    score=NoTest("the joint pass without a MINT loss has no membership test"),
    training=JOINT,
)

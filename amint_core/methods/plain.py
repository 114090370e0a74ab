"""The audited model alone, with no membership test: what auditability is paid against."""

from __future__ import annotations

from amint_core.methods.method import Method, NoTest
from amint_core.training.kinds import PLAIN

METHOD = Method(
    name="plain",
    title="Audited model alone",
    group="aMINT",
    summary="Trained as anybody would; has no membership test of its own.",
    score=NoTest("the plain model has no membership test"),
    training=PLAIN,
)

"""The one call behind the command line, the notebook and `amint_core.audit(…)`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from amint_core.audit.auditable import AuditableModel
from amint_core.audit.fingerprints import Published
from amint_core.audit.found import Found
from amint_core.audit.model_folder import load
from amint_core.audit.shadows import Shadow, listed
from amint_core.audit.statement import Statement


def ask(
    model: AuditableModel | Path | str,
    images: Path | str | np.ndarray,
    reference: Path | str | np.ndarray | None = None,
    fdr: float = 0.05,
    published: Published | None = None,
    shadows: Shadow | Path | str | Iterable[Shadow | Path | str] = (),
    signed: Statement | None = None,
) -> Found:
    """Ask which of some images a model was trained on; see `AuditableModel.audit`.

    Args:
        model: an auditable model, or the folder that holds one.
        shadows: those of the method, or folders that hold some.
        images, reference, fdr, published, signed, and Raises: see there.
    """
    model = model if isinstance(model, AuditableModel) else load(model)
    others = [load(each) if isinstance(each, Path | str) else each for each in listed(shadows)]
    return model.audit(images, reference, fdr, published, others, signed)

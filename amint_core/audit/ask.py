"""The one call behind the command line, the notebook and `amint_core.audit(…)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from amint_core.audit.auditable import AuditableModel
from amint_core.audit.fingerprints import Published
from amint_core.audit.found import Found
from amint_core.audit.model_folder import load
from amint_core.audit.scoring import Classify
from amint_core.audit.statement import Statement


def ask(
    model: AuditableModel | Path | str,
    images: Path | str | np.ndarray,
    reference: Path | str | np.ndarray | None = None,
    fdr: float = 0.05,
    published: Published | None = None,
    shadows: Sequence[AuditableModel | Path | str | nn.Module | Classify] = (),
    signed: Statement | None = None,
) -> Found:
    """Ask which of some images a model was trained on; see `AuditableModel.audit`.

    Args:
        model: an auditable model, or the folder that holds one.
        images: a folder, or (N, H, W, C) uint8 pixels.
        reference: images that were surely not used, of the same source and treatment.
        fdr: the share of wrong ones that may be expected among the accused.
        published: fingerprints that the owner published.
        shadows: models of the auditor's own, or folders that hold some.
        signed: the owner's statement.
    """
    others = [_loaded(each) for each in shadows]
    return _loaded(model).audit(images, reference, fdr, published, others, signed)


def _loaded(model):
    return load(model) if isinstance(model, Path | str) else model

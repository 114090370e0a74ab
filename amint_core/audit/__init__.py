"""Ask which of some images a model was trained on, and say no more than can be shown.

`amint_core.audit(model, images, reference=…, fdr=…)` audits: the folder bears the verb's name, so
the module is made callable. The parts: `auditable` is a model with all that an audit of it needs,
`model_folder` keeps one on disk, `export` makes one of a run; `audit` scores a folder and judges
it; `ledger` checks an owner's signed list.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from amint_core.audit.auditable import AuditableModel
    from amint_core.audit.fingerprints import Published
    from amint_core.audit.found import Found
    from amint_core.audit.shadows import Shadow
    from amint_core.audit.statement import Statement


class _CallableModule(ModuleType):
    def __call__(
        self,
        model: AuditableModel | Path | str,
        images: Path | str | np.ndarray,
        reference: Path | str | np.ndarray | None = None,
        fdr: float = 0.05,
        published: Published | None = None,
        shadows: Shadow | Path | str | Iterable[Shadow | Path | str] = (),
        signed: Statement | None = None,
    ) -> Found:
        """Ask which of some images a model was trained on.

        Args:
            model: an auditable model, or the folder that holds one.
            images: a folder, or (N, H, W, C) uint8 pixels.
            reference: images of the same source that were surely not used, as a folder or pixels;
                None: the owner's calibration images.
            fdr: the share of wrong ones that may be expected among the accused.
            published: fingerprints that the owner published.
            shadows: classifiers of one's own, or folders that hold auditable models.
            signed: the owner's statement, read and checked by `statement.read`.

        Raises:
            ResultsError, DamagedError: the folder holds no model, or a file is damaged.
            DataError, LedgerError, ModelError, ProtocolError, SettingsError: see
                `AuditableModel.audit`, which says more of every argument.
        """
        from amint_core.audit.auditable import AuditableModel  # now, since it loads PyTorch
        from amint_core.audit.model_folder import load
        from amint_core.audit.shadows import listed

        model = model if isinstance(model, AuditableModel) else load(model)
        others = [load(each) if isinstance(each, Path | str) else each for each in listed(shadows)]
        return model.audit(images, reference, fdr, published, others, signed)


sys.modules[__name__].__class__ = _CallableModule

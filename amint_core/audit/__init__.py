"""Ask which of some images a model was trained on, and say no more than can be shown.

`amint_core.audit(model, images, reference=…, fdr=…)` audits, see `ask`: the folder bears the verb's
name, so the module is made callable. The parts: `auditable` is a model with all that an audit of it
needs, `model_folder` keeps one on disk, `export` makes one of a run; `audit` scores a folder and
judges it; `ledger` checks an owner's signed list.
"""

from __future__ import annotations

import sys
from types import ModuleType


class _Room(ModuleType):
    def __call__(self, *args, **kwargs):
        """Audit some images; see `ask.ask`."""
        from amint_core.audit.ask import ask  # now, since it loads PyTorch

        return ask(*args, **kwargs)


sys.modules[__name__].__class__ = _Room

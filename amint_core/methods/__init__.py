"""Membership tests, one small file each, behind one interface; see `method.py` and `case.py`.

To add one: write its file with a `METHOD` and name it here. Importing it must be quick, since the
command line and every grid ask for its facts: what takes seconds to import (torch, scikit-learn,
scipy) it imports in the functions that need it.
"""

from __future__ import annotations

from amint_core.methods.method import Method
from amint_core.registry import Registry

__all__ = ["METHODS", "Method"]

#: Name → membership test, in the order of tables.
METHODS: Registry[Method] = Registry(
    __name__,
    {
        "active": "active:METHOD",
        "attached": "attached:METHOD",
        "joint": "joint:METHOD",
        "plain": "plain:METHOD",
        "undeclared": "undeclared:METHOD",
        "misdeclared": "undeclared:MISDECLARED_METHOD",
        "undeclared_with_loss": "undeclared:WITH_LOSS",
        "misdeclared_with_loss": "undeclared:MISDECLARED_WITH_LOSS",
        "passive": "passive:METHOD",
        "passive_unseen": "passive:UNSEEN",
        "gmint": "gmint:METHOD",
        "gmint_filters": "gmint:FILTERS",
        "yeom": "yeom:METHOD",
        "salem": "salem:METHOD",
        "watson": "watson:METHOD",
        "lira_online": "lira:ONLINE",
        "lira_offline": "lira:OFFLINE",
        "bavaria_online": "bavaria:ONLINE",
        "bavaria_offline": "bavaria:OFFLINE",
        "rmia_online": "rmia:ONLINE",
        "rmia_offline": "rmia:OFFLINE",
        "memorizer": "memorizer:METHOD",
        "blind": "blind:METHOD",
        "lookup": "lookup:METHOD",
        "lookup_perceptual": "lookalikes:PERCEPTUAL",
        "lookup_windows": "lookalikes:WINDOWS",
        "random": "random_scores:METHOD",
    },
)

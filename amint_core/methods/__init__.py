"""Membership tests, one small file each, behind one interface; see `case.py`.

A new one is a file with its `METHOD`, listed here.
"""

from __future__ import annotations

from amint_core.methods import (
    active,
    attached,
    blind,
    gmint,
    joint,
    lira,
    lookup,
    memorizer,
    passive,
    plain,
    random_scores,
    rmia,
    salem,
    watson,
    yeom,
)
from amint_core.methods.case import Case, Method

__all__ = ["METHODS", "Case", "Method"]

#: Name → membership test, in the order of tables.
METHODS: dict[str, Method] = {
    one.name: one
    for one in (
        active.METHOD,
        attached.METHOD,
        joint.METHOD,
        plain.METHOD,
        passive.METHOD,
        passive.UNSEEN,
        gmint.METHOD,
        yeom.METHOD,
        salem.METHOD,
        watson.METHOD,
        lira.ONLINE,
        lira.OFFLINE,
        rmia.ONLINE,
        rmia.OFFLINE,
        memorizer.METHOD,
        blind.METHOD,
        lookup.METHOD,
        random_scores.METHOD,
    )
}

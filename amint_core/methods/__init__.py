"""Membership tests, one small file each, behind one interface; see `case.py`.

A new one is a file with its `METHOD`, listed here.
"""

from __future__ import annotations

from amint_core.exceptions import SettingsError, unknown_name
from amint_core.methods import (
    active,
    blind,
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

__all__ = ["METHODS", "Case", "Method", "method"]

#: Name → membership test, in the order of tables.
METHODS: dict[str, Method] = {
    one.name: one
    for one in (
        active.METHOD,
        plain.METHOD,
        passive.METHOD,
        passive.UNSEEN,
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


def method(name: str) -> Method:
    """Return a membership test by name.

    Raises:
        SettingsError: there is none of that name; the message names the nearest.
    """
    if name not in METHODS:
        raise SettingsError(unknown_name("method", name, METHODS))
    return METHODS[name]

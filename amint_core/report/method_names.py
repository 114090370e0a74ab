"""Names, groups and order of the membership tests, as tables and figures show them."""

from __future__ import annotations

from amint_core.methods import METHODS

#: Groups in the order of tables.
GROUPS = ("aMINT", "passive", "attack", "control")
#: What each group is, in the words of a reader.
GROUP_TITLES = {
    "aMINT": "active (the model takes part)",
    "passive": "passive (reads the finished model)",
    "attack": "attacks (see class posteriors)",
    "control": "controls",
}


def method_title(name: str) -> str:
    """Return a method's name for tables and figures."""
    return METHODS[name].title if name in METHODS else name


def method_group(name: str) -> str:
    """Return a method's group; a method that is no longer there counts as an attack."""
    return METHODS[name].group if name in METHODS else "attack"


def method_order(name: str) -> tuple[int, int, str]:
    """Sort key: by group, then as in METHODS, then by name."""
    names = list(METHODS)
    place = names.index(name) if name in METHODS else len(names)
    return GROUPS.index(method_group(name)), place, name


def has_target(name: str) -> bool:
    """Tell whether a method tests a model that the setting `target` names."""
    return name not in METHODS or METHODS[name].training is None


def has_own_threshold(name: str) -> bool:
    """Tell whether a method was published with a threshold of its own (score 0)."""
    return name not in METHODS or "own" in METHODS[name].thresholds


def entry_title(name: str, target: str | None, variant: str | None = None) -> str:
    """Return the name of one test: its method, the model it is turned on, and how it varies."""
    title = method_title(name)
    if target == "active" and has_target(name):
        title += " on the active model"
    return f"{title} ({variant})" if isinstance(variant, str) and variant else title


def published_shadows(name: str) -> str | None:
    """Return how many shadow models a method's paper used, in words; None where it uses none."""
    if name not in METHODS or not METHODS[name].shadows:
        return None
    return METHODS[name].published_shadows_text


def has_fewer_shadows(name: str, used: int) -> bool:
    """Tell whether a method was run with fewer shadow models than any published result."""
    return name in METHODS and METHODS[name].has_fewer_shadows(used)


def controls() -> list[str]:
    """Return the names of all controls."""
    return [name for name in METHODS if METHODS[name].group == "control"]

"""Names and order of models, methods, runs and cells, as tables and figures show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from amint_core.methods import METHODS
from amint_core.model.zoo import AUDITED
from amint_core.recipes import RECIPES

#: Where an attack belongs that is turned on an auditable model.
ON_ACTIVE = "on active"
#: Family of methods → what it is, in the order of tables and figures.
FAMILIES = {
    "aMINT": "active (the model takes part)",
    "passive": "passive (reads the finished model)",
    "attack": "attacks (see class posteriors)",
    ON_ACTIVE: "attacks on the active model",
    "control": "controls",
}
#: The groups that methods name themselves; attacks on either model are one.
GROUPS = {name: text for name, text in FAMILIES.items() if name != ON_ACTIVE}

#: Target → how a test that is turned on it is called besides.
TARGETS = {
    "active": " on the active model",
    "undeclared": " on undeclared members of the active model",
    "misdeclared": " on members declared external, of the active model",
}


def model_title(name: str) -> str:
    """Return a model's name for tables and figures."""
    return AUDITED[name].title if name in AUDITED else name


def run_title(dataset_title: str, model: str, setup: str) -> str:
    """Name one run for the titles of its figures."""
    return f"{dataset_title} · {model_title(model)} · {setup}"


def setup_title(settings: Mapping[str, Any]) -> str:
    """Name where a run's taps sit: the setup, or the modules that were chosen in its place."""
    taps = settings.get("taps")
    return (
        " + ".join(map(str, taps)) if isinstance(taps, list | tuple) and taps else settings["setup"]
    )


def place_title(row: Mapping[str, Any]) -> str:
    """Name a row's dataset, model, setup and, where it is not the strict one, protocol."""
    title = run_title(row["title"], row["model"], row["setup"])
    return title if row["protocol"] == "strict" else f"{title} · {row['protocol']} protocol"


def cell_title(row: Mapping[str, Any], variant: str = "variant") -> str:
    """Name a row's place and recipe; the column `variant` says what else tells them apart."""
    title = run_title(row["title"], row["model"], row["setup"]) + f" · {row['recipe']}"
    title += "" if row["protocol"] == "strict" else f" · {row['protocol']} protocol"
    return f"{title} ({row[variant]})" if isinstance(row[variant], str) else title


def recipe_title(row: Mapping[str, Any]) -> str:
    """Name the recipe of a row, with its method, views not its own and what else differs."""
    parts = [row["recipe"]]
    if row["method"] != "active":
        parts.insert(0, entry_title(row["method"], row["target"]))
    if row["views"] != RECIPES.get(row["recipe"], {}).get("views", "one"):
        parts.append(f"views: {row['views']}")
    return ", ".join([*parts, *([row["variant"]] if isinstance(row["variant"], str) else [])])


def row_title(row: Mapping[str, Any]) -> str:
    """Name the method of a row, with its target and what else tells it apart."""
    return entry_title(row["method"], row["target"], row["variant"])


def entry_title(name: str, target: str | None, variant: str | None = None) -> str:
    """Return the name of one test: its method, the model it is turned on, and how it varies."""
    title = method_title(name)
    if has_target(name):
        title += TARGETS.get(str(target), "")
    return f"{title} ({variant})" if isinstance(variant, str) and variant else title


def method_title(name: str) -> str:
    """Return a method's name for tables and figures."""
    return METHODS[name].title if name in METHODS else name


def method_group(name: str) -> str:
    """Return a method's group; a method that is no longer there counts as an attack."""
    return METHODS[name].group if name in METHODS else "attack"


def method_family(name: str, target: str | None) -> str:
    """Return which of `FAMILIES` a method belongs to when it is turned on `target`."""
    group = method_group(name)
    return ON_ACTIVE if group == "attack" and target in TARGETS else group


def method_order(name: str) -> tuple[int, int, str]:
    """Sort key: by group, then as in METHODS, then by name."""
    place = list(METHODS).index(name) if name in METHODS else len(METHODS)
    return list(GROUPS).index(method_group(name)), place, name


def has_target(name: str) -> bool:
    """Tell whether a method tests a model that the setting `target` names."""
    return name not in METHODS or METHODS[name].training is None


def has_own_threshold(name: str) -> bool:
    """Tell whether a method was published with a threshold of its own (score 0)."""
    return name not in METHODS or "own" in METHODS[name].thresholds


def reads_shadows(name: str) -> bool:
    """Tell whether a method asks shadow models; one that is no longer there may have."""
    return name not in METHODS or METHODS[name].shadows > 0


def published_shadows(name: str) -> str | None:
    """Return how many shadow models a method's paper used, in words; None where it uses none."""
    used = name in METHODS and METHODS[name].shadows
    return METHODS[name].published_shadows_text if used else None


def is_weak(row: pd.Series) -> bool:
    """Tell whether a row has fewer shadow models than any published result of its method."""
    if pd.isna(row["shadows"]) or row["method"] not in METHODS:
        return False
    return METHODS[row["method"]].has_fewer_shadows(row["shadows"])

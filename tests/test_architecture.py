"""Imports point down the one order that docs/architecture.md states, and nowhere in a circle."""

import re
from graphlib import CycleError, TopologicalSorter

import pytest

import amint_core
from amint_core.imports import imports_in
from amint_core.locations import project_root

PACKAGE = project_root() / "amint_core"
PAGE = (project_root() / "docs" / "architecture.md").read_text(encoding="utf-8")
#: Module → its file, for every module of the package.
MODULES = {
    ".".join(["amint_core", *path.relative_to(PACKAGE).with_suffix("").parts]): path
    for path in PACKAGE.rglob("*.py")
    if "__pycache__" not in path.parts
}
MODULES = {name.removesuffix(".__init__"): path for name, path in MODULES.items()}


def floors() -> dict[str, int]:
    """Room → number of its floor, from the lowest, as the page numbers them."""
    part = PAGE.split("## Who may import whom")[1].split("\n## ")[0]
    lines = re.findall(r"^(\d+)\. (.*)$", part, re.M)
    return {room: int(floor) for floor, line in lines for room in re.findall(r"`(\w+)`", line)}


def room_of(module: str) -> str:
    """The folder or file directly under the package that a module lies in."""
    return module.split(".")[1]


def imported_by(module: str) -> set[str]:
    """All modules of the package that a module names in an import, those for types included."""
    path = MODULES[module]
    meant = imports_in(path.read_bytes(), module, package=path.name == "__init__.py")
    named = {next((name for name in names if name in MODULES), module) for names in meant}
    return named - {module, "amint_core"}


def test_every_room_has_its_floor():
    assert set(floors()) == {room_of(name) for name in MODULES if name != "amint_core"}


def test_imports_point_down():
    place = floors()
    upwards = [
        f"{module} imports {target}"
        for module in sorted(set(MODULES) - {"amint_core"})
        for target in imported_by(module)
        if room_of(target) != room_of(module) and place[room_of(target)] >= place[room_of(module)]
    ]
    assert not upwards


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: imported_by(name) for name in MODULES if name != "amint_core"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"Imported in a circle: {' ← '.join(error.args[1])}")


def test_imports_of_every_form_are_seen():
    source = b"""
import os, amint_core.errors
from amint_core import files
from . import cache
from ..model.zoo import create
if TYPE_CHECKING:
    from amint_core.config import RunConfig
def later():
    from amint_core.locations import shown
"""
    options = imports_in(source, "amint_core.data.mnist", package=False)
    found = {names[0] for names in options}
    assert found == {
        *("os", "amint_core.errors", "amint_core.files", "amint_core.data.cache"),
        *("amint_core.model.zoo.create", "amint_core.config.RunConfig"),
        "amint_core.locations.shown",
    }
    assert ("amint_core.model.zoo.create", "amint_core.model.zoo") in options
    told = {"types": False, "calls": False}
    fewer = imports_in(source, "amint_core.data.mnist", package=False, **told)
    assert found - {names[0] for names in fewer} == {
        *("amint_core.config.RunConfig", "amint_core.locations.shown"),
    }


def test_public_names_lead_to_what_they_name():
    for name in amint_core.__all__:
        assert getattr(amint_core, name).__name__ == name

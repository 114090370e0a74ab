"""Which source files a module reaches by its imports, read from the sources without running them.

Python's own library and installed packages are left out: their versions stand for them. A user's
own files, such as a model registered from outside the package, count like the package's.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

PACKAGE = __package__
#: Folders of installed packages, by their names.
_INSTALLED = {"site-packages", "dist-packages"}


def reached(*roots: str | Path) -> dict[str, Path]:
    """Return module name → source file of all that `roots` import, themselves included.

    Importing a module runs the packages that it lies in first, so they count, with what they import
    when they run: not with what their functions import, which takes a call. Imports for type
    checkers alone do not count. What is imported by a computed name is not seen: give it as a root.

    Args:
        roots: names of modules, or files of modules that cannot be found by name.
    """
    found: dict[str, Path] = {}
    followed: set[tuple[str, bool]] = set()
    source = cache(source_of)  # for this call alone: which modules are loaded may change
    waiting: list[tuple[str, Path | None, bool]] = [
        (root.stem, root, True) if isinstance(root, Path) else (root, source(root), True)
        for root in roots
    ]
    while waiting:
        name, path, calls = waiting.pop()
        if path is None or (name, calls) in followed:
            continue
        followed |= {(name, calls), (name, False)}
        found[name] = path
        text, package = path.read_bytes(), path.name == "__init__.py"
        for options in imports_in(text, name, package=package, calls=calls, types=False):
            target = next((option for option in options if source(option)), None)
            if target is not None:
                waiting.append((target, source(target), True))
        waiting += [(outer, source(outer), False) for outer in _packages_of(name)]
    return found


def source_of(module: str) -> Path | None:
    """Return the source file of a module; None where it is installed, or has none."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return None
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        spec = _spec_of(module)
        file = spec.origin if spec is not None and spec.has_location else None
    if file is None or not file.endswith(".py"):
        return None
    installed = _INSTALLED & set(Path(file).parts)
    return Path(file) if not installed or top == PACKAGE else None


def _spec_of(module: str) -> ModuleSpec | None:
    """Find a module as `find_spec` does, without importing its packages."""
    package, _, _ = module.rpartition(".")
    try:
        if not package:
            return find_spec(module)
        if (loaded := sys.modules.get(package)) is not None:
            places = getattr(loaded, "__path__", None)
        else:
            above = _spec_of(package)
            places = above.submodule_search_locations if above is not None else None
        return PathFinder.find_spec(module, places) if places else None
    except (ImportError, ValueError):  # no such module, or one made by hand, without a spec
        return None


@cache
def imports_in(
    source: bytes, module: str, *, package: bool, calls: bool = True, types: bool = True
) -> tuple[tuple[str, ...], ...]:
    """Return what a source imports: for each import the names of modules that it may mean.

    `from a import b` means `a.b` where that is a module, else `a`: only the files tell. The first
    name that is a module counts.

    Args:
        source: the file's content.
        module: its name, for relative imports.
        package: whether it is the `__init__.py` of a package.
        calls: whether imports inside functions count.
        types: whether imports under `if TYPE_CHECKING` count.
    """
    outer = module.split(".") if package else module.split(".")[:-1]
    found: dict[tuple[str, ...], None] = {}
    for node in _nodes(ast.parse(source), calls, types):
        if isinstance(node, ast.Import):
            found |= dict.fromkeys((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = outer[: len(outer) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= dict.fromkeys((f"{base}.{alias.name}", base) for alias in node.names)
    return tuple(found)


def _nodes(tree: ast.AST, calls: bool, types: bool) -> Iterator[ast.AST]:
    """Walk through a tree, past the bodies that do not count."""
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not calls:
            continue
        only_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        waiting += node.orelse if only_types and not types else ast.iter_child_nodes(node)


def _packages_of(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]

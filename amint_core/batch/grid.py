"""A profile's grid of runs, from `config/<profile>.yaml`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from amint_core.config import LISTS, RunConfig
from amint_core.errors import SettingsError, unknown_name
from amint_core.locations import project_root
from amint_core.settings import create
from amint_core.values import read_yaml

#: The notebook that shows a dataset; ViT has one of its own for all datasets, and a folder or a
#: dataset from outside the package has the one in colour.
NOTEBOOKS = {
    "mnist": "aMINTMNIST",
    "cifar10": "aMINTCIFAR",
    "cifar100": "aMINTCIFAR",
    "gtsrb": "aMINTGTSRB",
    "tiny_imagenet": "aMINTTinyImagenet",
    "casia_webface": "aMINTCasiaWebFace",
}


def notebook_for(settings: RunConfig) -> str:
    """Return the name of the notebook that runs `settings`."""
    return "aMINTViT" if settings.model == "vit" else NOTEBOOKS.get(settings.dataset, "aMINTCIFAR")


def grid_file(profile: str) -> Path:
    """Return the file of a profile's grid.

    Raises:
        SettingsError: there is no such profile; the message names the nearest.
    """
    folder = project_root() / "config"
    path = folder / f"{profile}.yaml"
    if not path.is_file():
        known = (found.stem for found in folder.glob("*.yaml"))
        raise SettingsError(unknown_name("profile", profile, known))
    return path


def load_grid(path: Path | str, profile: str | None = None) -> dict[str, RunConfig]:
    """Read a grid file: run id → settings, in the file's order.

    Under `runs`, each entry is one block of settings over those under `defaults`; a list means one
    run per value, several lists their product; settings that are lists vary as lists of lists.

    Raises:
        SettingsError: a setting is unknown or does not fit, or two runs are the same.
    """
    grid: dict[str, RunConfig] = {}
    for where, block in _blocks(Path(path)):
        if "profile" in block:
            raise SettingsError(f"{where}: leave profile out, which the grid's name gives.")
        if empty := [key for key, value in block.items() if value == [] and key not in LISTS]:
            raise SettingsError(f"{where}: {empty[0]} lists no values, which makes no run.")
        for values in _expand(block):
            try:
                settings = create(profile=profile or Path(path).stem, **values)
            except SettingsError as error:
                raise SettingsError(f"{where}: {error}") from None
            if settings.id in grid:
                raise SettingsError(f"{where}: {settings.id} stands twice.")
            grid[settings.id] = settings
    return grid


def _blocks(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield where each block of runs stands, and its settings over the defaults."""
    files, defaults = [(path, own := _read(path))], own.get("defaults", {})
    if "like" in own:
        known = [found.stem for found in path.parent.glob("*.yaml") if found != path]
        if own["like"] not in known:
            raise SettingsError(f"{path.name}, like: {unknown_name('grid', own['like'], known)}")
        base = path.with_name(f"{own['like']}.yaml")
        other = _read(base)
        if "like" in other:  # a reader finds what runs in two files, and no circle can be written
            raise SettingsError(
                f"{path.name}: like: {own['like']} names a grid that is itself like another. Name "
                "one that has all its runs."
            )
        files, defaults = [(base, other), *files], {**other.get("defaults", {}), **defaults}
    for file, content in files:
        for number, block in enumerate(content.get("runs", []), 1):
            where = f"{file.name}, run block {number}"
            if not _is_block(block):
                raise SettingsError(
                    f"{where}: {block!r} is no block of settings, such as {{dataset: mnist, model: "
                    "vit}."
                )
            yield where, {**defaults, **block}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as a grid: {error}") from None
    parts = content if isinstance(content, dict) else {}
    unknown = {str(part) for part in parts} - {"like", "defaults", "runs"}
    runs, defaults = parts.get("runs", []), parts.get("defaults", {})
    is_like = isinstance(parts.get("like"), str)
    if unknown or not isinstance(runs, list) or not _is_block(defaults) or not (runs or is_like):
        raise SettingsError(
            f"{path.name}: a grid has the parts 'defaults' (a block of settings) and 'runs' (a "
            "list of such blocks, at least one), or 'like' (the name of the grid that has them)."
            + (f" Found also: {', '.join(sorted(unknown))}." if unknown else "")
        )
    return parts


def _is_block(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _expand(block: dict[str, Any]) -> list[dict[str, Any]]:
    varying = {
        key: value
        for key, value in block.items()
        if isinstance(value, list) and (key not in LISTS or (value and isinstance(value[0], list)))
    }
    return [
        {**block, **dict(zip(varying, combination, strict=True))}
        for combination in itertools.product(*varying.values())
    ]

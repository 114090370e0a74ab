"""Where the project keeps its files, each place movable by one environment variable.

| variable | holds | default |
|---|---|---|
| `AMINT_DATA` | datasets as people have them on disk; only read | `data/` of the project |
| `AMINT_CACHE` | what can be made again, see below | `data/cache/` of the project |
| `AMINT_RESULTS` | runs, tables and figures | `results/` of the project |

What can be made again are decoded images, trained models (`trainings/`), recorded activations
(`activations/`) and groups of near-twins (`near_twins/`).

A relative path counts from the project's folder, so that it names the same place for a notebook, a
batch and a command; from outside the project it is refused.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from amint_core.errors import SettingsError, printable

#: In a path that is to be made: variables and commands that were not replaced, addresses, paths of
#: Windows, quotes that lack their other half.
_LEFT_OVER = re.compile(r"[$`\\]|%\w+%|^\w+:|^[\"'“”‘’]|[\"'“”‘’]$|^(None|null)$")


def project_root() -> Path:
    """Return the checkout's folder, or the working folder where the package is installed alone."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "notebooks").is_dir() else Path.cwd()


def require_checkout(what: str) -> None:
    """Check that there is a checkout of the repository, with its grids, notebooks and workflow.

    Args:
        what: what needs it, for the message.

    Raises:
        SettingsError: the package is installed alone, and the working folder is no checkout.
    """
    root = project_root()
    if not all((root / name).exists() for name in ("config", "notebooks", "Snakefile")):
        raise SettingsError(
            f"{what} needs a checkout of the repository, with its grids, notebooks and workflow, "
            f"and {root} is none. Clone the repository, run `make setup` there, and call it from "
            "that folder. A single run needs none: amint run dataset=mnist model=tiny data=standin."
        )


def _place(variable: str, default: Path) -> Path:
    value = os.environ.get(variable, "").strip()
    if not value:
        return default
    if value[0] == value[-1] and value[0] in "'\"" and len(value) > 1:
        value = value[1:-1]  # as .env files and Windows keep them
    if not value:
        return default
    root = project_root()
    try:
        path = given_path(os.path.expandvars(value))
        place = given_path(os.path.realpath(root / path))  # `resolve` raises over a link to itself
    except SettingsError as error:
        raise SettingsError(f"{variable}: {error}") from None
    if variable != "AMINT_DATA" and _LEFT_OVER.search(str(path)) and not path.exists():
        raise SettingsError(
            f"{variable} = {value!r} holds what a shell, a settings file or another system left "
            "in it. Write out the folder's path."
        )
    if not path.is_absolute() and not Path.cwd().resolve().is_relative_to(root):
        raise SettingsError(
            f"{variable} = {value!r} is relative, which counts from the project's folder {root}, "
            "and this is started elsewhere. Give it in full."
        )
    if place.is_symlink():
        raise SettingsError(f"{variable} = {value!r} is a link that leads to itself.")
    if place.exists() and not place.is_dir():
        raise SettingsError(f"{variable} = {value!r} names {place}, which is no folder.")
    return place


def data_root() -> Path:
    """Return the folder that holds the datasets."""
    return _place("AMINT_DATA", project_root() / "data")


def cache_root() -> Path:
    """Return the folder of what can be made again: decoded images, trained models, activations."""
    return _place("AMINT_CACHE", project_root() / "data" / "cache")


def results_root() -> Path:
    """Return the folder that holds one folder per profile."""
    return _place("AMINT_RESULTS", project_root() / "results")


def given_path(path: Path | str) -> Path:
    """Return a place as somebody gives it; a tilde is his home, which no shell replaces after "=".

    Raises:
        SettingsError: it is empty, as an unset variable of a shell is; too long; or no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise SettingsError(f"{type(path).__name__} is no path. Give the name of a folder or file.")
    if not os.fspath(path).strip():
        raise SettingsError("A path is empty. Was it meant to come from a variable that is unset?")
    try:
        place = Path(path).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            os.lstat(place)
    except (OSError, RuntimeError, ValueError) as error:  # too long; nobody's home; a null byte
        said = getattr(error, "strerror", None) or error
        raise SettingsError(f"{str(path)[:80]!r} is no usable path: {said}.") from None
    return place


def shown(path: Path | str) -> str:
    """Return `path` as a reader should see it: relative inside the project, else in full."""
    path, root = Path(os.path.realpath(path)), project_root()
    return printable((path.relative_to(root) if path.is_relative_to(root) else path).as_posix())

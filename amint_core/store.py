"""Whatever is stored, with the SHA-256 of its content, which is checked when it is read.

| what | where its hash is |
|---|---|
| models, checkpoints, histories and logits of trainings | beside it, in NAME.sha256 |
| groups of near-twins | beside it, in NAME.sha256 |
| files of a run's folder | together in its manifest.json, under "files" |
| arrays of a decoded dataset | together in the cache's description.json |
| recorded activations | together in the recording's identity.json |

manifest.json, description.json and identity.json are sealed: they hold the hash of their own
content. A damaged file is said and set aside as NAME.damaged-N where it can be made again; else it
is an error.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from amint_core.errors import AmintError, DamagedError, ResultsError
from amint_core.files import atomic_path, json_text, read_json, write_text
from amint_core.locations import shown
from amint_core.memory import is_of_memory

Value = TypeVar("Value")


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hashes(files: Iterable[Path]) -> dict[str, str]:
    """Return name → SHA-256 of files."""
    return {file.name: sha256(file) for file in files}


def changed(folder: Path, recorded: Mapping[str, str]) -> list[str]:
    """Return the names of recorded files that are missing or no longer what they were."""
    return [
        name
        for name, digest in recorded.items()
        if not (folder / name).is_file() or sha256(folder / name) != digest
    ]


@contextmanager
def stored(target: Path) -> Iterator[Path]:
    """Yield a temporary path; on success rename it to `target` and keep its hash beside it.

    Raises:
        ResultsError: the disk is full or the folder cannot be written.
    """
    with atomic_path(target) as temporary:
        yield temporary
        # The hash comes first and the one before stays: whenever the process is killed, the file
        # that is there has its hash.
        digests = [sha256(temporary), *_beside(target)[:1]]
        lines = [f"{digest}  {target.name}\n" for digest in digests]
        write_text(_sidecar(target), "".join(lines))


def read(source: Path, load: Callable[[Path], Value]) -> Value:
    """Read a file that `stored` has written.

    Args:
        source: the file.
        load: what reads it.

    Raises:
        ResultsError: there is none.
        DamagedError: its content is not what was written.
    """
    _require(source)
    if sha256(source) not in _beside(source):
        raise DamagedError(
            f"{shown(source)} is damaged: its content is not what was written. Delete it to make "
            "it again."
        )
    return load(source)


def read_or_set_aside(source: Path, load: Callable[[Path], Value]) -> Value | None:
    """Read a file that can be made again; None where there is none, or only a damaged one.

    One that `load` cannot make sense of, as of another version, counts as damaged.
    """
    if not source.is_file():
        return None
    try:
        return read(source, load)
    except Exception as error:  # libraries raise nearly every kind over what they do not know
        refused = isinstance(error, AmintError) and not isinstance(error, DamagedError)
        of_system = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
        if refused or of_system or is_of_memory(error):
            raise
        set_aside(source)
        return None


def set_aside(damaged: Path) -> Path:
    """Rename a damaged file or folder to NAME.damaged-N, say so, and return its new name."""
    number = 1
    while (aside := damaged.with_name(f"{damaged.name}.damaged-{number}")).exists():
        number += 1
    damaged.rename(aside)
    _sidecar(damaged).unlink(missing_ok=True)
    print(
        f"{shown(damaged)} is damaged: its content is not what was written. It is set aside as "
        f"{aside.name} and made again.",
        flush=True,
    )
    return aside


def remove(file: Path) -> None:
    """Remove a stored file, if it is there, and its hash."""
    file.unlink(missing_ok=True)
    _sidecar(file).unlink(missing_ok=True)


def _sidecar(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _beside(file: Path) -> list[str]:
    """Return the hashes that are kept beside a file, the newest first."""
    try:
        lines = _sidecar(file).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.split()[0] for line in lines if line.strip()]


def write_sealed(target: Path, content: Mapping[str, Any], secret: bool = False) -> None:
    """Write a JSON object atomically with the hash of its own content; a secret for its owner's
    eyes only."""
    mode = 0o600 if secret else 0o644
    write_text(target, json_text({**content, "sha256": _seal(content)}), mode)


def read_sealed(source: Path) -> dict[str, Any]:
    """Read a JSON object that `write_sealed` has written.

    Raises:
        ResultsError: there is none.
        DamagedError: its content is not what was written.
    """
    content = _unsealed(source)
    if content.pop("sha256", None) != _seal(content):
        raise DamagedError(
            f"{shown(source)} is damaged: its content is not what was written. Delete it to make "
            "it again."
        )
    return content


def _require(file: Path) -> None:
    if not file.is_file():
        raise ResultsError(f"{shown(file)} is missing. Run it again to write it.")


def _unsealed(source: Path) -> dict[str, Any]:
    _require(source)
    try:
        content = json.loads(source.read_bytes())
    except ValueError:  # JSON's and UTF-8's errors
        content = None
    return content if isinstance(content, dict) else {}


def _seal(content: Mapping[str, Any]) -> str:
    others = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def run_file(path: Path) -> Path:
    """Return the path of a run's file after checking it against the run's manifest.json.

    Raises:
        ResultsError: it is missing.
        DamagedError: it, or the manifest, is not what the run wrote.
    """
    _require(path)
    if sha256(path) != run_manifest(path.parent).get("files", {}).get(path.name):
        raise DamagedError(
            f"{shown(path)} is not what the run wrote: its SHA-256 is not the one in "
            "manifest.json. Restore it, or run it again."
        )
    return path


def run_manifest(run: Path) -> dict[str, Any]:
    """Return a run's manifest.

    Raises:
        ResultsError: it is missing.
        DamagedError: it is not what the run wrote.
    """
    try:
        return read_sealed(run / "manifest.json")
    except DamagedError as error:
        raise DamagedError(
            f"{shown(run / 'manifest.json')} is damaged: its content is not what the run wrote. "
            "Restore it, or run it again."
        ) from error


def run_json(path: Path) -> Any:
    """Read a run's JSON file; see `run_file`."""
    return read_json(run_file(path))


def is_judged_twice(metrics: Mapping[str, Any]) -> bool:
    """Tell whether a run's metrics hold both judgements, as those of a timed grid do."""
    return "paper" in metrics


def without_copies(runs: Sequence[Path]) -> list[Path]:
    """Return folders of runs without those that are copies of another, each named in a word.

    A copy holds the manifest of a run whose own folder lies beside it.
    """
    kept = []
    for run in runs:
        manifest = run / "manifest.json"
        name = _unsealed(manifest).get("run") if manifest.is_file() else None
        if isinstance(name, str) and name != run.name and run.with_name(name) in runs:
            print(f"{shown(run)} is a copy of {name}, and passed over.", flush=True)
        else:
            kept.append(run)
    return kept


def finished_runs(folder: Path, command: str) -> list[Path]:
    """Return the metrics.json of every finished run in a profile's folder, copies left out.

    Args:
        command: what runs the grid, for the message.

    Raises:
        ResultsError: there is none.
    """
    found = [file.parent for file in sorted(folder.glob("runs/*/metrics.json"))]
    if not found:
        raise ResultsError(
            f"{shown(folder / 'runs')} holds no finished run (no metrics.json). Run the grid "
            f"first: {command}."
        )
    return [run / "metrics.json" for run in without_copies(found)]


def files_to_hash(run: Path) -> list[Path]:
    """Return the files of a run's folder that its manifest answers for."""
    kinds = (".json", ".csv", ".parquet", ".safetensors")
    found = (path for path in run.iterdir() if path.suffix in kinds and path.name[0] != ".")
    return sorted(path for path in found if path.name != "manifest.json")

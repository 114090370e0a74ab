"""Atomic writes: a file or folder is either complete under its final name or absent."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amint_core.errors import ResultsError


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it to `target` on success.

    On any failure the temporary file is removed and an existing `target` stays
    as it was. The temporary name keeps the suffix, since many writers choose
    their format by it.

    Raises:
        ResultsError: the disk is full or the folder cannot be written.
    """
    target = Path(target)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(
            prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent
        )
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        # mkstemp makes private files; results are to be read by others too.
        temporary.chmod(0o644)
        os.replace(temporary, target)
    except OSError as error:
        raise ResultsError(
            f"Could not write {target}: {error.strerror or error}. Free some space or choose "
            "another folder; what was there before is unchanged."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(target: Path | str, text: str) -> None:
    """Write `text` to `target` atomically, as UTF-8."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """Return `value` as readable JSON, as files hold it; NaN and infinities are refused."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(target: Path | str, value: Any) -> None:
    """Write `value` to `target` atomically as readable JSON; see `json_text`."""
    write_text(target, json_text(value))


def read_json(source: Path | str) -> Any:
    """Read JSON, naming the file when it is missing or damaged.

    Raises:
        ResultsError: the file is missing or is not JSON.
    """
    source = Path(source)
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ResultsError(f"{source} is missing. Run it again to write it.") from error
    except ValueError as error:
        raise ResultsError(
            f"{source} is not valid JSON ({error}). Delete it and run again to write it anew."
        ) from error

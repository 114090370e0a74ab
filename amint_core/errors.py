"""Errors whose messages say what was wrong, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class AmintError(Exception):
    """Base of every error that a user can mend.

    Its text can be printed: what came from outside and is no Unicode stands there escaped.
    """

    def __str__(self) -> str:
        return super().__str__().encode("utf-8", "backslashreplace").decode()


class SettingsError(AmintError):
    """A setting is unknown, mistyped or does not fit the others."""


class DataError(AmintError):
    """A dataset is missing, incomplete, unreadable or does not fit the request."""


class CacheError(DataError):
    """What is kept under `AMINT_CACHE` does not match what it was made from, or cannot be kept."""


class ModelError(AmintError):
    """A model, a tap or its input does not fit."""


class ResourceError(AmintError):
    """The machine has too little of something, such as memory."""


class TrainingError(AmintError):
    """Training cannot go on; what was computed so far is kept."""


class ResultsError(AmintError):
    """A results file is missing, incomplete or cannot be written."""


class DamagedError(ResultsError):
    """The content of a stored file is not what was written."""


class ProtocolError(AmintError):
    """A number was asked for that the data cannot support honestly."""


def printable(text: str) -> str:
    """Escape what does not show in a name from outside: line breaks, bytes that are no UTF-8, marks
    that turn the writing around."""
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


@contextmanager
def from_outside(refusal: Callable[[str], AmintError]) -> Iterator[None]:
    """Turn whatever a stranger's file makes of the libraries that read it into an error of ours.

    Args:
        refusal: from what was raised, in words, to the error.
    """
    try:
        yield
    except AmintError:
        raise
    except Exception as error:  # libraries raise nearly every kind over what they did not write
        text = ascii(" ".join(str(error).split())[:200])
        raise refusal(f"{type(error).__name__}: {text}") from error


def unknown_name(kind: str, given: object, valid: Iterable[str]) -> str:
    """Compose the message for a name that does not exist, with the nearest that does."""
    names = sorted(valid)
    near = difflib.get_close_matches(str(given).lower(), names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {given!r}.{hint} Valid: {', '.join(names)}."

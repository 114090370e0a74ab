"""Memory, or the files that a process may open, used up, whatever a library calls it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from amint_core.errors import AmintError, ResourceError

#: What allocators say: PyTorch's, oneDNN's, C++'s, CUDA's and the system's.
_SIGNS = ("can't allocate memory", "could not create a primitive", "bad_alloc", "out of memory")
_SIGNS += ("cannot allocate memory", "can't start new thread", "failed to map")


_ERRNOS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def is_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory, address space, or open files are used up."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in _ERRNOS:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS)


@contextmanager
def enough_memory() -> Iterator[None]:
    """Raise ResourceError where memory is used up inside.

    Raises:
        ResourceError: it says what takes less.
    """
    try:
        yield
    except AmintError:
        raise
    except (MemoryError, OSError, RuntimeError) as error:
        if not is_of_memory(error):
            raise
        said = " ".join(str(error).split())[:200] or "no room"
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise ResourceError(
                f"No more files can be opened ({said}). Nothing is lost: the same command goes on. "
                "Raise the limit (ulimit -n), or end other programs."
            ) from error
        raise ResourceError(
            f"Memory is used up ({said}). Nothing is lost: the same command goes on. Take a "
            "smaller batch_size, fewer workers or a smaller model, end other programs, or raise "
            "the limit (ulimit -v)."
        ) from error

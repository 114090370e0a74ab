"""Memory, or the files that a process may open, used up, whatever a library calls it."""

from __future__ import annotations

import errno
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amint_core.errors import AmintError, ResourceError

#: What allocators say: PyTorch's, oneDNN's, C++'s, CUDA's and the system's.
_SIGNS = ("can't allocate memory", "could not create a primitive", "bad_alloc", "out of memory")
_SIGNS += ("cannot allocate memory", "can't start new thread", "failed to map")
_SIGNS += ("could not execute a primitive",)

#: Bytes of address space. With less, a limit kills the libraries' native code, which cannot say so.
_LEAST_ROOM = 64 * 2**20
_ERRNOS = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def is_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory, address space, or open files are used up."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in _ERRNOS:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS)


def address_space_left() -> float:
    """Return the bytes that this process may still ask for; infinite where nothing limits them, and
    on other systems than Linux, which do not tell."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or sys.platform != "linux":
        return float("inf")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return limit - pages * resource.getpagesize()


@contextmanager
def enough_memory() -> Iterator[None]:
    """Raise ResourceError where memory is used up inside, or nearly before.

    Raises:
        ResourceError: it says what takes less.
    """
    try:
        if (room := address_space_left()) < _LEAST_ROOM:
            raise MemoryError(
                f"{int(room) >> 20} MiB of address space left, of {_LEAST_ROOM >> 20}"
            )
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

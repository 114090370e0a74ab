"""Which code a model of somebody's own runs, as a hash: a changed activation is another model.

What is installed counts by its version, which identities hold besides. Code written in a notebook
counts like code in files.
"""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Iterator
from typing import Any

from torch import nn

from amint_core.imports import source_of

#: What PyTorch itself keeps in a module, and what timm notes of the call that built it.
_OTHERS = {*vars(nn.Module()), "_model_args"}
_DEPTH = 6  # of lists in lists, and of functions that call functions


def digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's structure, its settings and its own code, not its weights."""
    sha, seen = hashlib.sha256(), set()
    for name, module in model.named_modules():
        kind = type(module)
        sha.update(f"{name} {kind.__qualname__}\n".encode())
        for key, value in sorted(vars(module).items(), key=lambda pair: pair[0]):
            if key not in _OTHERS and not key.startswith("amint_"):
                sha.update(f" {key}={_said(value)}\n".encode())
        if kind not in seen:
            seen.add(kind)
            for line in _of_class(kind):
                sha.update(line.encode())
    for name, value in model.state_dict().items():
        sha.update(f"{name} {tuple(value.shape)}\n".encode())
    return sha.hexdigest()


def _of_class(kind: type) -> Iterator[str]:
    """Yield what a class and its own ancestors do; nothing for installed ones."""
    for one in kind.__mro__:
        if not _is_own(one.__module__):
            continue
        for key, value in sorted(vars(one).items()):
            inner = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
            if isinstance(inner, types.FunctionType) or not key.startswith("__"):
                yield f"  {one.__qualname__}.{key}={_said(inner)}\n"


def _is_own(module: str | None) -> bool:
    """Tell whether a module is somebody's own: a file not installed, or a notebook."""
    return module == "__main__" or (module is not None and source_of(module) is not None)


def _said(value: Any, depth: int = _DEPTH) -> str:
    """Return a value as text that is the same in every process."""
    if isinstance(value, types.FunctionType):
        return _of_function(value, depth)
    if isinstance(value, types.CodeType):
        inner = ", ".join(_said(one, depth - 1) for one in value.co_consts)
        names = (*value.co_names, *value.co_varnames, *value.co_freevars)
        return f"code({value.co_code.hex()}; {names}; {inner})"
    if isinstance(value, bool | int | float | complex | str | bytes | type(None)):
        return repr(value)
    if depth and isinstance(value, list | tuple | set | frozenset):
        parts = [_said(one, depth - 1) for one in value]
        ordered = sorted(parts) if isinstance(value, set | frozenset) else parts
        return f"{type(value).__name__}{ordered}"
    if depth and isinstance(value, dict):
        parts = (f"{_said(key, depth - 1)}: {_said(one, depth - 1)}" for key, one in value.items())
        return f"{{{', '.join(parts)}}}"
    named = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return f"{type(value).__qualname__} {named or ''}".strip()


def _of_function(function: types.FunctionType, depth: int) -> str:
    name = f"{function.__module__}.{function.__qualname__}"
    if not depth or not _is_own(function.__module__):
        return name
    code, scope = function.__code__, function.__globals__
    called = [scope[name] for name in code.co_names if name in scope]
    own = [_said(one, depth - 1) for one in called if isinstance(one, types.FunctionType)]
    closed = [_said(cell.cell_contents, depth - 1) for cell in function.__closure__ or ()]
    defaults = _said(function.__defaults__, depth - 1)
    return f"{name} {_said(code, depth)} {defaults} {own} {closed}"

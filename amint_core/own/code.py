"""Which code a model of somebody's own runs, as a hash: a changed activation is another model.

What is installed counts by its class's name alone; of PyTorch, timm, torchvision and NumPy an
identity holds the version besides. Code written in a notebook counts like code in files.
"""

from __future__ import annotations

import hashlib
import inspect
import types
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from amint_core.imports import source_of

#: What PyTorch itself keeps in a module, and what timm notes of the call that built it.
_OTHERS = {*vars(nn.Module()), "_model_args"}
_DEPTH = 6  # of lists in lists


def digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's structure, its settings and its own code, not its weights."""
    sha, telling = hashlib.sha256(), _Telling()
    for name, module in model.named_modules():
        sha.update(f"{name} {type(module).__qualname__}\n".encode())
        hooks = module._forward_pre_hooks.values()
        # What torch.nn.utils computes of weights before each pass: weight_norm, prune and the like.
        computed = {getattr(one, "name", getattr(one, "_tensor_name", None)) for one in hooks}
        fixed = {key: module._buffers[key] for key in module._non_persistent_buffers_set}
        for key, value in sorted((vars(module) | fixed).items(), key=lambda pair: pair[0]):
            if key in computed:
                continue
            if key in fixed or (key not in _OTHERS and not key.startswith("amint_")):
                sha.update(f" {key}={telling.said(value)}\n".encode())
        sha.update(telling.of_class(type(module)).encode())
    for name, value in model.state_dict().items():
        sha.update(f"{name} {tuple(value.shape)}\n".encode())
    return sha.hexdigest()


def _is_own(module: str | None) -> bool:
    """Tell whether a module is somebody's own: a file not installed, or a notebook."""
    return module == "__main__" or (module is not None and source_of(module) is not None)


class _Telling:
    """Tells values and code as text that is the same in every process, each function once."""

    def __init__(self) -> None:
        self._told: dict[int, Any] = {}  # values by id; kept, so that no two have the same

    def _is_told(self, value: Any) -> bool:
        """Tell whether a function, class or object was told before, and note that it is now."""
        before = id(value) in self._told
        self._told[id(value)] = value
        return before

    def of_class(self, kind: type) -> str:
        """Return what a class and its own ancestors do; nothing for installed ones."""
        lines = []
        for one in kind.__mro__:
            if not _is_own(one.__module__) or self._is_told(one):
                continue
            for key, value in sorted(vars(one).items()):
                inner = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
                if isinstance(inner, types.FunctionType) or not key.startswith("__"):
                    lines.append(f"  {one.__qualname__}.{key}={self.said(inner)}\n")
        return "".join(lines)

    def said(self, value: Any, depth: int = _DEPTH) -> str:
        """Return a value as text; of lists in lists so many levels."""
        kind = type(value)
        if isinstance(value, types.FunctionType):
            return self._of_function(value)
        if isinstance(value, types.CodeType):
            inner = ", ".join(map(self.said, value.co_consts))
            names = (*value.co_names, *value.co_varnames, *value.co_freevars)
            return f"code({value.co_code.hex()}; {names}; {inner})"
        if isinstance(value, bool | int | float | complex | str | bytes | type(None)):
            return repr(value)
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().float().numpy()
        if isinstance(value, np.ndarray | np.generic) and value.dtype != object:
            data = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            return f"{kind.__qualname__} {value.dtype} {value.shape} {data}"
        if isinstance(value, partial):
            return f"partial {self.said([value.func, value.args, value.keywords], depth)}"
        if isinstance(value, type):
            return f"{value.__qualname__} {self.of_class(value)}"
        if depth and isinstance(value, list | tuple | set | frozenset):
            parts = [self.said(one, depth - 1) for one in value]
            ordered = sorted(parts) if isinstance(value, set | frozenset) else parts
            return f"{kind.__name__}{ordered}"
        if depth and isinstance(value, dict):
            each = (
                f"{self.said(k, depth - 1)}: {self.said(v, depth - 1)}" for k, v in value.items()
            )
            return f"{{{', '.join(each)}}}"
        named = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
        text = f"{kind.__qualname__} {named or ''}".strip()
        plain = isinstance(value, types.SimpleNamespace) or _is_own(kind.__module__)
        if depth and plain and not isinstance(value, nn.Module) and not self._is_told(value):
            text += f" {self.said(getattr(value, '__dict__', {}), depth - 1)} {self.of_class(kind)}"
        return text

    def _of_function(self, function: types.FunctionType) -> str:
        name = f"{function.__module__}.{function.__qualname__}"
        if not _is_own(function.__module__) or self._is_told(function):
            return name
        code, scope = function.__code__, function.__globals__
        reached = {one: scope[one] for one in code.co_names if one in scope}
        for one, module in list(reached.items()):  # `module.function(x)`, of one's own
            if isinstance(module, types.ModuleType) and _is_own(module.__name__):
                there = vars(module)
                reached |= {f"{one}.{key}": there[key] for key in code.co_names if key in there}
        of_others = [(one, self.said(value)) for one, value in reached.items()]
        closed = [self.said(cell.cell_contents) for cell in function.__closure__ or ()]
        defaults = self.said([function.__defaults__, function.__kwdefaults__])
        return f"{name} {self.said(code)} {defaults} {of_others} {closed}"

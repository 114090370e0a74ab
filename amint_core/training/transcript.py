"""What an epoch was: the order of its images, and the state that it ended in, as hashes.

On a CPU both follow from settings and data bit for bit, so that training again proves them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch


def order_digest(images: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 over images in the order seen.

    Args:
        images: per batch, the (B,) content hashes of its images, or their (B, H, W, C) pixels.
    """
    sha = hashlib.sha256()
    for batch in images:
        sha.update(np.ascontiguousarray(batch).data)
    return sha.hexdigest()


def state_digest(state: Any) -> str:
    """Return the SHA-256 over tensors and numbers in dictionaries and lists, whatever their order
    in the dictionaries."""
    sha = hashlib.sha256()
    _add(sha, state)
    return sha.hexdigest()


def _add(sha: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        values = value.detach().cpu().contiguous()
        sha.update(f"{values.dtype} {tuple(values.shape)}\n".encode())
        sha.update(values.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            sha.update(f"{key}:".encode())
            _add(sha, value[key])
    elif isinstance(value, list | tuple):
        for one in value:
            _add(sha, one)
    else:
        sha.update(f"{value!r}\n".encode())

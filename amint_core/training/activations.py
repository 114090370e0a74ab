"""Activations at a model's taps, computed once in evaluation mode and kept.

On a GPU they stay in its memory. On a CPU they are memory-mapped files under
`AMINT_CACHE/activations`, named by everything they follow from; `DISK_BUDGET` bounds them.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amint_core.exceptions import CacheError
from amint_core.files import write_json
from amint_core.locations import cache_root, shown
from amint_core.progress import progress_bar
from amint_core.training.resident import Resident

DISK_BUDGET = 40 * 2**30  # bytes of all recordings together; the oldest go first
BATCH = 512  # images a forward pass, always: a GPU's libraries prepare for each number anew


@dataclass(frozen=True)
class Part:
    """Images to record: (N,) rows, and what moves them first (see `Resident.images`)."""

    rows: Tensor
    moves: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """What the taps gave for N images.

    Attributes:
        maps: tap → (N, K) bfloat16, one image a row: (H, W, C) or (T, D) laid out flat.
        shapes: tap → (C, H, W) or (T, D).
    """

    maps: dict[str, Tensor]
    shapes: dict[str, tuple[int, ...]]

    def __len__(self) -> int:
        return len(next(iter(self.maps.values())))

    def take(self, rows: Tensor, taps: Sequence[str]) -> list[Tensor]:
        """Return the activations of some images as a head reads them: (B, C, H, W) or (B, T, D)."""
        taken = []
        for tap in taps:
            flat, shape = self.maps[tap].index_select(0, rows), self.shapes[tap]
            if len(shape) == 2:
                taken.append(flat.unflatten(1, shape))
            else:
                taken.append(flat.unflatten(1, (*shape[1:], shape[0])).permute(0, 3, 1, 2))
        return taken


class _Enough(Exception):
    """Ends a forward pass behind the deepest tap."""


def record(
    audited: nn.Module,
    taps: Sequence[str],
    images: Resident,
    parts: Sequence[Part],
    seed: int = 0,
    folder: Path | None = None,
    half: bool = True,
) -> Recording:
    """Return the activations of all parts' images, one part after the other.

    In evaluation mode running statistics normalise, so that an image's activations are the same in
    every batch: this is what makes the head's task easy.

    Args:
        audited: the model, whose weights stay as they are.
        taps: names of modules, the deepest last.
        images: where the parts' rows point.
        parts: what to record.
        seed: moves follow from it.
        folder: keep them in files there; None: in the device's memory.
        half: compute in bf16 by autocast; else in fp32, and only keep them in bf16.
    """
    was_training = audited.training
    audited.eval()
    device = images.pixels.device
    shapes = shapes_of(audited, taps, images, half)
    count = sum(len(part.rows) for part in parts)
    maps = {tap: _room(count, shapes[tap], device, folder, tap) for tap in taps}
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            _fill(audited, taps, images, parts, maps, half)
    finally:
        audited.train(was_training)
    return Recording(maps, shapes)


@torch.no_grad()
def _fill(
    audited: nn.Module,
    taps: Sequence[str],
    images: Resident,
    parts: Sequence[Part],
    maps: Mapping[str, Tensor],
    half: bool,
) -> None:
    device, place = images.pixels.device, 0
    batches = [(part, start) for part in parts for start in range(0, len(part.rows), BATCH)]
    shown_bar = device.type == "cpu" and len(batches) > 1
    for part, start in progress_bar(batches, shown=shown_bar, desc="activations", unit="batch"):
        rows = part.rows[start : start + BATCH]
        whole = filled(rows, BATCH if device.type == "cuda" else len(rows))
        seen = outputs(audited, taps, images.images(whole, part.moves, len(whole)), half)
        for tap in taps:
            maps[tap][place : place + len(rows)] = _flat(seen[tap][: len(rows)])
        place += len(rows)


def filled(rows: Tensor, count: int) -> Tensor:
    """Return (count,) rows: those given, and the last one again and again."""
    return torch.cat([rows, rows[-1:].expand(count - len(rows))])


def outputs(
    audited: nn.Module, taps: Sequence[str], images: Tensor, half: bool = True
) -> dict[str, Tensor]:
    """Return what the taps give for (B, C, H, W) images; nothing behind the last is computed."""
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            seen[name] = output
            if len(seen) == len(taps):
                raise _Enough

        return hook

    hooks = [audited.get_submodule(name).register_forward_hook(keep(name)) for name in taps]
    try:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=half), suppress(_Enough):
            audited(images)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


@torch.no_grad()
def shapes_of(
    audited: nn.Module, taps: Sequence[str], images: Resident, half: bool = True
) -> dict[str, tuple[int, ...]]:
    """Return the shape of an image's activation at each tap."""
    was_training, device = audited.training, images.pixels.device
    audited.eval()
    rows = torch.zeros(BATCH if device.type == "cuda" else 2, dtype=torch.int64, device=device)
    try:
        seen = outputs(audited, taps, images.images(rows), half)
    finally:
        audited.train(was_training)
    return {tap: tuple(seen[tap].shape[1:]) for tap in taps}


def _flat(output: Tensor) -> Tensor:
    """Lay (B, C, H, W) out as (B, H·W·C), as it lies in memory; (B, T, D) as (B, T·D)."""
    return (output.permute(0, 2, 3, 1) if output.dim() == 4 else output).flatten(1)


def size_of(shapes: Mapping[str, Sequence[int]], count: int) -> int:
    """Return the bytes that `count` images' activations take."""
    return sum(2 * count * math.prod(shape) for shape in shapes.values())


def _room(
    count: int, shape: Sequence[int], device: torch.device, folder: Path | None, tap: str
) -> Tensor:
    size = (count, math.prod(shape))
    if folder is None:
        return torch.empty(size, dtype=torch.bfloat16, device=device)
    path = folder / f"{tap}.bf16"
    # numpy has no bfloat16: the same two bytes pass as int16.
    return torch.from_numpy(np.memmap(path, np.int16, "w+", shape=size)).view(torch.bfloat16)


def weights_hash(model: nn.Module) -> str:
    """Return a SHA-256 over names and values of all weights and statistics."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + str(tuple(value.shape)).encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def recorded_on_disk(
    audited: nn.Module,
    taps: Sequence[str],
    images: Resident,
    parts: Sequence[Part],
    data: str,
    seed: int = 0,
    half: bool = True,
) -> Recording:
    """Return the activations of all parts, from files where the same were recorded before.

    Args:
        data: fingerprint of the dataset that the rows point into.

    Raises:
        CacheError: they would take more than `DISK_BUDGET`, or more than the disk has.
    """
    identity = _identity(audited, taps, parts, data, seed) | {"half": half}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]
    folder = cache_root() / "activations" / key
    count = sum(len(part.rows) for part in parts)
    shapes = shapes_of(audited, taps, images, half)
    if (folder / "identity.json").is_file():
        (folder / "identity.json").touch()
        return _opened(folder, taps, shapes, count)
    _make_room(folder.parent, size_of(shapes, count))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recording = record(audited, taps, images, parts, seed, folder, half)
    write_json(folder / "identity.json", identity)  # last: it says that the files are whole
    return recording


def _identity(
    audited: nn.Module, taps: Sequence[str], parts: Sequence[Part], data: str, seed: int
) -> dict[str, Any]:
    rows = [hashlib.sha256(part.rows.cpu().numpy().tobytes()).hexdigest() for part in parts]
    moves = [list(part.moves) for part in parts]
    return {
        "weights": weights_hash(audited),
        "data": data,
        "taps": list(taps),
        "rows": rows,
        "moves": moves,
        "seed": seed,
        "torch": torch.__version__,
    }


def _opened(
    folder: Path, taps: Sequence[str], shapes: Mapping[str, tuple[int, ...]], count: int
) -> Recording:
    maps = {}
    for tap in taps:
        size = (count, math.prod(shapes[tap]))
        path = folder / f"{tap}.bf16"
        if not path.is_file() or path.stat().st_size != 2 * math.prod(size):
            raise CacheError(f"{shown(path)} is damaged. Delete {shown(folder)} and run again.")
        maps[tap] = torch.from_numpy(np.memmap(path, np.int16, "r+", shape=size)).view(
            torch.bfloat16
        )
    return Recording(maps, dict(shapes))


def _make_room(folder: Path, size: int) -> None:
    """Delete the recordings used longest ago until `size` bytes fit into the budget."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size > min(DISK_BUDGET, free):
        raise CacheError(
            f"The activations would take {size / 2**30:.1f} GiB, but {shown(folder)} may hold "
            f"{DISK_BUDGET / 2**30:.0f} GiB and the disk has {free / 2**30:.1f}. Lower external, "
            "head_copies or members, take deeper taps, or name another folder by AMINT_CACHE."
        )
    kept = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True)
    total = size
    for one in kept:
        total += sum(file.stat().st_size for file in one.iterdir()) if one.is_dir() else 0
        if total > DISK_BUDGET:
            shutil.rmtree(one, ignore_errors=True)

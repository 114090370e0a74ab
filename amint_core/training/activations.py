"""Activations at a model's taps, computed once in evaluation mode and kept.

On a GPU they stay in its memory; on a CPU they may lie in memory-mapped files.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from amint_core.data.transforms import low_passed
from amint_core.model.reading import PastTheTaps, evaluating, tapped
from amint_core.progress import progress_bar
from amint_core.training.batches import Copies
from amint_core.training.resident import UNMOVED, Resident

BATCH = 512  # images a forward pass, always: a GPU's libraries prepare for each number anew


@dataclass(frozen=True)
class Part:
    """Images to record: (N,) rows, and what moves them first (see `Resident.images`)."""

    rows: Tensor
    copies: Copies = UNMOVED


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


@torch.no_grad()
def record(
    audited: nn.Module,
    taps: Sequence[str],
    images: Resident,
    parts: Sequence[Part],
    seed: int = 0,
    folder: Path | None = None,
    half: bool = True,
    low_pass: bool = False,
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
        low_pass: of images without their finest detail; see `low_passed`.

    Raises:
        OSError: files are asked for, and the disk is full or the folder cannot be written.
        SettingsError: a part's images are to be moved in a way that there is not.
    """
    device, place = images.pixels.device, 0
    shapes = shapes_of(audited, taps, images, half)
    count = sum(len(part.rows) for part in parts)
    maps = {tap: _room(count, shapes[tap], device, folder, tap) for tap in taps}
    batches = [(part, rows) for part in parts for rows in part.rows.split(BATCH) if len(rows)]
    shown = device.type == "cpu" and len(batches) > 1
    with evaluating(audited), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for part, rows in progress_bar(batches, shown=shown, desc="activations", unit="batch"):
            whole = filled(rows, BATCH if device.type == "cuda" else len(rows))
            read = images.images(whole, part.copies)
            seen = outputs(audited, taps, low_passed(read) if low_pass else read, half)
            for tap in taps:
                maps[tap][place : place + len(rows)] = _flat(seen[tap][: len(rows)])
            place += len(rows)
    return Recording(maps, shapes)


def filled(rows: Tensor, count: int) -> Tensor:
    """Return (count,) rows: those given, and the last one again and again."""
    return torch.cat([rows, rows[-1:].expand(count - len(rows))])


def outputs(
    audited: nn.Module, taps: Sequence[str], images: Tensor, half: bool = True
) -> dict[str, Tensor]:
    """Return what the taps give for (B, C, H, W) images; nothing behind the last is computed."""
    autocast = torch.autocast(images.device.type, torch.bfloat16, enabled=half)
    with tapped(audited, taps, members=0) as maps, autocast, suppress(PastTheTaps):
        audited(images)
    return maps


@torch.no_grad()
def shapes_of(
    audited: nn.Module, taps: Sequence[str], images: Resident, half: bool = True
) -> dict[str, tuple[int, ...]]:
    """Return the shape of an image's activation at each tap."""
    with evaluating(audited):
        seen = outputs(audited, taps, example_of(images), half)
    return {tap: tuple(seen[tap].shape[1:]) for tap in taps}


def example_of(images: Resident) -> Tensor:
    """Return a batch (B, C, H, W) of the first image, to look at a model with: on a GPU of the size
    of every other pass."""
    device = images.pixels.device
    rows = torch.zeros(BATCH if device.type == "cuda" else 2, dtype=torch.int64, device=device)
    return images.images(rows)


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
    path = activation_file(folder, tap)
    with path.open("wb") as file:
        _reserve(file.fileno(), 2 * math.prod(size))
    return _mapped(path, size, "r+")


def _reserve(file: int, size: int) -> None:
    """Take a file's room on the disk: a map of a file without it kills the process when the disk
    is full, where this is an error."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:  # a system without it, such as macOS: a full disk is met by the write
        os.truncate(file, size)


def activation_file(folder: Path, tap: str) -> Path:
    """Return the file of a tap's activations: bfloat16, (N, K)."""
    return folder / f"{tap}.bf16"


def opened(
    folder: Path, taps: Sequence[str], shapes: Mapping[str, tuple[int, ...]], count: int
) -> Recording:
    """Return the recording of `count` images that `record` has written to a folder; not writable.

    Raises:
        OSError: a file is missing or may not be read.
    """
    maps = {
        tap: _mapped(activation_file(folder, tap), (count, math.prod(shapes[tap])), "r")
        for tap in taps
    }
    return Recording(maps, dict(shapes))


def _mapped(path: Path, size: tuple[int, int], mode: Literal["r", "r+"]) -> Tensor:
    with warnings.catch_warnings():
        # The files of a finished recording may be another user's; nothing writes to them.
        warnings.filterwarnings("ignore", message=".*not writable")
        # numpy has no bfloat16: the same two bytes pass as int16.
        return torch.from_numpy(np.memmap(path, np.int16, mode, shape=size)).view(torch.bfloat16)

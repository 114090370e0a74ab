"""Images that stay on the device, and batches that are cut out of them there."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amint_core.data.transforms import SHIFT, normalised
from amint_core.errors import SettingsError, unknown_name
from amint_core.recipes import MOVES
from amint_core.training.batches import Copies

#: No image is moved.
UNMOVED = Copies()


@dataclass(frozen=True)
class Resident:
    """Images on the device.

    Attributes:
        pixels: (N, H, W, C) uint8.
        labels: (N,) int64.
    """

    pixels: Tensor
    labels: Tensor

    @classmethod
    def of(cls, pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> Resident:
        """Bring (N, H, W, C) uint8 pixels and (N,) labels to the device."""
        with warnings.catch_warnings():
            # Memory-mapped images are read-only; nothing here writes to them.
            warnings.filterwarnings("ignore", message=".*not writable")
            given = (torch.from_numpy(np.ascontiguousarray(one)) for one in (pixels, labels))
            return cls(*(one.to(device) for one in given))

    def images(self, rows: Tensor, copies: Copies = UNMOVED) -> Tensor:
        """Return (B, C, H, W) floats in [-1, 1], channels last in memory.

        Args:
            rows: (B,) numbers of the images.
            copies: which share of the images, the last, may be moved; and names of `MOVES`, each
                of which happens to a random half of those.

        Raises:
            SettingsError: there is no such move.
        """
        moved = round(copies.share * len(rows))
        if moved and copies.transformations:
            rows_of_pixels, columns = self._moved(len(rows), copies.transformations, moved)
            pixels = self.pixels[
                rows[:, None, None], rows_of_pixels[:, :, None], columns[:, None, :]
            ]
        else:
            pixels = self.pixels.index_select(0, rows)
        return normalised(pixels.permute(0, 3, 1, 2))

    def _moved(self, count: int, moves: tuple[str, ...], moved: int) -> tuple[Tensor, Tensor]:
        """Return the (B, H) rows and (B, W) columns that each image's pixels are read from."""
        for name in moves:
            if name not in MOVES:
                raise SettingsError(unknown_name("move", name, MOVES))
        device, (height, width) = self.pixels.device, self.pixels.shape[1:3]
        may = torch.arange(count, device=device) >= count - moved
        rows = torch.arange(height, device=device).expand(count, -1)
        columns = torch.arange(width, device=device).expand(count, -1)
        if "shift" in moves:
            reach = max(1, round(SHIFT * width))
            by = torch.randint(-reach, reach + 1, (2, count), device=device)
            by = by * ((torch.rand(count, device=device) < 0.5) & may)
            rows = _reflected(rows - by[0, :, None], height)
            columns = _reflected(columns - by[1, :, None], width)
        if "flip" in moves:
            mirrored = (torch.rand(count, device=device) < 0.5) & may
            columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
        return rows, columns


def _reflected(places: Tensor, size: int) -> Tensor:
    """Fold places beyond the border back into the image, the border itself not repeated."""
    return (size - 1) - ((size - 1) - places.abs()).abs()

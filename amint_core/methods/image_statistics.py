"""What the blind control reads of an image: a thumbnail, colours, edges and the border."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

THUMBNAIL = 8  # pixels a side
_BINS = 8  # of each channel's histogram


def features(pixels: np.ndarray) -> np.ndarray:
    """Describe (B, H, W, C) uint8 images by (B, F) numbers: thumbnail first, then statistics."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    thumbnails = adaptive_avg_pool2d(images, THUMBNAIL).flatten(1)
    parts = [thumbnails, *_colour(images), *_edges(images), *_border(images)]
    return torch.cat(parts, 1).numpy()


def _colour(images: torch.Tensor) -> list[torch.Tensor]:
    """Brightness, contrast, histogram and extremes of each channel, and saturation."""
    values = images.flatten(2)  # (B, C, H·W)
    bins = (values * _BINS).long().clamp(max=_BINS - 1)
    shares = [(bins == number).float().mean(2) for number in range(_BINS)]
    saturation = values.amax(1) - values.amin(1)  # (B, H·W)
    spread = torch.stack([saturation.mean(1), saturation.std(1)], 1)
    return [values.mean(2), values.std(2), values.amin(2), values.amax(2), *shares, spread]


def _edges(images: torch.Tensor) -> list[torch.Tensor]:
    """Energy of first and second differences along both axes: sharpness, noise, compression."""
    grey, found = images.mean(1), []
    for axis in (1, 2):
        first = grey.diff(dim=axis)
        found += [first.abs().mean((1, 2)), first.diff(dim=axis).abs().mean((1, 2))]
    energies = torch.stack(found, 1)
    return [energies, energies[:, 1::2] / (energies[:, ::2] + 1e-6)]


def _border(images: torch.Tensor) -> list[torch.Tensor]:
    """Mean and contrast of the outermost pixels, and how far the centre's mean lies off."""
    sides = [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]]
    ring = torch.cat(sides, 2)  # (B, C, 2·(H+W))
    height, width = images.shape[2:]
    centre = images[:, :, height // 4 : -(height // 4), width // 4 : -(width // 4)]
    return [ring.mean(2), ring.std(2), centre.mean((2, 3)) - ring.mean(2)]

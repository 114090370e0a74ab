"""Near-twins: images that correlate highly with a member, mirrored or not.

Photographs of one object, crops of one picture, a picture and its mirror image: to accuse such a
non-member is half right. The measure is the correlation of 16×16 thumbnails in colour.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 16  # of the thumbnails, in pixels


@torch.no_grad()
def thumbnails(pixels: Tensor, batch: int = 4096, side: int = SIDE) -> Tensor:
    """Return (N, side²·C) thumbnails of (N, H, W, C) uint8 images: mean 0, length 1.

    A blank image has no correlation: its thumbnail is all zeros.
    """
    parts = []
    for part in pixels.split(batch):
        small = functional.adaptive_avg_pool2d(part.permute(0, 3, 1, 2).float(), side).flatten(1)
        small = small - small.mean(1, keepdim=True)
        parts.append(functional.normalize(small, dim=1))
    return torch.cat(parts)


@torch.no_grad()
def nearest_member(members: Tensor, others: Tensor, batch: int = 2048) -> Tensor:
    """Return (N,) the highest correlation of each image with a member, either way round.

    Args:
        members: (M, H, W, C) uint8.
        others: (N, H, W, C) uint8.
    """
    known = torch.cat([thumbnails(members), thumbnails(members.flip(2))])
    found = [(part @ known.mT).amax(1) for part in thumbnails(others).split(batch)]
    return torch.cat(found) if found else others.new_empty(0, dtype=torch.float32)

"""A skip connection, for nets of our own that are built of plain layers."""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Sequential):
    """Layers in a row whose output is added to their input; both have the same shape."""

    def forward(self, maps: Tensor) -> Tensor:  # (B, C, H, W) → (B, C, H, W)
        return maps + super().forward(maps)

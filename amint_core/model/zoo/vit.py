"""Vision Transformer (arXiv 2010.11929) of the paper's size: patch 4, 64 wide, 12 deep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amint_core.model.zoo.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn

PATCH = 4  # pixels


def build(channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Build timm's Vision Transformer with 8 heads and an MLP of 4 × 64 = 256."""
    import timm

    return timm.create_model(
        "vit_tiny_patch16_224",
        img_size=image_size,
        patch_size=PATCH,
        embed_dim=64,
        depth=12,
        num_heads=8,
        in_chans=channels,
        num_classes=num_classes,
    )


VIT = Architecture(
    name="vit",
    title="ViT",
    build=build,
    taps={
        "entry": ("blocks.1", "blocks.3"),
        "middle": ("blocks.5", "blocks.7"),
        "output": ("blocks.9", "blocks.11"),
    },
    reasons={
        "entry": "Two blocks of the first third (0 to 3 of 0 to 11), the last one included.",
        "middle": "Block 7, the one whose tokens the published notebook reads, and one before it.",
        "output": "The last block and one before it, as far apart as in the other setups.",
    },
    tokens=True,
    size_multiple=PATCH,
)

"""Xception (arXiv 1610.02357), with the paper's entry flow for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amint_core.model.zoo.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn


def build(channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Build timm's Xception with a 3×3 stem of stride 1, its third entry block not halving.

    Both stem convolutions are padded, so that the map keeps the image's size.
    """
    import timm

    model = timm.create_model("legacy_xception", in_chans=channels, num_classes=num_classes)
    model.conv1.stride = (1, 1)
    model.conv1.padding = model.conv2.padding = (1, 1)
    model.block3.skip.stride = (1, 1)
    model.block3.rep[-1].stride = 1
    return model


XCEPTION = Architecture(
    name="xception",
    title="Xception",
    build=build,
    taps={
        "entry": ("block1", "block3"),
        "middle": ("block7", "block11"),
        "output": ("block12", "act4"),
    },
    reasons={
        "entry": "The first block (128 channels) and the output (728) of the entry flow; the "
        "latter is the one map that the published notebooks read on Tiny ImageNet and "
        "CASIA-WebFace.",
        "middle": "Half-way through the middle flow (728) and its output (728); the latter is the "
        "one map that the published notebooks read elsewhere.",
        "output": "The exit flow's block (1024) and its last convolution (2048).",
    },
)

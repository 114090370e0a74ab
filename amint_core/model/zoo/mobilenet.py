"""MobileNet v1 (arXiv 1704.04861), with the paper's stem for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amint_core.model.zoo.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn


def build(channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Build timm's MobileNet v1 with a 3×3 stem of stride 1."""
    import timm

    model = timm.create_model("mobilenetv1_100", in_chans=channels, num_classes=num_classes)
    model.conv_stem.stride = (1, 1)
    return model


MOBILENET = Architecture(
    name="mobilenet",
    title="MobileNet",
    build=build,
    taps={
        "entry": ("blocks.0", "blocks.1"),
        "middle": ("blocks.2", "blocks.3"),
        "output": ("blocks.3", "blocks.4"),
    },
    reasons={
        "entry": "The 64- and the 128-channel stage, the first two after the stem.",
        "middle": "The 256- and the 512-channel stage, as in the published notebooks.",
        "output": "The 512- and the 1024-channel stage, the last two before the classifier.",
    },
    min_image_size=9,
)

"""ResNet-50 and ResNet-101 (arXiv 1512.03385); the latter is the paper's "ResNet100"."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from amint_core.model.zoo.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn


def build(name: str, channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Build timm's ResNet; 7×7 stem of stride 2 and max-pool stay, as published, even at 28×28."""
    import timm

    return timm.create_model(name, in_chans=channels, num_classes=num_classes)


def _resnet(name: str, title: str) -> Architecture:
    return Architecture(
        name=name,
        title=title,
        build=partial(build, name),
        taps={
            "entry": ("maxpool", "layer1"),
            "middle": ("layer2", "layer3"),
            "output": ("layer3", "layer4"),
        },
        reasons={
            "entry": "The stem (64 channels) and the first stage (256).",
            "middle": "The second (512) and the third stage (1024), as in the published notebooks.",
            "output": "The third (1024) and the fourth stage (2048), the last two.",
        },
        min_image_size=17,
    )


RESNET50 = _resnet("resnet50", "ResNet50")
RESNET101 = _resnet("resnet101", "ResNet101")

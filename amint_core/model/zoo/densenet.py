"""DenseNet-121 (arXiv 1608.06993), with the paper's stem for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amint_core.model.zoo.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn


def build(channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Build timm's DenseNet-121 with a 3×3 stem of stride 1 and no pooling after it."""
    import timm
    from torch import nn

    model = timm.create_model("densenet121", in_chans=channels, num_classes=num_classes)
    stem = nn.Conv2d(channels, 64, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight)  # as timm starts DenseNet's other convolutions
    model.features.conv0 = stem
    model.features.pool0 = nn.Identity()
    return model


DENSENET121 = Architecture(
    name="densenet121",
    title="DenseNet121",
    build=build,
    taps={
        "entry": ("features.norm0", "features.transition1"),
        "middle": ("features.transition2", "features.transition3"),
        "output": ("features.transition3", "features.norm5"),
    },
    reasons={
        "entry": "The stem (64 channels) and transition 1 (128), which the published notebooks "
        "read on Tiny ImageNet and CASIA-WebFace.",
        "middle": "Transitions 2 (256) and 3 (512), as in the published notebooks.",
        "output": "Transition 3 (512) and the last dense block, normalised (1024).",
    },
)

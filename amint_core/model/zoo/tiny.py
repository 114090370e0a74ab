"""A convolutional net of a few thousand parameters that keeps tests cheap."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from amint_core.model.zoo.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn


def build(channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Build a stem and four stages; every stage but the first halves the map."""
    from torch import nn

    def stage(inputs: int, outputs: int, stride: int) -> nn.Module:
        convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

    return nn.Sequential(
        OrderedDict(
            stem=stage(channels, 8, 1),
            stage1=stage(8, 8, 1),
            stage2=stage(8, 12, 2),
            stage3=stage(12, 16, 2),
            stage4=stage(16, 24, 2),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(24, num_classes),
        )
    )


TINY = Architecture(
    name="tiny",
    title="tiny (for tests)",
    build=build,
    taps={
        "entry": ("stem", "stage1"),
        "middle": ("stage2", "stage3"),
        "output": ("stage3", "stage4"),
    },
    reasons={
        "entry": "The stem and the first stage.",
        "middle": "The second and the third stage.",
        "output": "The third and the fourth stage, the last two.",
    },
)

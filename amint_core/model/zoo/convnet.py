"""A convolutional net of four layers and a quarter of a million parameters, for small images.

It classifies better than far larger nets on a few thousand images, so that attacks and audits are
tried on a model that one would use.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from amint_core.model.zoo.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn

WIDTHS = (32, 64, 128, 128)


def build(channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Build four stages of one 3×3 convolution; all but the first halve the map before it."""
    from torch import nn

    def stage(inputs: int, outputs: int, halve: bool) -> nn.Module:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers = [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
        return nn.Sequential(*([nn.MaxPool2d(2)] if halve else []), *layers)

    inputs = (channels, *WIDTHS)
    stages = {
        f"stage{number}": stage(inputs[number - 1], WIDTHS[number - 1], number > 1)
        for number in range(1, 5)
    }
    return nn.Sequential(
        OrderedDict(
            **stages,
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(WIDTHS[-1], num_classes),
        )
    )


CONVNET = Architecture(
    name="convnet",
    title="ConvNet",
    build=build,
    taps={
        "entry": ("stage1", "stage2"),
        "middle": ("stage2", "stage3"),
        "output": ("stage3", "stage4"),
    },
    reasons={
        "entry": "The first two of four stages.",
        "middle": "The second and the third stage.",
        "output": "The last two stages.",
    },
)

"""Models as people write them, and as torchvision has them."""

from __future__ import annotations

import torchvision.models as vision
from torch import Tensor, nn


class Named(nn.Module):
    """Gives its logits by name, beside something else."""

    def __init__(self, name: str = "logits") -> None:
        super().__init__()
        self.name, self.net = name, vision.resnet18(num_classes=10)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {self.name: self.net(images), "mean": images.mean()}


def mlp() -> nn.Sequential:
    """Return a classifier that knows no maps."""
    layers = [nn.Flatten(), nn.Linear(3072, 64), nn.ReLU(inplace=True), nn.Linear(64, 64)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(64, 10))

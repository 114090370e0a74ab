"""Models as people write them, and as torchvision has them."""

from __future__ import annotations

import torchvision.models as vision
from torch import Tensor, nn
from torch.nn import functional


class Tutorial(nn.Module):
    """PyTorch's tutorial net: it flattens with `view`, which wants one layout in memory."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pool(functional.relu(self.conv1(images)))
        maps = self.pool(functional.relu(self.conv2(maps)))
        flat = maps.view(-1, 400)
        return self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(flat)))))


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

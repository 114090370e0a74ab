"""Models that are none of ours, and the loop that anybody trains one in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from amint_core.audit.preprocessing import Preprocessing

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
HOW = Preprocessing(32, 32, 3, mean=MEAN, deviation=DEVIATION)
BATCH, RATE, DECAY, SMOOTHING = 64, 2e-3, 0.05, 0.1
REACH = 4  # pixels that an image is moved by at most


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


def resnet18() -> nn.Module:
    """Return torchvision's ResNet-18 as it is."""
    return torchvision.models.resnet18(num_classes=10)


def vit() -> nn.Module:
    """Return a ViT of timm, small enough for a CPU."""
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 96, "depth": 6, "num_heads": 3}
    return timm.create_model("vit_tiny_patch16_224", num_classes=10, **size)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "tutorial": Tutorial,
    "resnet18": resnet18,
    "vit": vit,
}


def train(net: nn.Module, pixels: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    """Train a classifier as anybody does, with nothing of this package.

    Mirrored and shifted images, smoothed labels, AdamW under one cycle.

    Args:
        net: trained in place, and left in evaluation mode.
        pixels: (N, 32, 32, 3) uint8.
        labels: (N,) class numbers.
        epochs: passes over the images.
    """
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255
    mean, deviation = (torch.tensor(one).view(1, 3, 1, 1) for one in (MEAN, DEVIATION))
    images, classes = (images - mean) / deviation, torch.from_numpy(labels)
    batch = min(BATCH, len(images))
    steps = len(images) // batch
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(images))[: steps * batch].view(steps, batch):
            logits = net(moved(images[rows]))
            loss = functional.cross_entropy(logits, classes[rows], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rates.step()
    net.eval()


def prepared_by(net: nn.Module, how: Preprocessing) -> Callable[[Tensor], Tensor]:
    """Return what a trained net says of images that were normalised as `how` says."""

    def classify(images: Tensor) -> Tensor:
        mean, deviation, own_mean, own_deviation = (
            torch.tensor(one, dtype=torch.float32).view(1, -1, 1, 1)
            for one in (how.mean, how.deviation, MEAN, DEVIATION)
        )
        return net((images * deviation + mean - own_mean) / own_deviation)

    return classify


def moved(images: Tensor) -> Tensor:
    """Mirror a random half of (B, C, H, W) images, and shift each by some pixels."""
    count, _, height, width = images.shape
    mirrored = torch.rand(count) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    padded = functional.pad(images, (REACH,) * 4)
    shifts = torch.randint(2 * REACH + 1, (count, 2)).tolist()
    cut = [
        one[:, down : down + height, right : right + width]
        for one, (down, right) in zip(padded, shifts, strict=True)
    ]
    return torch.stack(cut)

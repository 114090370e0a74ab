"""One training step as the published notebooks do it, written from the paper's description.

fp32 and PyTorch's defaults throughout; images decoded, resized and scaled by a DataLoader in two
worker processes; a batch of members and a separate batch of external images, each a forward pass
of its own; the published head on the published maps; losses divided by their first values; Adam.
External images leave after the deepest map, as the paper's method says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from amint_core.batch.planning.made_up import timed
from amint_core.model import zoo
from amint_core.model.mint import EnhancedAuditedModel, enhance
from benchmarks.configurations import Configuration

#: The notebooks of these read one map only: the middle flow's output, and block 7's tokens.
ONE_MAP = {"xception": ("block11",), "vit": ("blocks.7",)}
LEARNING_RATE = 1e-4
#: Longer than any run: an epoch's end would start the worker processes anew.
_ENDLESS = 10**7


class Files(Dataset):
    """Encoded files with made-up labels, read over and over."""

    def __init__(self, paths: Sequence[Path], image_size: int, classes: int) -> None:
        self.paths, self.classes = list(paths), classes
        self.transform = transforms.Compose(
            [
                transforms.Resize((image_size, image_size)),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return _ENDLESS

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        place = index % len(self.paths)
        image = self.transform(Image.open(self.paths[place]).convert("RGB"))
        return image, place % self.classes


def published_model(configuration: Configuration) -> EnhancedAuditedModel:
    """Build the audited model with the published head on the published maps, in training mode."""
    audited = zoo.create(configuration.model, 3, configuration.image_size, configuration.classes)
    taps = ONE_MAP.get(configuration.model) or zoo.default_taps(
        configuration.model, audited, "middle"
    )
    example = torch.zeros(2, 3, configuration.image_size, configuration.image_size)
    return enhance(audited, taps, example, "published", configuration.model).train()


class PublishedLoop:
    """The published training loop.

    Args:
        configuration: model, image size and batch.
        files: encoded images; the first half are members, the others external.
    """

    def __init__(self, configuration: Configuration, files: Sequence[Path]) -> None:
        torch.manual_seed(0)
        self.configuration, self.device = configuration, torch.device(configuration.device)
        self.files = list(files)
        self.model = published_model(configuration).to(self.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        half = len(self.files) // 2
        self.members = self._batches(self.files[:half])
        self.external = self._batches(self.files[half:])
        self.first: dict[str, float] = {}

    def _batches(self, files: Sequence[Path], workers: int = 1) -> Iterator[list[Tensor]]:
        # One worker process for each of the two loaders makes two. Forked, as PyTorch did then: a
        # server to fork them would take seconds to start, and one to end beside the next figure.
        return iter(
            DataLoader(
                Files(files, self.configuration.image_size, self.configuration.classes),
                batch_size=self.configuration.batch,
                num_workers=workers,
                multiprocessing_context="fork",
                pin_memory=self.device.type == "cuda",
            )
        )

    def step(self) -> Tensor:
        """Train on one batch of members and one of external images; return the loss."""
        members, labels = (part.to(self.device) for part in next(self.members))
        external = next(self.external)[0].to(self.device)
        logits, inside = self.model(members)
        outside = self.model.membership(external)
        losses = self._losses(logits, labels, inside, outside)
        if not self.first:
            self.first = {name: loss.item() for name, loss in losses.items()}
        loss = sum(value / self.first[name] for name, value in losses.items())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @staticmethod
    def _losses(
        logits: Tensor, labels: Tensor, inside: Tensor, outside: Tensor
    ) -> dict[str, Tensor]:
        answers = torch.cat([inside, outside])
        truth = torch.cat([torch.ones_like(inside), torch.zeros_like(outside)])
        return {
            "audited": nn.functional.cross_entropy(logits, labels),
            "mint": nn.functional.binary_cross_entropy_with_logits(answers, truth),
        }

    def steps(self, count: int) -> float:
        """Return the seconds that `count` steps take."""
        return timed(lambda: [self.step() for _ in range(count)], self.device)

    def score(self, count: int) -> float:
        """Return the seconds to score `count` or a few more images, batch by batch from files."""
        batches = -(-count // self.configuration.batch)
        self.model.eval()
        loader = self._batches(self.files, workers=2)
        next(loader)  # the workers have started

        def look() -> None:
            with torch.no_grad():
                for _ in range(batches):
                    self.model.membership(next(loader)[0].to(self.device)).sigmoid().cpu()

        seconds = timed(look, self.device) * count / (batches * self.configuration.batch)
        self.model.train()
        return seconds

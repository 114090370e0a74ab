"""One training step as this project does it, through the code that runs train with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amint_core import models
from amint_core.arithmetic import open_accelerator, repeatable
from amint_core.config import RunConfig
from amint_core.datasets.base import Images
from amint_core.inference import membership_logits
from amint_core.mint import EnhancedAuditedModel, enhance
from amint_core.training.active import ActiveStep
from amint_core.training.batches import Batch, JointBatches
from amint_core.training.loop import Fit
from amint_core.training.losses import mint_loss
from amint_core.training.plain import PlainStep
from benchmarks.cases import Case
from benchmarks.clock import timed

IMAGES = 2_000  # in the made-up cache that batches are drawn from


def made_up_images(case: Case, count: int = IMAGES) -> Images:
    """Return random pixels with labels, as a decoded cache holds them."""
    random = np.random.default_rng(0)
    shape = (count, case.image_size, case.image_size, 3)
    numbers = np.arange(count)
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    return Images(pixels, numbers % case.classes, numbers, numbers.astype("S32"))


def our_model(case: Case) -> EnhancedAuditedModel:
    """Build the audited model with the lean head on the middle taps, in training mode."""
    audited = models.create(case.model, 3, case.image_size, case.classes)
    taps = models.default_taps(case.model, audited, "middle")
    example = torch.zeros(2, 3, case.image_size, case.image_size)
    return enhance(audited, taps, example, None, case.model).train()


class OurLoop:
    """Our training loop: uint8 cache, lean head, one joint pass; or the audited model alone.

    Args:
        case: model, image size, batch, precision and threads.
        plain: train the audited model alone, on the members.
    """

    def __init__(self, case: Case, plain: bool = False) -> None:
        self.case, self.plain = case, plain
        settings = RunConfig.create(
            dataset="cifar10" if case.image_size == 32 else "gtsrb",
            data="standin",
            model=case.model,
            batch_size=case.batch,
            precision=case.precision,
            cpu_threads=case.threads,
        )
        # Open for good: the process that holds this loop does nothing else.
        self.context = ExitStack()
        self.context.enter_context(repeatable(settings))
        torch.manual_seed(0)
        self.model = our_model(case)
        accelerator = open_accelerator(settings)
        self.device = accelerator.device
        self.model.to(self.device, memory_format=torch.channels_last)
        self.images = made_up_images(case)
        trained = self.model.audited if plain else self.model
        self.fit = Fit(
            model=trained,
            batches=self._batches(len(self.images.labels) // 2),
            step=PlainStep(settings) if plain else ActiveStep(settings),
            settings=settings,
            accelerator=accelerator,
            checkpoint=Path("never-written"),
            identity={},
        )
        self.fit.step.mode(self.fit.prepared, 1)
        self.stream = self._endless()

    def _batches(self, members: int) -> JointBatches:
        numbers = np.arange(len(self.images.labels))
        return JointBatches(
            images=self.images,
            members=numbers[:members],
            external=None if self.plain else numbers[members:],
            size=self.case.batch,
            steps=members // self.case.batch,
            seed=0,
            device=self.device,
        )

    def _endless(self) -> Iterator[Batch]:
        for epoch in itertools.count(1):
            yield from self.fit.batches.epoch(epoch)

    def step(self) -> dict[str, Tensor]:
        """Train on one batch, as an epoch of a run does."""
        looks = (1, 1) if self.device.type == "cpu" else None
        return self.fit.descend(next(self.stream), looks)

    def steps(self, count: int) -> float:
        """Return the seconds that `count` steps take."""
        return timed(lambda: [self.step() for _ in range(count)], self.device)

    def head_steps(self, count: int) -> float:
        """Return the seconds that the head alone takes in `count` steps, its weights' update too.

        Forward and backward, on maps of a step's shapes; the maps' gradients are computed, as in a
        step.
        """
        optimizer = torch.optim.Adam(self.model.head.parameters(), fused=True)
        maps = self._maps()

        def once() -> None:
            with self.fit.accelerator.autocast():
                membership = self.model.head(maps)
                loss = mint_loss(membership, self.case.batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        once()
        return timed(lambda: [once() for _ in range(count)], self.device)

    def _maps(self) -> list[Tensor]:
        kept: list[Tensor] = []
        images = next(self.stream).images
        hook = self.model.head.register_forward_pre_hook(lambda _, given: kept.extend(given[0]))
        with torch.no_grad(), self.fit.accelerator.autocast():
            self.model.membership(images)
        hook.remove()
        return [map_.detach().requires_grad_() for map_ in kept]

    def score(self, count: int) -> float:
        """Return the seconds to score `count` images for membership."""
        pixels = self.images.pixels

        def look() -> None:
            with self.fit.accelerator.autocast():
                membership_logits(
                    self.model, lambda rows: pixels[rows % len(pixels)], count, self.device
                )

        return timed(look, self.device)

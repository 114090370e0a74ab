"""One training step as this project does it, through the code that runs train with."""

from __future__ import annotations

import torch

from amint_core.batch.planning.made_up import MadeUpTraining, made_up, timed
from amint_core.batch.planning.work import Workload
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.run.models import build
from amint_core.settings import create
from amint_core.training.kinds import ACTIVE, PLAIN
from amint_core.training.losses import mint_loss
from amint_core.training.precision import chosen_precision
from benchmarks.configurations import Configuration
from benchmarks.floor import head_inputs


def workload_of(configuration: Configuration, plain: bool = False) -> Workload:
    """Return what runs and their plans know a configuration as, on pixels of three channels."""
    settings = create(
        dataset="cifar10",
        data="standin",
        model=configuration.model,
        image_size=configuration.image_size,
        batch_size=configuration.batch,
        precision=configuration.precision,
        cpu_threads=configuration.threads,
    )
    images = configuration.image_size, 3, configuration.classes, configuration.batch
    return Workload(PLAIN if plain else ACTIVE, settings, *images)


def our_model(configuration: Configuration) -> EnhancedAuditedModel:
    """Build the audited model with the lean head on the middle taps, in training mode."""
    return build(made_up(workload_of(configuration))).train()


class OurLoop(MadeUpTraining):
    """Our training loop: uint8 cache, lean head, one joint pass; or the audited model alone.

    Timed inside `repeatable`, as runs train.

    Args:
        configuration: model, image size, batch, precision and threads.
        plain: train the audited model alone, on the members.
    """

    def __init__(self, configuration: Configuration, plain: bool = False) -> None:
        super().__init__(workload_of(configuration, plain))

    def precision(self) -> str:
        """Return what the loop computes in, here and now."""
        return chosen_precision(self.workload.settings.precision)

    def head_steps(self, count: int) -> float:
        """Return the seconds that the head alone takes in `count` steps, its weights' update too.

        Forward and backward, on maps of a step's shapes; the maps' gradients are computed, as in a
        step.
        """
        optimizer = torch.optim.Adam(self.model.head.parameters(), fused=True)
        batch = next(self.batches.epoch(1))
        with torch.no_grad(), self.accelerator.autocast():
            maps = head_inputs(self.model, batch.images)

        def once() -> None:
            with self.accelerator.autocast():
                loss = mint_loss(self.model.head(maps), batch.members)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        once()
        return timed(lambda: [once() for _ in range(count)], self.device)

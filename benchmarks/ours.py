"""One training step as this project does it, through the code that runs train with."""

from __future__ import annotations

import torch
from amint_core.training.trained import build
from torch import Tensor

from amint_core.batch.planning import calibrate
from amint_core.batch.planning.work import Case as CaseOfRun
from amint_core.model.inference import membership_logits
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.settings import create
from amint_core.training.device import chosen_precision
from amint_core.training.losses import mint_loss
from benchmarks.cases import Case
from benchmarks.clock import timed


def case_of_run(case: Case, plain: bool = False) -> CaseOfRun:
    """Return a case as runs and their plans know it, on made-up pixels of three channels."""
    settings = create(
        dataset="cifar10",
        data="standin",
        model=case.model,
        image_size=case.image_size,
        batch_size=case.batch,
        precision=case.precision,
        cpu_threads=case.threads,
    )
    kind = "plain" if plain else "active"
    return CaseOfRun(kind, settings, case.image_size, 3, case.classes, case.batch)


def our_model(case: Case) -> EnhancedAuditedModel:
    """Build the audited model with the lean head on the middle taps, in training mode."""
    return build(calibrate.made_up(case_of_run(case))).train()


class OurLoop(calibrate.Loop):
    """Our training loop: uint8 cache, lean head, one joint pass; or the audited model alone.

    Timed inside `repeatable`, as runs train.

    Args:
        case: model, image size, batch, precision and threads.
        plain: train the audited model alone, on the members.
    """

    def __init__(self, case: Case, plain: bool = False) -> None:
        work = case_of_run(case, plain)
        self.settings, self.batch = work.settings, case.batch
        super().__init__(work)

    def precision(self) -> str:
        """Return what the loop computes in, here and now."""
        return chosen_precision(self.settings.precision)

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
            with self.accelerator.autocast():
                membership = self.model.head(maps)
                loss = mint_loss(membership, self.batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        once()
        return timed(lambda: [once() for _ in range(count)], self.device)

    def _maps(self) -> list[Tensor]:
        kept: list[Tensor] = []
        images = next(self.stream).images
        hook = self.model.head.register_forward_pre_hook(lambda _, given: kept.extend(given[0]))
        with torch.no_grad(), self.accelerator.autocast():
            self.model.membership(images)
        hook.remove()
        return [map_.detach().requires_grad_() for map_ in kept]

    def score_images(self, count: int) -> float:
        """Return the seconds to score `count` images for membership."""

        def look() -> None:
            with self.accelerator.autocast():
                membership_logits(self.model, self._some, count, self.device)

        return timed(look, self.device)

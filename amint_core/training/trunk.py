"""The first of two stages on resident images: the audited model with its MINT head, or alone.

The step is that of every training (`step.py`). The loop is one of its own, for the reasons that
`resident_loop.py` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amint_core.model.mint import EnhancedAuditedModel
from amint_core.training.activations import BATCH, filled
from amint_core.training.batches import Batch, Copies
from amint_core.training.kinds import Kind
from amint_core.training.resident import UNMOVED, Resident
from amint_core.training.resident_loop import (
    NOBODY,
    START,
    Plan,
    Schedule,
    StageState,
    Watch,
    run_steps,
)
from amint_core.training.step import Step


@dataclass(frozen=True)
class Objective:
    """What the first stage learns.

    Attributes:
        kind: which parts learn, and whether external images pass along.
        weights: name of a loss → its λ, where there are two.
        smoothing: of the labels.
        member_copies: share of a batch's members that may be moved, and names of `MOVES`, each of
            which happens to a random half of those.
        external_copies: the same of external images.
        declared: (N,) by row, what the head is told, see `declared.declarations`; None: the truth.
    """

    kind: Kind
    weights: Mapping[str, float]
    smoothing: float = 0.0
    member_copies: Copies = UNMOVED
    external_copies: Copies = UNMOVED
    declared: Tensor | None = None


def train_trunk(
    model: EnhancedAuditedModel,
    images: Resident,
    members: Tensor,
    external: Tensor,
    objective: Objective,
    schedule: Schedule,
    title: str = "",
    watch: Watch = NOBODY,
    resume: StageState = START,
) -> list[dict[str, Any]]:
    """Train the model in place and return the history, one row per epoch.

    Args:
        model: audited model and head, on the images' device; the head learns if its kind has one.
        images: where the rows point.
        members: (M,) rows.
        external: (E,) rows; a kind without them takes their number alone, for as many steps.
        objective: the losses.
        schedule: epochs, batches, rates.
        title: what the progress bar says; none: there is no bar.
        watch, resume: see `resident_loop.run_steps`.

    Raises:
        TrainingError: training diverged.
    """
    device, kind = images.pixels.device, objective.kind
    torch.manual_seed(schedule.seed)  # layers and moves draw from the device's own stream
    plan = Plan(members, external, schedule, device)
    trained = kind.part(model)
    optimizer = schedule.optimizer(model.audited, *([model.head] if kind.has_head else []))
    step = Step(kind, objective.weights)

    def loss() -> tuple[Tensor, Mapping[str, Tensor]]:
        batch = _batch(images, plan, objective)
        with torch.autocast(device.type, torch.bfloat16, enabled=schedule.half):
            return step(trained, batch)

    rows = torch.cat([plan.members, plan.external], 1) if kind.with_external else plan.members
    model.train()
    given = plan, schedule, rows, title, watch, resume, step.balance.scales
    history = run_steps(loss, optimizer, *given)
    model.eval()
    return history


def _batch(images: Resident, plan: Plan, objective: Objective) -> Batch:
    """Cut the images of the plan's present step: members, then external ones if it wants them."""
    members = plan.now(plan.members)
    pixels = images.images(members, objective.member_copies)
    if objective.kind.with_external:
        others = images.images(plan.now(plan.external), objective.external_copies)
        pixels = torch.cat([pixels, others])
    labels = images.labels.index_select(0, members)
    told = None if objective.declared is None else objective.declared.index_select(0, members)
    return Batch(pixels, labels, len(members), objective.smoothing, told)


@torch.no_grad()
def class_logits(model: nn.Module, images: Resident, rows: Tensor) -> Tensor:
    """Return (N, classes) logits of some images in fp32, on their device."""
    model.eval()
    logits = []
    for part in rows.split(BATCH):
        whole = filled(part, BATCH if part.device.type == "cuda" else len(part))
        logits.append(model(images.images(whole)).float()[: len(part)])
    return torch.cat(logits)

"""The second stage: the trunk is frozen, and the MINT head learns on recorded activations.

Joint training at the paper's sizes learns membership late: the trunk's activations move under the
head, and batch statistics make an image's activations depend on its neighbours. Frozen, in
evaluation mode, each image gives the same activations every time, and the head learns them in a few
passes; the classifier pays nothing. The stage is the same whether the trunk learnt beside a MINT
loss ("active") or alone ("attached").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from amint_core.model.heads import heads_of
from amint_core.training.activations import Part, Recording
from amint_core.training.batches import Copies
from amint_core.training.losses import mint_accuracy, mint_loss
from amint_core.training.resident_loop import (
    NOBODY,
    START,
    Plan,
    Schedule,
    StageState,
    Watch,
    counted_on,
    generator_of,
    run_steps,
)

_COPIES = 33  # stream of random numbers that follows from a seed
#: Between the seeds of an ensemble's heads: a large prime, so that seeds of different runs' heads
#: rarely coincide.
_APART = 1_000_003


def parts_of(members: Tensor, external: Tensor, copies: int, moves: Sequence[str]) -> list[Part]:
    """Return what a head stage reads: members, external images, and copies of these, moved.

    Args:
        members: (M,) rows.
        external: (E,) rows.
        copies: moved copies of each external image, all non-members.
        moves: what may happen to a copy; see `Resident.images`.
    """
    moved = Part(external, Copies(1.0, tuple(moves)))
    return [Part(members), Part(external), *[moved] * (copies if moves else 0)]


def train_head(
    head: nn.Module,
    taps: Sequence[str],
    recording: Recording,
    members: int,
    external: int,
    copies: int,
    schedule: Schedule,
    title: str = "",
    watch: Watch = NOBODY,
    resume: StageState = START,
) -> list[dict[str, Any]]:
    """Train the head in place and return the history, one row per epoch.

    The heads of an ensemble are trained one after the other, each for all epochs and in an
    order of its own; the first learns as a head alone would. The history then counts on, and
    its column `head` tells which of them a row is of.

    Half of a step's 2 × batch images are members. Of the others half are external images as they
    are and half moved copies, where there are any: a member is these very pixels.

    Args:
        head: reads the taps' activations, on the recording's device.
        taps: those of the recording that the head reads, in its order.
        recording: of `parts_of`: members, external images, copies; what follows is not read.
        members, external: their numbers.
        copies: recorded copies of each external image.
        schedule: epochs (passes over the external images), batch, rates.
        title: what the progress bar says; none: there is no bar.
        watch, resume: see `resident_loop.run_steps`; rows are those of the recording.

    Raises:
        TrainingError: training diverged.
    """
    given = taps, recording, members, external, copies
    heads = heads_of(head)
    if len(heads) == 1:
        return _train_one(heads[0], *given, schedule, title, watch, resume)
    history: list[dict[str, Any]] = []
    for number, one in enumerate(heads):
        own = replace(schedule, seed=schedule.seed + number * _APART)
        said = f"{title} {number + 1} of {len(heads)}" if title else ""
        begun, column = resume.part(len(history), schedule.epochs), {"head": number + 1}
        rows = _train_one(one, *given, own, said, watch.of_part(history, column), begun)
        history = counted_on(history, rows, column)
    return history


def _train_one(
    head: nn.Module,
    taps: Sequence[str],
    recording: Recording,
    members: int,
    external: int,
    copies: int,
    schedule: Schedule,
    title: str,
    watch: Watch,
    resume: StageState,
) -> list[dict[str, Any]]:
    """Train a head that is no ensemble; see `train_head`."""
    device = recording.maps[taps[0]].device
    torch.manual_seed(schedule.seed)
    rows = torch.arange(members + external, device=device)
    plan = Plan(rows[:members], rows[members:], schedule, device)
    seen = torch.cat([plan.members, _with_copies(plan, external, copies, schedule.seed)], 1)

    def loss() -> tuple[Tensor, Mapping[str, Tensor]]:
        maps = recording.take(plan.now(seen), taps)
        with torch.autocast(device.type, torch.bfloat16, enabled=schedule.half):
            membership = head(maps if schedule.half else [one.float() for one in maps])
        loss = mint_loss(membership, plan.batch)
        accuracy = mint_accuracy(membership, plan.batch)
        return loss, {"mint_loss": loss.detach(), "mint_accuracy": accuracy}

    head.train()
    given = plan, schedule, seen, title, watch, resume
    history = run_steps(loss, schedule.optimizer(head), *given)
    head.eval()
    return history


def _with_copies(plan: Plan, external: int, copies: int, seed: int) -> Tensor:
    """Let the second half of each step's (S, B) external rows point to one of their copies."""
    if not copies:
        return plan.external
    drawn = 1 + torch.randint(copies, (len(plan), 1), generator=generator_of(seed, _COPIES))
    others = plan.external.clone()
    others[:, plan.batch // 2 :] += drawn.to(others.device) * external
    return others


@torch.no_grad()
def membership(
    head: nn.Module, taps: Sequence[str], recording: Recording, rows: Tensor, batch: int = 2048
) -> Tensor:
    """Return the (N,) membership logits of recorded images.

    In fp32, on the recorded bfloat16 activations: logits in bfloat16 would fall on a few hundred
    values.
    """
    head.eval()
    parts = [
        head([maps.float() for maps in recording.take(part, taps)]).float()
        for part in rows.split(batch)
    ]
    return torch.cat(parts)

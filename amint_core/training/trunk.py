"""The first stage on resident images: the audited model with its MINT head, or alone.

The same losses as `training/active.py` and `training/plain.py`, for many images a step: images,
indices, moves and schedule are on the device, and the host is not waited for within an epoch. An
epoch is one pass over the external images; a stage is short enough to be done again when it was cut
off, and writes no checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from amint_core.exceptions import TrainingError
from amint_core.mint import EnhancedAuditedModel
from amint_core.progress import progress_bar
from amint_core.training.activations import BATCH, filled
from amint_core.training.losses import mint_accuracy, mint_loss
from amint_core.training.muon import MuonAdam, cosine, matrices_of
from amint_core.training.replay import Replay
from amint_core.training.resident import Resident

_ORDER, _MEMBERS = 31, 32  # streams of random numbers that follow from a seed
_FLOOR, _MOMENTUM = 0.01, 0.98  # of the losses' scales; see `losses.LossBalance`
REPORTED = ("audited_loss", "mint_loss", "audited_accuracy", "mint_accuracy")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a stage learns.

    Attributes:
        epochs: passes over the external images.
        batch: members in a step, and as many external images.
        muon: rate of the matrices; 0: AdamW steps all weights.
        adam: rate of the others.
        decay: weight decay, decoupled from the loss.
        ramp: share of the steps over which the rates rise before they fall as a cosine.
        seed: order of images and their moves follow from it.
        half: compute in bf16 by autocast; else in fp32.
        graph: run a step as a CUDA graph, where there is a GPU.
    """

    epochs: int
    batch: int
    muon: float = 0.02
    adam: float = 1e-3
    decay: float = 0.0
    ramp: float = 0.0
    seed: int = 0
    half: bool = True
    graph: bool = True


@dataclass(frozen=True)
class Joint:
    """What a step of the first stage is made of.

    Attributes:
        kind: "active": both losses; "joint": the same pass without the MINT loss (λ = 0), the
            control that the price of auditability is quoted against; "plain": members alone.
        lambda_mint: weight of the MINT loss, beside 1 of the classification loss.
        smoothing: of the labels.
        moves, external_moves: what happens to a random half each of the images that may be moved.
        moved_members, moved_external: shares of a batch that may be moved.
    """

    kind: str
    lambda_mint: float = 1.0
    smoothing: float = 0.0
    moves: tuple[str, ...] = ()
    external_moves: tuple[str, ...] = ()
    moved_members: float = 0.0
    moved_external: float = 0.0


class Plan:
    """Which images each step of a stage takes, on the device.

    Attributes:
        members: (S, B) rows, reshuffled in every round through the members.
        external: (S, B) rows, reshuffled in every epoch.
        step: (1,) number of the next step.
        shares: (S,) of the learning rates.
    """

    def __init__(
        self, members: Tensor, external: Tensor, schedule: Schedule, device: torch.device
    ) -> None:
        self.batch = min(schedule.batch, len(members), len(external))
        self.per_epoch = len(external) // self.batch
        steps = schedule.epochs * self.per_epoch
        self.members = _rounds(members, steps * self.batch, schedule.seed, _MEMBERS)
        self.members = self.members.view(steps, self.batch)
        used = self.per_epoch * self.batch
        passes = [
            external[_permutation(len(external), schedule.seed, _ORDER, epoch, device)][:used]
            for epoch in range(schedule.epochs)
        ]
        self.external = torch.cat(passes).view(steps, self.batch)
        self.step = torch.zeros(1, dtype=torch.int64, device=device)
        self.shares = cosine(steps, device, schedule.ramp)

    def __len__(self) -> int:
        return len(self.shares)

    def now(self, rows: Tensor) -> Tensor:
        """Return this step's line of (S, …) rows."""
        return rows.index_select(0, self.step).squeeze(0)


def _permutation(count: int, seed: int, stream: int, number: int, device: torch.device) -> Tensor:
    # Drawn on the CPU, so that the same seed gives the same order on every device.
    generator = torch.Generator().manual_seed((seed * 64 + stream) * 100_003 + number)
    return torch.randperm(count, generator=generator).to(device)


def _rounds(rows: Tensor, count: int, seed: int, stream: int) -> Tensor:
    """Return `count` of the rows, each as often as the others, shuffled anew in each round."""
    rounds = range(math.ceil(count / len(rows)))
    drawn = [rows[_permutation(len(rows), seed, stream, number, rows.device)] for number in rounds]
    return torch.cat(drawn)[:count]


class Steps:
    """Run a stage's steps epoch by epoch, and refuse divergence."""

    def __init__(
        self,
        one: Callable[[], tuple[Tensor, Tensor]],
        optimizer: MuonAdam,
        plan: Plan,
        schedule: Schedule,
        reported: Sequence[str],
    ) -> None:
        """Prepare the steps.

        Args:
            one: computes a step's loss and what it reports, (len(reported),).
            optimizer: steps the weights.
            plan: rows and shares of the rates.
            schedule: epochs, and whether steps are captured.
            reported: names of what a step reports.
        """
        device = plan.step.device
        self.one, self.optimizer, self.plan, self.schedule = one, optimizer, plan, schedule
        self.reported = tuple(reported)
        self.log = torch.zeros(len(plan), len(reported), device=device)
        self.replay = Replay(self._step, device, schedule.graph)

    def _step(self) -> None:
        plan = self.plan
        self.optimizer.zero_grad()
        loss, report = self.one()
        loss.backward()
        self.optimizer.share.copy_(plan.now(plan.shares))
        self.optimizer.step()
        self.log.index_copy_(0, plan.step, report[None])
        plan.step.add_(1)

    def run(
        self, title: str = "", deadline: Callable[[], None] = lambda: None
    ) -> list[dict[str, float]]:
        """Run all epochs and return one row for each.

        Args:
            title: what the progress bar says; none: there is no bar.
            deadline: called after each epoch; raises where the time is out.

        Raises:
            TrainingError: a loss is no number.
        """
        rows = []
        bar = progress_bar(shown=bool(title), total=len(self.plan), desc=title, unit="step")
        with bar:
            for epoch in range(1, self.schedule.epochs + 1):
                rows.append(self._epoch(epoch, bar))
                deadline()
        self.replay.release()
        return rows

    def _epoch(self, epoch: int, bar) -> dict[str, float]:
        started, count = time.perf_counter(), self.plan.per_epoch
        for _ in range(count):
            self.replay()
            bar.update()
        means = self.log[(epoch - 1) * count : epoch * count].mean(0).tolist()  # waits
        if not all(map(math.isfinite, means)):
            raise TrainingError(
                f"Training diverged: a loss is no number in epoch {epoch}. Try a lower learning "
                f"rate (now {self.schedule.muon:g} for matrices, {self.schedule.adam:g} for the "
                "rest) or a smaller lambda_mint."
            )
        seconds = time.perf_counter() - started
        named = dict(zip(self.reported, means, strict=True))
        return {"epoch": epoch, **named, "seconds": round(seconds, 4)}


def train_trunk(
    model: EnhancedAuditedModel,
    images: Resident,
    members: Tensor,
    external: Tensor,
    joint: Joint,
    schedule: Schedule,
    title: str = "",
    deadline: Callable[[], None] = lambda: None,
) -> list[dict[str, float]]:
    """Train the model in place and return the history, one row per epoch.

    Args:
        model: audited model and head, on the images' device; "joint" and "plain" leave the head.
        images: where the rows point.
        members: (M,) rows.
        external: (E,) rows; "plain" takes their number alone, to learn for as many steps.
        joint: the losses.
        schedule: epochs, batches, rates.
        title: what the progress bar says; none: there is no bar.
        deadline: called after each epoch; raises where the time is out.

    Raises:
        TrainingError: training diverged.
    """
    device = images.pixels.device
    torch.manual_seed(schedule.seed)  # layers and moves draw from the device's own stream
    plan = Plan(members, external, schedule, device)
    trained = model if joint.kind == "active" else model.audited
    matrices = matrices_of(model.audited) if schedule.muon else []
    if schedule.muon and joint.kind == "active":
        matrices = matrices + matrices_of(model.head)
    weights = [weight for weight in trained.parameters() if weight.requires_grad]
    optimizer = MuonAdam(weights, matrices, schedule.muon, schedule.adam, schedule.decay)
    step = _Joint(model, images, plan, joint, schedule.half)
    model.train()
    history = Steps(step, optimizer, plan, schedule, REPORTED).run(title, deadline)
    optimizer.zero_grad()
    model.eval()
    return history


class _Joint:
    """The loss of one step; see `Joint`."""

    def __init__(
        self,
        model: EnhancedAuditedModel,
        images: Resident,
        plan: Plan,
        joint: Joint,
        half: bool,
    ) -> None:
        self.model, self.images, self.plan, self.joint = model, images, plan, joint
        self.half = half
        # Running means of both losses; no number before the first step.
        self.scales = torch.full((2,), math.nan, device=images.pixels.device)

    def __call__(self) -> tuple[Tensor, Tensor]:
        joint, plan, count = self.joint, self.plan, self.plan.batch
        members = plan.now(plan.members)
        moved = round(joint.moved_members * count)
        pixels = self.images.images(members, joint.moves, moved)
        if joint.kind != "plain":
            moved = round(joint.moved_external * count)
            others = self.images.images(plan.now(plan.external), joint.external_moves, moved)
            pixels = torch.cat([pixels, others])
        labels = self.images.labels.index_select(0, members)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=self.half):
            logits, membership = self._forward(pixels)
        audited = functional.cross_entropy(logits.float(), labels, label_smoothing=joint.smoothing)
        hits = (logits.detach().argmax(1) == labels).float().mean()
        if membership is None:
            nothing = torch.zeros_like(hits)
            return audited, torch.stack([audited.detach(), nothing, hits, nothing])
        mint = mint_loss(membership, count)
        report = [audited.detach(), mint.detach(), hits, mint_accuracy(membership, count)]
        return self._balanced(audited, mint), torch.stack(report)

    def _forward(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.joint.kind == "plain":
            return self.model.audited(pixels), None
        logits, membership = self.model(pixels, self.plan.batch)
        # Without the MINT loss external images still shape the batch statistics, as beside it.
        return logits, membership if self.joint.kind == "active" else None

    def _balanced(self, audited: Tensor, mint: Tensor) -> Tensor:
        """Return both losses, each divided by its running mean and weighted; see `losses`."""
        losses = torch.stack([audited, mint])
        values = losses.detach().clamp_min(_FLOOR)
        mixed = _MOMENTUM * self.scales + (1 - _MOMENTUM) * values
        self.scales.copy_(torch.where(self.scales.isnan(), values, mixed))
        return losses[0] / self.scales[0] + self.joint.lambda_mint * losses[1] / self.scales[1]


@torch.no_grad()
def class_logits(model: nn.Module, images: Resident, rows: Tensor) -> Tensor:
    """Return (N, classes) logits of some images in fp32, on their device."""
    model.eval()
    logits = []
    for part in rows.split(BATCH):
        whole = filled(part, BATCH if part.device.type == "cuda" else len(part))
        logits.append(model(images.images(whole)).float()[: len(part)])
    return torch.cat(logits)

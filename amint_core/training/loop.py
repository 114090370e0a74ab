"""The training loop: epochs, early stopping, a stop on divergence, and a state to go on from."""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from amint_core.errors import TrainingError
from amint_core.progress import progress_bar
from amint_core.training.batches import Batch
from amint_core.training.device import open_accelerator
from amint_core.training.distributed import (
    average_running_statistics,
    averaged,
    share_batch_statistics,
)
from amint_core.training.step import Step
from amint_core.training.transcript import state_digest

_EPOCH = 13  # the stream of random numbers that layers such as dropout draw from

#: Name → total number of steps → function from a step to the factor of the learning rate.
SCHEDULES: dict[str, Callable[[int], Callable[[int], float]]] = {
    "constant": lambda steps: lambda step: 1.0,
    "cosine": lambda steps: lambda step: 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps)),
}


class Batches(Protocol):
    """Where batches come from; see `JointBatches`. Epochs are counted from 1."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int) -> Iterator[Batch]: ...

    def order(self, epoch: int) -> str: ...


@dataclass
class State:
    """The state after a whole epoch: from it, training goes on exactly as if never stopped.

    Attributes:
        epoch: epochs done.
        model: weights and buffers.
        optimizer: the optimiser's state.
        scheduler: the learning-rate schedule's state.
        scales: the loss balance's scales.
        scaler: the state of fp16's gradient scaler; empty for the other precisions.
        random: device → state of its random numbers, in two stages; in one they follow from the
            epoch.
        history: one row per epoch.
        best: epoch with the best AUC on calibration so far (0: none).
        best_model: its weights, kept only where early stopping may need them.
    """

    epoch: int = 0
    model: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    scales: dict[str, Tensor] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    random: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0
    best_model: dict[str, Tensor] = field(default_factory=dict)

    def digest(self) -> str:
        """Return the hash of weights, buffers, optimiser and scales, as the history keeps it."""
        return state_digest([self.model, self.optimizer, self.scales])

    def is_over(self, epochs: int, patience: int) -> bool:
        """Tell whether all epochs are done, or patience is lost."""
        lost = patience and self.best and self.epoch - self.best >= patience
        return self.epoch >= epochs or bool(lost)


def fit(
    model: nn.Module,
    batches: Batches,
    step: Step,
    *,
    epochs: int,
    learning_rate: float,
    schedule: Literal["cosine", "constant"] = "cosine",
    weight_decay: float = 0.0,
    seed: int = 0,
    patience: int = 0,
    accelerator: Accelerator | None = None,
    monitor: Callable[[], float] | None = None,
    resume: State | None = None,
    keep: Callable[[State], None] = lambda state: None,
    title: str = "",
) -> pd.DataFrame:
    """Train a model in place and return the history: one row per epoch.

    Args:
        model: on the accelerator's device; weights that ask for no gradient stay as they are.
        batches: where the batches come from.
        step: from a batch to a loss.
        epochs: how often to pass the batches.
        learning_rate: of Adam.
        schedule: of the learning rate, over all epochs.
        weight_decay: L2 in the loss, R(w+).
        seed: what layers such as dropout draw follows from it.
        patience: epochs without a better `monitor` before stopping, and then the best epoch's
            weights count; 0: never.
        accelerator: device, precision and processes; None: fp32 on the device there is.
        monitor: returns the AUC on calibration images after an epoch; None: there are none.
        resume: the state to go on from; None: the model is new.
        keep: takes the state after each epoch, in the first process; it holds the model's own
            tensors, so it is to be written or copied at once.
        title: what the progress bar says.

    Raises:
        TrainingError: a loss or a weight is no longer a number; the last state kept is good.
    """
    accelerator = accelerator or open_accelerator()
    share_batch_statistics(model, accelerator)
    # Adam with L2 in the loss, as the paper's R(w+), and not AdamW.
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    adam = torch.optim.Adam(weights, lr=learning_rate, weight_decay=weight_decay, fused=True)
    wrapped, optimizer = accelerator.prepare(model, adam)
    scheduler = LambdaLR(adam, SCHEDULES[schedule](epochs * len(batches)))
    parts = _Parts(
        model, wrapped, optimizer, scheduler, step, accelerator, learning_rate, _finite(model)
    )
    state = State() if resume is None else parts.restore(resume, len(batches))
    bar = progress_bar(
        shown=accelerator.is_main_process,
        total=epochs * len(batches),
        initial=state.epoch * len(batches),
        desc=title,
        unit="step",
    )
    try:
        while not state.is_over(epochs, patience):
            epoch, started = state.epoch + 1, time.perf_counter()
            row = {"epoch": epoch, "learning_rate": optimizer.param_groups[0]["lr"]}
            # A function of (seed, epoch), so that a resumed run draws what an undisturbed one does.
            _seed_all(_seed(seed, epoch))
            row |= parts.train_epoch(batches, state, f"{epoch}/{epochs}", bar)
            row["calibration_auc"] = auc = _ask(monitor, accelerator)
            earlier = [before["calibration_auc"] for before in state.history]
            if patience and monitor and auc > max(earlier, default=-1.0):
                state.best, state.best_model = epoch, _copy(model.state_dict())
            row["seconds"] = time.perf_counter() - started
            parts.fill(state, epoch)
            row["order"] = batches.order(epoch)
            row["state"] = state.digest()
            state.history.append(row)
            if accelerator.is_main_process:
                keep(state)
    finally:
        bar.close()
        accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    if state.best_model:
        model.load_state_dict(state.best_model)
    return pd.DataFrame(state.history)


@dataclass
class _Parts:
    """What takes part in a step, and makes up the state between two epochs."""

    model: nn.Module
    wrapped: nn.Module  # computes in mixed precision, and averages gradients over processes
    optimizer: AcceleratedOptimizer
    scheduler: LambdaLR
    step: Step
    accelerator: Accelerator
    learning_rate: float
    finite: set[str]  # names of weights and buffers that were finite numbers at the start

    def train_epoch(
        self, batches: Batches, state: State, shown_epoch: str, bar: tqdm
    ) -> dict[str, float]:
        """Take a step on each batch of the epoch after `state`, and return the means reported."""
        epoch, sums = state.epoch + 1, defaultdict(float)
        # Reading a loss waits until the GPU has computed it, and leaves it idle meanwhile.
        look_every = 1 if self.accelerator.device.type == "cpu" else 20
        self.step.mode(self.wrapped, epoch)
        for number, batch in enumerate(batches.epoch(epoch), 1):
            with self.accelerator.autocast():
                loss, report = self.step(self.wrapped, batch)
            if number % look_every == 0:
                self._refuse_divergence(loss, state, number)
                bar.set_postfix_str(_progress(shown_epoch, report), refresh=False)
            self.optimizer.zero_grad()
            self.accelerator.backward(loss)
            self.optimizer.step()
            if not self.optimizer.step_was_skipped:  # as fp16 does where gradients overflow
                self.scheduler.step()
            for name, value in report.items():
                sums[name] = sums[name] + value
            bar.update()
        means = {name: float(value) / len(batches) for name, value in sums.items()}
        means = averaged(means, self.accelerator.device)
        average_running_statistics(self.model)
        self._refuse_divergence(self._largest_weight(), state, len(batches))
        return means

    def _largest_weight(self) -> Tensor:
        """Return the largest of what was finite at the start: no number, if one of them is none."""
        values = self.model.state_dict()
        largest = [values[name].abs().max().float() for name in self.finite]
        return torch.stack(largest).max() if largest else torch.tensor(float("nan"))

    def _refuse_divergence(self, value: Tensor, state: State, number: int) -> None:
        value = float(value.detach())
        if math.isfinite(value):
            return
        kept = f"The state after epoch {state.epoch} is kept." if state.epoch else ""
        raise TrainingError(
            f"Training diverged: loss or weights are {value} at epoch {state.epoch + 1}, step "
            f"{number}. {kept or 'No epoch was finished.'} Try a lower learning_rate (now "
            f"{self.learning_rate:g}), precision = 'fp32', or a smaller lambda_mint."
        )

    def fill(self, state: State, epoch: int) -> None:
        """Put into the state what the parts are after `epoch`."""
        state.epoch = epoch
        state.model = self.model.state_dict()
        state.optimizer = self.optimizer.state_dict()
        state.scheduler = {"last_epoch": self.scheduler.last_epoch}
        state.scales = dict(self.step.balance.scales)
        if self.accelerator.scaler is not None:
            state.scaler = self.accelerator.scaler.state_dict()

    def restore(self, state: State, steps: int) -> State:
        """Put the parts into a state, and return it; an epoch has so many `steps`."""
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.scheduler.last_epoch = state.scheduler["last_epoch"]
        if self.accelerator.scaler is None:
            # Only fp16 skips steps. Otherwise the place in the schedule follows from the epoch, and
            # is not taken from the file: a state's digest does not hold it.
            self.scheduler.last_epoch = state.epoch * steps
        self.step.balance.scales = dict(state.scales)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state.scaler)
        return state


def _ask(monitor: Callable[[], float] | None, accelerator: Accelerator) -> float:
    """Ask the monitor; the first process's answer counts for all, so that all stop together."""
    if monitor is None:
        return float("nan")
    with accelerator.autocast():
        auc = monitor()
    if accelerator.num_processes == 1:
        return auc
    return float(broadcast(torch.tensor(auc, device=accelerator.device)))


def _finite(model: nn.Module) -> set[str]:
    """Return the names of the weights and buffers that are finite numbers, all of them.

    A model may hold others: boolean masks, masks with -inf, empty buffers.
    """
    return {
        name
        for name, value in model.state_dict().items()
        if value.is_floating_point() and value.numel() and bool(value.isfinite().all())
    }


def _seed_all(seed: int) -> None:
    """Seed whatever a model may draw from: PyTorch, Python and numpy."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, _EPOCH, epoch]).generate_state(1)[0])


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _progress(epoch: str, report: Mapping[str, Tensor]) -> str:
    values = (f"{name.replace('_', ' ')} {float(value):.3f}" for name, value in report.items())
    return f"epoch {epoch}, " + ", ".join(values)

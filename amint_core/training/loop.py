"""The epoch loop: progress, checkpoints, resume, early stopping, a stop on divergence."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from tqdm.auto import tqdm

from amint_core.config import RunConfig
from amint_core.errors import TrainingError
from amint_core.progress import progress_bar
from amint_core.training.batches import Batch, JointBatches
from amint_core.training.checkpoint import Checkpoint
from amint_core.training.distributed import (
    average_running_statistics,
    averaged,
    share_batch_statistics,
)
from amint_core.training.losses import LossBalance

_EPOCH = 13  # the stream of random numbers that layers such as dropout draw from


class Step(Protocol):
    """How one batch becomes a loss."""

    balance: LossBalance

    def mode(self, model: nn.Module, epoch: int) -> None: ...

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]: ...


@dataclass
class Fit:
    """Train a model for the epochs of a run.

    Attributes:
        model: the model; its weights are changed in place.
        batches: where the batches come from.
        step: from a batch to a loss.
        settings: the run's settings.
        accelerator: device, precision and processes.
        checkpoint: file that holds the state after the last whole epoch.
        identity: what a checkpoint must belong to, to be resumed.
        monitor: returns the AUC on the calibration images; None where there are none.
        title: what the progress bar says.
    """

    model: nn.Module
    batches: JointBatches
    step: Step
    settings: RunConfig
    accelerator: Accelerator
    checkpoint: Path
    identity: dict[str, Any]
    monitor: Callable[[], float] | None = None
    title: str = ""

    def __post_init__(self) -> None:
        settings = self.settings
        share_batch_statistics(self.model, self.accelerator)
        # Adam with L2 in the loss: R(w+) of the paper.
        optimizer = torch.optim.Adam(
            [weight for weight in self.model.parameters() if weight.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.prepared, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        steps = settings.epochs * len(self.batches)
        rate = (lambda step: 1.0) if settings.schedule == "constant" else _cosine(steps)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        self.state = Checkpoint(self.identity, 0, {}, {}, {}, {}, [])

    def run(self) -> pd.DataFrame:
        """Train, or go on from the checkpoint, and return the history: one row per epoch.

        Raises:
            TrainingError: a loss is no longer a number; the last good checkpoint is kept.
        """
        self._resume()
        try:
            self._run_epochs()
        finally:
            self.accelerator.unwrap_model(self.prepared, keep_fp32_wrapper=False)
        if self.state.best_model:
            self.model.load_state_dict(self.state.best_model)
        return pd.DataFrame(self.state.history)

    def _run_epochs(self) -> None:
        total, done = self.settings.epochs, self.state.epoch
        bar = progress_bar(
            shown=self.accelerator.is_main_process,
            total=total * len(self.batches),
            initial=done * len(self.batches),
            desc=self.title,
            unit="step",
        )
        with bar:
            while self.state.epoch < total and not self._exhausted():
                self._epoch(self.state.epoch + 1, bar)

    def _epoch(self, epoch: int, bar: tqdm) -> None:
        started, rate = time.perf_counter(), self.optimizer.param_groups[0]["lr"]
        # A function of (seed, epoch), so that a resumed run draws what an undisturbed one draws.
        torch.manual_seed(_seed(self.settings.seed, epoch))
        self.step.mode(self.prepared, epoch)
        sums: dict[str, Any] = defaultdict(float)
        for number, batch in enumerate(self.batches.epoch(epoch), 1):
            looks = number % self._looks_every == 0
            report = self.descend(batch, (epoch, number) if looks else None)
            for name, value in report.items():
                sums[name] = sums[name] + value
            bar.update()
            if looks:
                bar.set_postfix_str(_progress(epoch, self.settings.epochs, report), refresh=False)
        means = {name: float(value) / len(self.batches) for name, value in sums.items()}
        means = averaged(means, self.accelerator.device)
        average_running_statistics(self.model)
        self._refuse_divergence(self._largest_weight(), epoch, len(self.batches))
        self._close(epoch, {"epoch": epoch, "learning_rate": rate, **means}, started)

    def descend(self, batch: Batch, place: tuple[int, int] | None = None) -> dict[str, Tensor]:
        """Take one step of the optimiser and return what the step reports (scalar tensors).

        Args:
            place: (epoch, step) for the message where the loss is no number; None: do not look.
        """
        with self.accelerator.autocast():
            loss, report = self.step(self.prepared, batch)
        if place:
            self._refuse_divergence(loss, *place)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.optimizer.step()
        if not self.optimizer.step_was_skipped:
            self.scheduler.step()
        return report

    @property
    def _looks_every(self) -> int:
        """Steps between looks at the loss: each look waits for the device, which a CPU never is."""
        return 1 if self.accelerator.device.type == "cpu" else 20

    def _largest_weight(self) -> Tensor:
        """Return the largest of all weights and buffers: no number, if one of them is none."""
        values = [value.detach().abs().max() for value in self.model.state_dict().values()]
        return torch.stack([value.float() for value in values]).max()

    def _refuse_divergence(self, value: Tensor, epoch: int, number: int) -> None:
        value = float(value.detach())
        if math.isfinite(value):
            return
        kept = "No epoch was finished."
        if self.state.epoch:
            kept = f"The state after epoch {self.state.epoch} is kept in {self.checkpoint.name}."
        raise TrainingError(
            f"Training diverged: loss or weights are {value} at epoch {epoch}, step {number}. "
            f"{kept} Try a lower learning_rate (now {self.settings.learning_rate:g}), "
            "precision = 'fp32', or a smaller lambda_mint."
        )

    def _close(self, epoch: int, row: dict[str, float], started: float) -> None:
        """End an epoch: look at calibration, remember the best, write the checkpoint."""
        auc = self._auc_on_calibration()
        state = self.state
        earlier = [row["calibration_auc"] for row in state.history]
        if self.settings.patience and self.monitor and auc > max(earlier, default=-1.0):
            state.best = epoch
            state.best_model = _copy(self.model.state_dict())
        seconds = time.perf_counter() - started
        state.history.append({**row, "calibration_auc": auc, "seconds": seconds})
        state.epoch = epoch
        state.model = self.model.state_dict()
        state.optimizer = self.optimizer.state_dict()
        state.scheduler = {"last_epoch": self.scheduler.last_epoch}
        state.scales = dict(self.step.balance.scales)
        if self.accelerator.scaler is not None:
            state.scaler = self.accelerator.scaler.state_dict()
        if self.accelerator.is_main_process:
            state.save(self.checkpoint)

    def _auc_on_calibration(self) -> float:
        """Ask the monitor; the first process's answer counts for all, so that all stop together."""
        if self.monitor is None:
            return float("nan")
        with self.accelerator.autocast():
            auc = self.monitor()
        if self.accelerator.num_processes == 1:
            return auc
        return float(broadcast(torch.tensor(auc, device=self.accelerator.device)))

    def _resume(self) -> None:
        found = Checkpoint.load(self.checkpoint, self.identity)
        if found is None:
            return
        self.state = found
        self.model.load_state_dict(found.model)
        self.optimizer.load_state_dict(found.optimizer)
        self.scheduler.last_epoch = found.scheduler["last_epoch"]
        self.step.balance.scales = dict(found.scales)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(found.scaler)
        if self.accelerator.is_main_process:
            tqdm.write(f"Going on after epoch {found.epoch}, from {self.checkpoint.name}.")

    def _exhausted(self) -> bool:
        patience = self.settings.patience
        return bool(patience and self.state.best and self.state.epoch - self.state.best >= patience)


def _cosine(steps: int) -> Callable[[int], float]:
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))


def _seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, _EPOCH, epoch]).generate_state(1)[0])


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _progress(epoch: int, epochs: int, report: dict[str, Tensor]) -> str:
    values = (f"{name.replace('_', ' ')} {float(value):.3f}" for name, value in report.items())
    return f"epoch {epoch}/{epochs}, " + ", ".join(values)

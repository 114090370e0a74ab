"""The two stages of a training on made-up pixels: no dataset need be there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from amint_core.batch.planning.made_up import MOST_STEPS, WARM_UP, MadeUp, now
from amint_core.batch.planning.work import Cost, Workload
from amint_core.run.staged import first_schedule, objective_of, second_schedule
from amint_core.training import activations
from amint_core.training.activations import Recording
from amint_core.training.cpu_bf16 import fast_operations
from amint_core.training.declared import declarations
from amint_core.training.head_stage import train_head
from amint_core.training.precision import chosen_precision
from amint_core.training.resident import Resident
from amint_core.training.resident_loop import Schedule, Watch
from amint_core.training.trunk import train_trunk

RECORDED = 64  # images whose recording a CPU is timed by


class _EnoughError(Exception):
    """Steps were timed for as long as wanted."""


class MadeUpStage(MadeUp):
    """A stage of training in two, on made-up pixels."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        dataset = self.data.dataset
        self.half = chosen_precision(workload.settings.precision) == "bf16"
        self.images = Resident.of(dataset.pixels, dataset.labels, self.device)

    def measure(self, seconds: float) -> Cost:
        """Measure steps for some seconds, one at least, a recording and a batch of scoring."""
        with fast_operations():
            if self.workload.stage == "trunk":
                return self.cost(self._timed(self._train_trunk, seconds))
            count = activations.BATCH if self.device.type == "cuda" else RECORDED
            self._record(1)  # kernels are chosen
            started = now(self.device)
            recording = self._record(count)
            record = (now(self.device) - started) / count
            train = partial(self._train_head, recording)
            return self.cost(self._timed(train, seconds), record)

    def _timed(self, train: Callable[[Watch], object], seconds: float) -> list[float]:
        """Return the seconds of each step of a training that is broken off."""
        starts: list[float] = []
        first = WARM_UP.get(self.device.type, 1)

        def step() -> None:
            starts.append(now(self.device))
            done = len(starts) - 1 - first
            if done >= MOST_STEPS or (done >= 1 and starts[-1] - starts[first] >= seconds):
                raise _EnoughError

        with suppress(_EnoughError):
            train(Watch(step=step))
        return np.diff(starts[first:]).tolist()

    def _schedule(self, of: Callable[..., Schedule]) -> Schedule:
        """Return a stage's schedule, of more steps than are timed."""
        one = of(self.workload.settings, self.half)
        return replace(one, batch=self.workload.batch, epochs=2 * MOST_STEPS)

    def _train_trunk(self, watch: Watch) -> None:
        kind, split = self.workload.kind, self.data.split
        told = declarations(kind, split.roles["members"], split.judged_members)
        if told is not None:
            told = torch.from_numpy(told).to(self.device)
        objective = replace(objective_of(kind, self.workload.settings), declared=told)
        inside, outside = (
            torch.from_numpy(split.roles[role]).to(self.device) for role in ("members", "external")
        )
        given = self.model, self.images, inside, outside, objective
        train_trunk(*given, self._schedule(first_schedule), watch=watch)

    def _record(self, count: int) -> Recording:
        model, rows = self.model, torch.arange(count, device=self.device) % len(self.pixels)
        given = model.audited, model.taps, self.images, [activations.Part(rows)]
        return activations.record(*given, half=self.half, low_pass=model.low_pass)

    def _train_head(self, recording: Recording, watch: Watch) -> None:
        taps, side = self.model.taps, 2 * self.workload.batch
        rows = torch.arange(2 * side, device=self.device) % len(recording)
        again = Recording({tap: recording.maps[tap][rows] for tap in taps}, recording.shapes)
        schedule = self._schedule(second_schedule)
        train_head(self.model.head, taps, again, side, side, 0, schedule, watch=watch)

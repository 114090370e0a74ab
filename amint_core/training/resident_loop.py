"""The loop of training in two stages: steps planned ahead on the device and replayed there.

It stands beside `loop.fit` because images, their order and the rates' schedule lie on the device
and a step is captured as a CUDA graph: Python, batches from the host and accelerate have no place
between two steps. An epoch is one pass over the external images; after each, a stage that is cut
off could go on.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from amint_core.errors import TrainingError
from amint_core.progress import progress_bar
from amint_core.training.muon import MuonAdam, cosine, matrices_of

WARM = 3  # steps run as they are before one is captured: libraries choose their kernels in these
_ORDER, _MEMBERS = 31, 32  # streams of random numbers that follow from a seed


@dataclass(frozen=True)
class StageState:
    """Where a stage stands after a whole epoch, besides weights and buffers of what it trains.

    From there it goes on as if it had never stopped. Tensors are the stage's own: they are to be
    written or copied at once.

    Attributes:
        history: its rows so far.
        optimizer: see `MuonAdam.state_dict`.
        scales: of the losses, see `step.LossBalance`.
        random: device → state of its random numbers.
    """

    history: Sequence[Mapping[str, Any]] = ()
    optimizer: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, Tensor] = field(default_factory=dict)
    random: Mapping[str, Tensor] = field(default_factory=dict)

    def part(self, before: int, epochs: int | None = None) -> StageState:
        """Return the state of one part of several: of `epochs` rows, or all, after `before`."""
        return replace(self, history=self.history[before:][:epochs])


START = StageState()


@dataclass(frozen=True)
class Watch:
    """Who looks on while a stage is trained.

    Attributes:
        step: called before each step; it raises where the time is out.
        epoch: called after each epoch with the (steps, images) rows that it saw; what it returns
            stands in the history.
        state: called after that, with where the stage stands.
    """

    step: Callable[[], None] = lambda: None
    epoch: Callable[[Tensor], Mapping[str, Any]] = lambda rows: {}
    state: Callable[[StageState], None] = lambda state: None

    def of_part(self, before: Sequence[Mapping[str, Any]], columns: Mapping[str, Any]) -> Watch:
        """Return the watch of one part of several, which tells of the parts before it, too."""

        def told(state: StageState) -> None:
            self.state(replace(state, history=counted_on(before, state.history, columns)))

        return replace(self, state=told)


def counted_on(
    before: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Return a history and the rows that follow it, with columns added; epochs count on."""
    numbered = enumerate(rows, len(before) + 1)
    return [*before, *({**columns, **row, "epoch": epoch} for epoch, row in numbered)]


NOBODY = Watch()


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

    def optimizer(self, *modules: nn.Module) -> MuonAdam:
        """Return the optimiser of all weights of some modules that ask for a gradient."""
        weights = [one for part in modules for one in part.parameters() if one.requires_grad]
        matrices = [one for part in modules for one in matrices_of(part)] if self.muon else []
        return MuonAdam(weights, matrices, self.muon, self.adam, self.decay)


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
    """Return (count,) places, shuffled; drawn on the CPU, so that every device has the same."""
    return torch.randperm(count, generator=generator_of(seed, stream, number)).to(device)


def generator_of(seed: int, stream: int, number: int = 0) -> torch.Generator:
    """Return a generator on the CPU that follows from a seed of any size and what it is for."""
    return torch.Generator().manual_seed(((seed * 64 + stream) * 100_003 + number) % 2**63)


def _rounds(rows: Tensor, count: int, seed: int, stream: int) -> Tensor:
    """Return `count` of the rows, each as often as the others, shuffled anew in each round."""
    rounds = range(math.ceil(count / len(rows)))
    drawn = [rows[_permutation(len(rows), seed, stream, number, rows.device)] for number in rounds]
    return torch.cat(drawn)[:count]


def run_steps(
    loss_of: Callable[[], tuple[Tensor, Mapping[str, Tensor]]],
    optimizer: MuonAdam,
    plan: Plan,
    schedule: Schedule,
    rows: Tensor,
    title: str = "",
    watch: Watch = NOBODY,
    resume: StageState = START,
    scales: dict[str, Tensor] | None = None,
) -> list[dict[str, Any]]:
    """Run a stage's steps, epoch by epoch, and return the history: one row per epoch.

    Args:
        loss_of: computes a step's loss, and scalars to report by their names.
        optimizer: steps the weights.
        plan: which images are seen when, and shares of the rates.
        schedule: epochs, and whether steps are captured.
        rows: (S, B) what the steps see, for `watch.epoch`.
        title: what the progress bar says; none: there is no bar.
        watch: see `Watch`.
        resume: where an earlier call was cut off; weights and buffers are those of then.
        scales: of the losses, which steps change; None: there are none.

    Raises:
        TrainingError: after an epoch, a loss or weights are no numbers.
    """
    log: dict[str, Tensor] = {}  # name → (S,)

    def step() -> None:
        optimizer.zero_grad()
        loss, report = loss_of()
        loss.backward()
        optimizer.share.copy_(plan.now(plan.shares))
        optimizer.step()
        for name, value in report.items():
            if name not in log:  # in the first step, which is never captured
                log[name] = torch.zeros(len(plan), device=plan.step.device)
            log[name].index_copy_(0, plan.step, value[None].float())
        plan.step.add_(1)

    device, count, scales = plan.step.device, plan.per_epoch, {} if scales is None else scales
    replay, history = Replay(step, device, schedule.graph), [dict(row) for row in resume.history]
    if 0 < len(history) < schedule.epochs:
        plan.step.fill_(len(history) * count)
        optimizer.load_state_dict(resume.optimizer)
        scales.update({name: scale.to(device, copy=True) for name, scale in resume.scales.items()})
        _draw_from(resume.random, device)
    done = {"total": len(plan), "initial": len(history) * count}
    with progress_bar(shown=bool(title), desc=title, unit="step", **done) as bar:
        for epoch in range(len(history), schedule.epochs):
            started = time.perf_counter()
            for _ in range(count):
                watch.step()
                replay()
                bar.update()
            seen = slice(epoch * count, (epoch + 1) * count)
            means = torch.stack([of_step[seen].mean() for of_step in log.values()]).tolist()
            _refuse_divergence(means, epoch + 1, schedule)
            row = {"epoch": epoch + 1, **dict(zip(log, means, strict=True))}
            row["seconds"] = round(time.perf_counter() - started, 4)
            history.append({**row, **watch.epoch(rows[seen])})
            # The last step may give such weights from a loss that is a number.
            if not torch.stack([one.isfinite().all() for one in optimizer.weights]).all():
                where = f"after the last step of epoch {epoch + 1}"
                raise _diverged(f"weights are no numbers {where}", schedule)
            watch.state(StageState(history, optimizer.state_dict(), scales, _random(device)))
    optimizer.zero_grad()
    return history


def _random(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the random numbers that layers and moves draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def _draw_from(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on drawing where `_random` was asked."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[device.type])


def _refuse_divergence(means: Sequence[float], epoch: int, schedule: Schedule) -> None:
    if not all(map(math.isfinite, means)):
        raise _diverged(f"a loss is no number in epoch {epoch}", schedule)


def _diverged(how: str, schedule: Schedule) -> TrainingError:
    return TrainingError(
        f"Training diverged: {how}. Try a lower learning rate (now {schedule.muon:g} for matrices, "
        f"{schedule.adam:g} for the rest) or a smaller lambda_mint."
    )


class Replay:
    """A step that takes no argument and leaves its results in tensors that stay where they are.

    A step of a small model is hundreds of kernels, each quicker than its launch. Captured once,
    they are launched together. Everything that changes from step to step has to be read from
    tensors (a counter, rows of a plan), since Python runs during the capture alone.
    """

    def __init__(self, step: Callable[[], None], device: torch.device, graph: bool = True) -> None:
        """Remember a step, to be captured if `graph` and where the device is a GPU."""
        self.step, self.done, self.graph = step, 0, None
        self.captures = graph and device.type == "cuda"
        if self.captures:
            self.stream = torch.cuda.Stream(device)

    def __call__(self) -> None:
        """Do the next step."""
        if self.captures and self.done == WARM:
            self._capture()
        if self.graph is not None:
            self.graph.replay()
        elif self.captures:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                self.step()
            torch.cuda.current_stream().wait_stream(self.stream)
        else:
            self.step()
        self.done += 1

    def _capture(self) -> None:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            # Capturing records the kernels and runs none: what follows is the first replay.
            with torch.cuda.graph(graph, stream=self.stream):
                self.step()
        except RuntimeError as error:
            warnings.warn(f"No CUDA graph of this step ({error}); it runs as it is.", stacklevel=2)
            self.captures = False
        else:
            self.graph = graph

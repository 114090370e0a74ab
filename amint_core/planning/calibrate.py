"""Measure a few training steps and one batch of scoring per case, each in a fresh process."""

from __future__ import annotations

import itertools
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amint_core import provenance
from amint_core.arithmetic import open_accelerator, repeatable
from amint_core.datasets import DATASETS
from amint_core.datasets.base import Dataset, Images
from amint_core.datasets.splits import Role, Split
from amint_core.exceptions import AmintError, ModelError
from amint_core.inference import BATCH, class_logits, membership_logits
from amint_core.planning.work import Case
from amint_core.prepared import Data
from amint_core.training.batches import Copies, JointBatches
from amint_core.training.loop import Fit
from amint_core.training.trained import build, step_of

_MEBI = 2**20
_MOST_STEPS = 50
#: Steps before the clock starts; a GPU chooses its kernels and fills its memory in the first.
_WARM_UP = {"cpu": 1, "cuda": 5}


@dataclass(frozen=True)
class Measured:
    """What a case took on this machine.

    Attributes:
        step: seconds of a training step, the median.
        classify: seconds to classify an image.
        score: seconds to score an image for membership; NaN for a model without a trained head.
        idle: MiB that the process held before there was a model.
        memory: MiB that it held at most, the scoring of a batch included.
        gpu: MiB of a GPU's memory that it reserved at most.
        steps: how many steps were timed.
        device: "cpu" or "cuda".
        hardware: the device in words.
    """

    step: float
    classify: float
    score: float
    idle: float
    memory: float
    gpu: float
    steps: int
    device: str
    hardware: str


class Loop:
    """The training loop of a case on made-up pixels: no dataset need be there."""

    def __init__(self, case: Case) -> None:
        settings = case.settings
        data = made_up(case)
        self.pixels, plain = data.dataset.pool.pixels, case.kind == "plain"
        self.model = build(data).train()
        self.accelerator = open_accelerator(settings)
        self.device = self.accelerator.device
        self.model.to(self.device, memory_format=torch.channels_last)
        if case.kind.startswith("passive") or case.kind == "attached":
            self.model.audited.requires_grad_(False)
        roles = data.split.roles
        self.batches = JointBatches(
            images=data.dataset.pool,
            members=roles["members"].indices,
            external=None if plain else roles["external"].indices,
            size=case.batch,
            steps=len(roles["members"].indices) // case.batch,
            seed=0,
            device=self.device,
            member_copies=Copies(settings.augment_members, settings.member_transformations),
            external_copies=Copies(settings.augment_external, settings.external_transformations),
        )
        self.fit = Fit(
            model=self.model.audited if plain else self.model,
            batches=self.batches,
            step=step_of(case.kind, settings, self.accelerator),
            settings=settings,
            accelerator=self.accelerator,
            checkpoint=Path("never-written"),
            identity={},
        )
        self.fit.step.mode(self.fit.prepared, 1)
        self.stream = itertools.chain.from_iterable(map(self.batches.epoch, itertools.count(1)))

    def step(self) -> dict[str, Tensor]:
        """Train on one batch, as an epoch of a run does, and return what is reported of it."""
        looks = (1, 1) if self.device.type == "cpu" else None
        return self.fit.descend(next(self.stream), looks)

    def classify(self) -> None:
        """Classify one batch."""
        with self.accelerator.autocast():
            class_logits(self.model.audited, self._some, BATCH, self.device)

    def score(self) -> None:
        """Score one batch for membership."""
        with self.accelerator.autocast():
            membership_logits(self.model, self._some, BATCH, self.device)

    def _some(self, rows: np.ndarray) -> np.ndarray:
        return self.pixels[rows % len(self.pixels)]

    def seconds(self, call: Callable[[], object]) -> float:
        """Return the seconds that a call takes, the device's own work included."""
        started = time.perf_counter()
        call()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


def made_up(case: Case) -> Data:
    """Return random pixels in the shape of a case's dataset, dealt to members and external."""
    random, count = np.random.default_rng(0), 4 * case.batch
    shape = (count, case.image_size, case.image_size, case.channels)
    numbers = np.arange(count)
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    images = Images(pixels, numbers % case.classes, numbers, numbers.astype("S32"))
    roles = {
        "members": Role("pool", numbers[: count // 2]),
        "external": Role("pool", numbers[count // 2 :]),
    }
    names = tuple(map(str, range(case.classes)))
    spec = DATASETS[case.settings.dataset]
    dataset = Dataset(spec, "standin", images, images, names, "made up")
    return Data(case.settings, dataset, Split(roles, "test", np.ones(count // 2, bool), 0, ""))


def measure(case: Case, seconds: float) -> Measured:
    """Measure a case in this process, whose memory counts from here on.

    Args:
        seconds: for training steps; one is timed however long it takes.
    """
    with repeatable(case.settings):
        idle = _held()
        loop = Loop(case)
        for _ in range(_WARM_UP.get(loop.device.type, 1)):
            loop.seconds(loop.step)
        times: list[float] = []
        while not times or (sum(times) < seconds and len(times) < _MOST_STEPS):
            times.append(loop.seconds(loop.step))
        plain = case.kind == "plain"
        return Measured(
            step=statistics.median(times),
            classify=loop.seconds(loop.classify) / BATCH,
            score=float("nan") if plain else loop.seconds(loop.score) / BATCH,
            idle=idle,
            memory=_held(),
            gpu=torch.cuda.max_memory_reserved() / _MEBI if loop.device.type == "cuda" else 0.0,
            steps=len(times),
            device=loop.device.type,
            hardware=provenance.hardware(loop.device),
        )


def _held() -> float:
    """Return the most MiB that this process has held so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (_MEBI if sys.platform == "darwin" else 1024)


def measure_apart(case: Case, seconds: float, limit: float) -> Measured | None:
    """Measure a case in a process of its own, whose memory is the case's alone.

    Args:
        seconds: for training steps.
        limit: seconds after which the process is ended.

    Returns:
        None where the limit was reached, or the process was killed, as for want of memory.

    Raises:
        AmintError: the case cannot be trained, whatever the time.
    """
    context = _server()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, case, seconds), daemon=True)
    process.start()
    sender.close()
    try:
        found = receiver.recv() if receiver.poll(max(0.0, limit)) else None
    except EOFError:
        found = None
    process.kill()
    process.join()
    if isinstance(found, AmintError):
        raise found
    return found


def seconds_to_start() -> float:
    """Return the seconds that a fresh process takes until it has imported what a run needs."""
    started = time.monotonic()
    process = _server().Process(target=time.sleep, args=(0,))
    process.start()
    process.join()
    return time.monotonic() - started


def _server() -> ForkServerContext:
    # It has imported PyTorch and computed nothing: its forks start at once, and clean.
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "timm"])
    return context


def _report(sender: Connection, case: Case, seconds: float) -> None:
    try:
        sender.send(measure(case, seconds))
    except AmintError as error:
        sender.send(error)
    except RuntimeError as error:  # among them a GPU's want of memory
        sender.send(ModelError(f"Training steps of {case.settings.id} failed: {error}"))

"""The training loop of a run on made-up pixels, in turns: no dataset need be there."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

import numpy as np
import torch

from amint_core import provenance
from amint_core.batch.planning.work import Cost, Workload
from amint_core.batch.planning.worker import peak
from amint_core.data import DATASETS
from amint_core.data.base import Dataset
from amint_core.data.prepare import Data
from amint_core.data.split import Split
from amint_core.model.inference import BATCH, class_logits, membership_logits
from amint_core.run.models import batches_of, build, step_of
from amint_core.training.batches import Batch
from amint_core.training.device import open_accelerator
from amint_core.training.loop import fit

_MEBI = 2**20
MOST_STEPS = 50
#: Steps before the clock starts; a GPU chooses its kernels and fills its memory in the first.
WARM_UP = {"cpu": 1, "cuda": 5}


def made_up(workload: Workload) -> Data:
    """Return random pixels in the shape of a workload's dataset, dealt to members and external."""
    random, count = np.random.default_rng(0), 4 * workload.batch
    shape = (count, workload.image_size, workload.image_size, workload.channels)
    numbers = np.arange(count)
    dataset = Dataset(
        spec=DATASETS[workload.settings.dataset],
        source="standin",
        pixels=random.integers(0, 256, shape, dtype=np.uint8),
        labels=numbers % workload.classes,
        groups=numbers,
        hashes=numbers.astype("S32"),
        official_test=np.zeros(count, bool),
        class_names=tuple(map(str, range(workload.classes))),
        fingerprint="made up",
    )
    roles = {"members": numbers[: count // 2], "external": numbers[count // 2 :]}
    # Half of the members are judged: the heads that some methods train are told the others alone.
    split = Split(roles, "test", np.arange(count // 2) % 2 == 0, 0, "")
    return Data(workload.settings, dataset, split)


def now(device: torch.device) -> float:
    """Return the time in seconds once a device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a call takes, the device's own work included."""
    started = now(device)
    call()
    return now(device) - started


class MadeUp(ABC):
    """A model of a workload, and made-up pixels that it classifies and scores."""

    def __init__(self, workload: Workload) -> None:
        settings, kind = workload.settings, workload.kind
        self.data = made_up(workload)
        self.idle = peak()  # before there is a model
        self.workload, self.pixels = workload, self.data.dataset.pixels
        self.accelerator = open_accelerator(settings.precision, kind.leaves_some_out)
        self.device = self.accelerator.device
        self.model = build(self.data).to(self.device, memory_format=torch.channels_last)
        self.model.audited.requires_grad_(kind.trains != "head")

    def classify(self, count: int) -> float:
        """Classify some images and return the seconds."""
        model = self.model.audited
        return timed(lambda: class_logits(model, self._some, count, self.device), self.device)

    def score(self, count: int) -> float:
        """Score some images for membership and return the seconds."""
        return timed(
            lambda: membership_logits(self.model, self._some, count, self.device), self.device
        )

    def _some(self, rows: np.ndarray) -> np.ndarray:
        return self.pixels[rows % len(self.pixels)]

    def cost(self, times: Sequence[float], record: float = float("nan")) -> Cost:
        """Score a batch and return what everything takes.

        Args:
            times: seconds of steps.
            record: seconds to record an image's activations.
        """
        gpu = torch.cuda.max_memory_reserved() / _MEBI if self.device.type == "cuda" else 0.0
        return Cost(
            step=statistics.median(times),
            classify=self.classify(BATCH) / BATCH,
            score=self.score(BATCH) / BATCH if self.workload.kind.has_head else float("nan"),
            idle=self.idle / _MEBI,
            memory=peak() / _MEBI,
            gpu=gpu,
            source="measured",
            hardware=provenance.hardware(self.device),
            record=record,
        )

    @abstractmethod
    def measure(self, seconds: float) -> Cost:
        """Measure steps for some seconds, one at least, and a batch of scoring."""

    def end(self) -> None:  # noqa: B027 - most have nothing to end
        """End what still runs."""


class MadeUpTraining(MadeUp):
    """`fit` on made-up pixels, in a thread: its batches come in turns, and it waits in between."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload)
        settings, kind, data = workload.settings, workload.kind, self.data
        self.batches = batches_of(kind, data, data.split.roles["members"], self.accelerator)
        self.step = step_of(kind, settings, self.accelerator)
        self._turns: SimpleQueue[int] = SimpleQueue()
        self._answers: SimpleQueue[object] = SimpleQueue()
        self._thread = threading.Thread(
            target=self._fit, args=(torch.get_num_threads(),), name="made-up training", daemon=True
        )
        self._thread.start()

    def _fit(self, threads: int) -> None:
        torch.set_num_threads(threads)  # each thread has its own number
        settings = self.workload.settings
        model = self.workload.kind.part(self.model)
        try:
            history = fit(
                *(model, self, self.step),
                epochs=1,
                learning_rate=settings.learning_rate,
                weight_decay=settings.weight_decay,
                accelerator=self.accelerator,
            )
            self._answers.put(history)
        except BaseException as error:
            self._answers.put(error)

    # `fit` asks these three of its batches.

    def __len__(self) -> int:
        return 10**9  # as good as endless

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield as many batches as each turn has steps; a turn of none ends the epoch."""
        epochs = map(self.batches.epoch, itertools.count(1))
        stream = itertools.chain.from_iterable(epochs)
        while steps := self._turns.get():
            started = now(self.device)
            yield from itertools.islice(stream, steps)
            self._answers.put(now(self.device) - started)

    def order(self, epoch: int) -> str:
        """Return no transcript: the images are made up."""
        return ""

    def steps(self, count: int) -> object:
        """Take some steps and return their seconds; of none, end the epoch: `fit`'s history."""
        self._turns.put(count)
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def end(self) -> None:
        """End the thread, which waits for a turn; no step can be taken afterwards."""
        self._turns.put(0)
        self._thread.join()

    def measure(self, seconds: float) -> Cost:
        """Measure steps for some seconds, one at least, and a batch of scoring."""
        self.steps(WARM_UP.get(self.device.type, 1))
        times: list[float] = []
        while not times or (sum(times) < seconds and len(times) < MOST_STEPS):
            times.append(self.steps(1))
        return self.cost(times)

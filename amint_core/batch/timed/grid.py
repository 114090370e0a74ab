"""Run as much of a grid as a time limit allows, most telling runs first."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import torch

from amint_core import data
from amint_core.batch.timed.dealt import Dealt, deal
from amint_core.batch.timed.saving import (
    Saver,
    is_done,
    lacks_images,
    restore_images,
    writing_alone,
)
from amint_core.batch.timed.units import Unit, do, units_of
from amint_core.config import RunConfig
from amint_core.data.base import Dataset
from amint_core.data.packed import load_packed, packed_file
from amint_core.data.prepare import in_groups
from amint_core.data.split import ROLES
from amint_core.errors import AmintError, DamagedError, SettingsError
from amint_core.files import write_json
from amint_core.run.trainings import Training
from amint_core.training.cpu_bf16 import fast_operations
from amint_core.training.resident_loop import Watch

#: Begins the reason of what is left for want of time; other reasons are errors.
NO_TIME = "no time"
NOT_ASKED = "not asked for"
MARGIN = 4.0  # seconds before the limit in which nothing is computed: what is done gets written


class OutOfTime(Exception):
    """The time limit is reached; what was not finished is left."""


@dataclass
class Clock:
    """A time limit, counted from the start of the process.

    Attributes:
        seconds: the limit.
    """

    seconds: float
    started: float = field(default_factory=lambda: psutil.Process().create_time())

    @property
    def left(self) -> float:
        """Seconds until nothing may be computed any more."""
        return self.started + self.seconds - MARGIN - time.time()

    def require_time(self) -> None:
        """Raise `OutOfTime` where the limit is reached."""
        if self.left <= 0:
            raise OutOfTime


@dataclass
class Timed:
    """A grid under a time limit.

    Attributes:
        root: results/<profile>.
        device: where it computes.
        clock: the limit.
        packed: folder of packed datasets, looked into first; None: there are none.
        graph: capture steps as CUDA graphs.
        say: prints a line.
        costs: seconds of units done, by `Unit.cost_key`.
    """

    root: Path
    device: torch.device
    clock: Clock
    packed: Path | None = None
    graph: bool = True
    say: Callable[[str], None] = print
    costs: dict[tuple, float] = field(default_factory=dict)

    def run(
        self, runs: Sequence[RunConfig], others: Sequence[RunConfig] = ()
    ) -> list[dict[str, str]]:
        """Do what is not done yet, in order, and return what is left and why.

        A unit that would take longer than what is left, judged by one of its kind, is passed over
        for others that fit. `left.json` holds what is returned, and which of the grid's others are
        not done.

        Raises:
            SettingsError: a timed grid does not know a run's method, protocol or target, or there
                is no folder of packed datasets.
            ResultsError: another process is running a grid into the same folder.
        """
        units_of(runs)  # refuses runs before anything is written
        if self.packed is not None and not self.packed.is_dir():
            raise SettingsError(
                f"There is no folder {self.packed} of packed datasets. Make them by `python -m "
                f"amint_core.data.packed NAME {self.packed}`, or leave --packed out."
            )
        with writing_alone(self.root):
            left = self._run(runs)
            waiting = [run.id for run in others if not is_done(self.root, run)]
            rest = [{"run": run, "why": NOT_ASKED} for run in waiting]
            write_json(self.root / "left.json", [*left, *rest])
            self.say(_summary(runs, left))
        return left

    def _run(self, runs: Sequence[RunConfig]) -> list[dict[str, str]]:
        done = [run for run in runs if is_done(self.root, run)]
        units = units_of([run for run in runs if run not in done])
        self._dealt: dict[tuple, Dealt] = {}
        self._read_ahead(units)
        self._restore_images(done)
        saver, left = Saver(self.root, self.device, self.say), []
        try:
            for unit in units:
                saver.require_written()
                why = self._unit(unit, saver)
                reasons = [(run, why or saver.refused.get(run.id)) for run in unit.runs]
                left += [(run, reason) for run, reason in reasons if reason]
        finally:
            saver.close()
        return [{"run": run.id, "why": why} for run, why in left if not is_done(self.root, run)]

    def _restore_images(self, done: Sequence[RunConfig]) -> None:
        """Write anew what finished runs were judged on, where it is damaged: the split tells it."""
        for run in done:
            try:
                if lacks_images(self.root, run):
                    restore_images(self.root, self._deal(run))
                    if lacks_images(self.root, run):
                        raise DamagedError("they are dealt otherwise by this version")
            except (AmintError, OSError, RuntimeError) as error:
                self.say(f"The images of {run.id} cannot be written anew: {error}")

    def _read_ahead(self, units: Sequence[Unit]) -> None:
        """Read the packed datasets that are there before the device is used.

        Some are decoded by other processes, and a process that uses a GPU should not be forked.
        """
        self._read: dict[Path, Dataset] = {}
        for path in dict.fromkeys(self._packed_file(unit.runs[0]) for unit in units):
            if path is not None and path.is_file() and self.clock.left > 0:
                self._read[path] = load_packed(path)
                self.say(f"{self.clock.left:.0f} s left. Read {path.name}")

    def _packed_file(self, run: RunConfig) -> Path | None:
        if self.packed is None or run.data != "real":
            return None
        size = run.image_size or data.DATASETS[run.dataset].image_size
        return packed_file(self.packed, run.dataset, size)

    def _unit(self, unit: Unit, saver: Saver) -> str:
        """Do one unit and return why it was not finished, or nothing."""
        expected = self.costs.get(unit.cost_key, 0.0)
        if self.clock.left <= expected:
            return f"{NO_TIME}: takes about {expected:.0f} s" if expected else NO_TIME
        try:
            started = time.perf_counter()
            dealt = self._deal(unit.runs[0])
            waited = time.perf_counter() - started
            watch = Watch(step=self.clock.require_time)
            with fast_operations():
                save = partial(saver.save, dealt=dealt)
                done = do(unit, dealt, save, watch, self.graph, lambda: self.clock.left)
        except OutOfTime:
            return f"{NO_TIME}: stopped on the way"
        except Exception as error:  # of whatever kind: it must not cost the other runs
            told = (
                str(error) if isinstance(error, AmintError) else f"{type(error).__name__}: {error}"
            )
            self.say(f"{unit.title}: {told}")
            return told
        finally:
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        seconds = time.perf_counter() - started - waited
        self.costs[unit.cost_key] = done.seconds
        saver.then(partial(self._forget, unit, done.kept))
        images = f" (images {waited:.1f} s)" if waited > 0.5 else ""
        self.say(f"{self.clock.left:.0f} s left. {unit.title}: {seconds:.1f} s{images}")
        return ""

    def _forget(self, unit: Unit, kept: Training) -> None:
        """Remove the state of a unit's trunk, if all runs that it serves are saved."""
        if all(is_done(self.root, run) for run in unit.runs):
            shutil.rmtree(kept.folder, ignore_errors=True)

    def _deal(self, run: RunConfig) -> Dealt:
        sizes = {role: getattr(run, role) for role in ROLES}
        key = (run.dataset, run.data, run.image_size, run.near_twins, run.seed, *sizes.values())
        if key not in self._dealt:
            dataset = in_groups(self._load(run), run)
            self._dealt[key] = deal(dataset, sizes, run.seed, self.device)
        return self._dealt[key]

    def _load(self, run: RunConfig) -> Dataset:
        path = self._packed_file(run)
        if path is not None and path.is_file():
            if path not in self._read:  # it came while the grid was running
                self._read[path] = load_packed(path)
            return self._read[path]
        return data.load(run.dataset, run.data, run.image_size)


def _summary(runs: Sequence[RunConfig], left: Sequence[Mapping[str, str]]) -> str:
    lines = [f"amint: {len(runs) - len(left)} of {len(runs)} runs done, {len(left)} left"]
    return "\n".join([*lines, *(f"  left: {one['run']}: {one['why']}" for one in left)])

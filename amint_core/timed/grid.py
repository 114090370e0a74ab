"""Run as much of a grid as a time limit allows, most telling runs first."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from amint_core import datasets
from amint_core.datasets.base import Dataset
from amint_core.datasets.packed import load_packed, packed_file
from amint_core.datasets.splits import ROLES
from amint_core.exceptions import AmintError
from amint_core.files import write_json
from amint_core.timed.dealt import Dealt, deal
from amint_core.timed.saving import Saver, is_done
from amint_core.timed.units import Spec, Unit, do, units_of

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

    def check(self) -> None:
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
    """

    root: Path
    device: torch.device
    clock: Clock
    packed: Path | None = None
    graph: bool = True
    say: Callable[[str], None] = print
    costs: dict[tuple, float] = field(default_factory=dict)

    def run(self, specs: Sequence[Spec]) -> list[dict[str, str]]:
        """Do what is not done yet, in order, and return what is left and why.

        A unit that would take longer than what is left, judged by one of its kind, is passed over
        for others that fit.
        """
        todo = [spec for spec in specs if not is_done(self.root, spec)]
        self._dealt: dict[tuple, Dealt] = {}
        self._read_ahead(todo)
        saver, left = Saver(self.root, self.device, self.say), []
        try:
            for unit in units_of(todo):
                why = self._unit(unit, saver)
                left += [{"run": spec.id, "why": why} for spec in unit.specs] if why else []
        finally:
            saver.close()
        runs = self.root / "runs"
        left = [one for one in left if not (runs / one["run"] / "metrics.json").is_file()]
        write_json(self.root / "left.json", left)
        self.say(_summary(specs, left))
        return left

    def _read_ahead(self, specs: Sequence[Spec]) -> None:
        """Read the packed datasets that are there before the device is used.

        Some are decoded by other processes, and a process that uses a GPU should not be forked.
        """
        self._read: dict[Path, Dataset] = {}
        for path in dict.fromkeys(map(self._packed_file, specs)):
            if path is not None and path.is_file() and self.clock.left > 0:
                self._read[path] = load_packed(path)
                self.say(f"{self.clock.left:.0f} s left. Read {path.name}")

    def _packed_file(self, spec: Spec) -> Path | None:
        if self.packed is None or spec.data != "real":
            return None
        size = spec.image_size or datasets.DATASETS[spec.dataset].image_size
        return packed_file(self.packed, spec.dataset, size)

    def _unit(self, unit: Unit, saver: Saver) -> str:
        """Do one unit and return why it was not finished, or nothing."""
        expected = self.costs.get(unit.cost_key, 0.0)
        if self.clock.left <= max(expected, 0.0):
            return f"no time: takes about {expected:.0f} s" if expected else "no time"
        try:
            started = time.perf_counter()
            dealt = self._deal(unit.specs[0])
            waited = time.perf_counter() - started
            do(unit, dealt, lambda result: saver.save(result, dealt), self.clock.check, self.graph)
        except OutOfTime:
            return "no time: stopped on the way"
        except (AmintError, RuntimeError) as error:  # the device's errors are RuntimeErrors
            self.say(f"{unit.title}: {error}")
            return str(error)
        finally:
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        seconds = time.perf_counter() - started - waited
        self.costs[unit.cost_key] = seconds
        images = f" (images {waited:.1f} s)" if waited > 0.5 else ""
        self.say(f"{self.clock.left:.0f} s left. {unit.title}: {seconds:.1f} s{images}")
        return ""

    def _deal(self, spec: Spec) -> Dealt:
        sizes = {role: spec.settings[role] for role in ROLES}
        key = (spec.dataset, spec.data, spec.image_size, spec.seed, *sizes.values())
        if key not in self._dealt:
            self._dealt[key] = deal(self._load(spec), sizes, spec.seed, self.device)
        return self._dealt[key]

    def _load(self, spec: Spec) -> Dataset:
        path = self._packed_file(spec)
        if path in self._read:
            return self._read[path]
        if path is not None and path.is_file():  # it came while the grid was running
            self._read[path] = load_packed(path)
            return self._read[path]
        for key, dealt in self._dealt.items():
            if key[:3] == (spec.dataset, spec.data, spec.image_size):
                return dealt.dataset
        return datasets.load(spec.dataset, spec.data, spec.image_size)


def _summary(specs: Sequence[Spec], left: Sequence[Mapping[str, str]]) -> str:
    lines = [f"amint: {len(specs) - len(left)} of {len(specs)} runs done, {len(left)} left"]
    return "\n".join([*lines, *(f"  left: {one['run']}: {one['why']}" for one in left)])


def specs_of(grid: Mapping[str, Any]) -> list[Spec]:
    """Turn a grid's settings into plain values, in its order."""
    return [Spec(run, settings.model_dump(mode="json")) for run, settings in grid.items()]


def read_left(root: Path) -> list[dict[str, str]]:
    """Return what the last call left, and why."""
    path = root / "left.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []

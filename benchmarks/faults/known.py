"""The commands that faults are put to, each done once undisturbed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from amint_core.config import RunConfig
from benchmarks.faults.place import Place

SMALL = "dataset=mnist model=tiny image_size=8 members=40 external=60 calibration=60 holdout=40 "
SMALL += "test=20 epochs=3 batch_size=20 cpu_threads=1"
STAGES = "dataset=mnist model=tiny image_size=8 members=40 external=60 calibration=60 holdout=40 "
STAGES += "test=20 epochs=2 recipe=staged batch_size=20 head_epochs=1 head_batch=20 cpu_threads=1"
GRID = """\
defaults: {dataset: mnist, model: tiny, image_size: 8, members: 40, external: 60, calibration: 60,
  holdout: 40, test: 20, epochs: 2, recipe: staged, batch_size: 20, head_epochs: 1, head_batch: 20,
  cpu_threads: 1}
runs: [{method: [attached, yeom], seed: [0, 1]}]
"""
BATCH = """\
defaults: {dataset: mnist, model: tiny, image_size: 8, members: 40, external: 60, calibration: 60,
  holdout: 40, test: 20, epochs: 2, batch_size: 20, cpu_threads: 1}
runs: [{seed: 0}]
"""
#: Where single runs lie.
PROFILE = RunConfig.model_fields["profile"].default
#: Job → what follows `amint`; {folder} is where the grids lie.
COMMANDS: dict[str, tuple[str, ...]] = {
    "single run": ("run", *SMALL.split(), "transformations=[flip]"),
    "run in two stages": ("run", *STAGES.split()),
    "shadow models": ("run", *SMALL.split(), "method=salem", "shadows=2"),
    "shadow workers": ("run", *SMALL.split(), "method=lira_online", "shadows=4", "workers=2"),
    "grid": ("grid", "--profile", "trial", "--grid", "{folder}/trial.yaml", "--minutes", "5"),
    "report": ("report", "--profile", PROFILE),
    "batch": ("reproduce", "--profile", "batch", "--grid", "{folder}/batch.yaml"),
}
#: Job → the one whose files lie there already.
AFTER = {
    "report": "single run",
    "shadow models": "single run",
    "shadow workers": "single run",
}
#: Jobs that start processes which import everything anew.
SLOW = ("shadow workers", "batch")


@dataclass
class Job:
    """A command, and what it leaves when nothing disturbs it.

    Attributes:
        name: a name of `COMMANDS`.
        command: what follows `amint`.
        before: a place as it is before; None: empty.
        after: the place afterwards.
        seconds: what it takes.
        writes: how often it writes, see `at_write`; 0: not counted.
        names: places of all files afterwards.
        content: place → hash of the results afterwards.
    """

    name: str
    command: tuple[str, ...]
    before: Place | None
    after: Place
    seconds: float
    writes: int
    names: set[str]
    content: dict[str, str]


class Known:
    """All jobs done once, and a training that was cut off.

    Attributes:
        folder: where everything lies.
        jobs: by name.
        cut: a single run that was killed in training.
        reports: profile → place → hash of the tables and figures of its runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        write_digits(self.data / "MNIST" / "raw")
        (folder / "trial.yaml").write_text(GRID)
        (folder / "batch.yaml").write_text(BATCH)
        self.jobs: dict[str, Job] = {}
        for name in COMMANDS:
            if name != "batch":  # which takes long
                self.job(name)
        self.cut = self._cut_off()
        self.reports = {profile: self._reported(profile) for profile in (PROFILE, "trial")}

    def job(self, name: str) -> Job:
        """Return a job, done undisturbed the first time that it is asked for."""
        if name not in self.jobs:
            self.jobs[name] = self._done(name)
        return self.jobs[name]

    def _done(self, name: str) -> Job:
        command = tuple(part.format(folder=self.folder) for part in COMMANDS[name])
        before = self.jobs[AFTER[name]].after if name in AFTER else None
        if name not in SLOW:  # what a command imports is imported here, for every copy to have
            first = self.place(f"first-{name}", before)
            first.modules = self.folder / "modules"
            self._complete(first, command)
            for module in first.modules.read_text().split():
                with suppress(Exception):
                    import_module(module)
        place, counts = self.place(name, before), self.folder / f"{name}.count"
        started = time.monotonic()
        self._complete(
            place,
            command,
            lambda: on_writes(place.folder, lambda seen: counts.write_text(str(seen))),
        )
        seconds = time.monotonic() - started
        writes = int(counts.read_text()) if counts.is_file() else 0
        return Job(name, command, before, place, seconds, writes, place.names(), place.content())

    def _complete(self, place: Place, command: tuple[str, ...], before=None) -> None:
        if place.do(command, before):
            raise SystemExit(f"{' '.join(command)} does not end well undisturbed:\n{place.said()}")

    def place(self, name: str, copied: Place | None = None) -> Place:
        """Make a place, with what lies in another."""
        place = Place(self.folder / name.replace(" ", "-"), self.data)
        if copied is not None:
            hidden = shutil.ignore_patterns(".*")
            shutil.copytree(copied.folder, place.folder, dirs_exist_ok=True, ignore=hidden)
        return place

    def _reported(self, profile: str) -> dict[str, str]:
        """Return place → hash of a profile's tables and figures."""
        source = "grid" if profile == "trial" else "single run"
        place = self.place(f"reported-{profile}", self.jobs[source].after)
        self._complete(place, ("report", "--profile", profile))
        found = place.content()
        return {name: digest for name, digest in found.items() if "/runs/" not in name}

    def _cut_off(self) -> Place:
        place = self.place("cut")
        child = place.start(self.jobs["single run"].command)
        while not list(place.folder.glob("cache/trainings/*/checkpoint.pt.sha256")):
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        place.end(child)
        return place


def write_digits(folder: Path) -> None:
    """Write 400 made-up digits as MNIST's four files: blots, all different."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for part, count in (("train", 340), ("t10k", 60)):
        coarse = random.integers(0, 256, (count, 7, 7), np.uint8)
        pixels = coarse.repeat(4, 1).repeat(4, 2)
        labels = np.arange(count, dtype=np.uint8) % 10
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            head = np.array([0x0800 + array.ndim, *array.shape], ">u4").tobytes()
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + array.tobytes())


_WRITES = ("os.rename", "os.mkdir")
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def on_writes(folder: Path, call: Callable[[int], None]) -> None:
    """Call with 1, 2, … just before each time that this process writes under a folder.

    What counts is what Python announces: files opened for writing, folders made, and renaming.
    """
    seen, inside = 0, f"{folder}/"

    def hook(event: str, given: tuple) -> None:
        nonlocal seen
        writes = event in _WRITES or (event == "open" and bool((given[2] or 0) & _FOR_WRITING))
        if writes and str(given[0]).startswith(inside):
            seen += 1
            call(seen)

    sys.addaudithook(hook)


def at_write(folder: Path, number: int, act: Callable[[], None]) -> None:
    """Do something just before this process writes under a folder for the `number`-th time."""
    on_writes(folder, lambda seen: act() if seen == number else None)

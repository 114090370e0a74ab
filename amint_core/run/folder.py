"""One run: its settings, what its steps have made of them, and its folder of results.

The folder is results/<profile>/runs/<id>/, written atomically, by one writer.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from amint_core.config import RunConfig
from amint_core.data.prepare import Data, prepare
from amint_core.errors import ResultsError
from amint_core.evaluation.scores import JUDGED_FILE, write_counted
from amint_core.files import atomic_path, json_text, writable, write_json, write_text
from amint_core.locations import results_root, shown
from amint_core.model import zoo
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.run.models import build
from amint_core.run.read_back import UNKNOWN, read_machine
from amint_core.run.shadows import Draw, draw
from amint_core.store import files_to_hash, hashes, sha256, write_sealed
from amint_core.training.distributed import processes

_PATIENCE = 5.0  # seconds to wait for another process to let go of a run

#: What each file of a run holds.
FILES = {
    "metrics.json": "the numbers",
    "scores.parquet": "one score per image",
    JUDGED_FILE: "those that the numbers follow from",
    "transformed.parquet": "scores of judged images after each transformation",
    "history.csv": "one row per epoch",
    "config.json": "all settings",
    "manifest.json": "versions, machine, data, code, hash of each file",
    "model.safetensors": "the trained model",
}
#: States after single epochs, where `keep_epochs` asks for them; see `audit/replay.py`.
EPOCHS = "epochs"


def run_folder(settings: RunConfig) -> Path:
    """Return the folder of a run's files."""
    return results_root() / settings.profile / "runs" / settings.id


@dataclass
class Run:
    """One run. Opening it takes its folder's lock until the process ends.

    Where several processes train one run together, only the first of them locks and writes.

    Attributes:
        settings: the run's settings.
        folder: where its files go.
        writes: whether this process writes them.
        history: one row per epoch; None before the step `train`.
        machine: what trained the model, be it this process or an earlier one: `device`, `hardware`,
            `processes`; "unknown" of each before the step `train`.
        scores: one row per image, see `evaluation/scores.py`; None before the step `score`.
        transformed: the same of judged images after each of the settings' transformations; None
            where there are none.

    Raises:
        ResultsError: another process is writing this run, or the folder cannot be written.
    """

    settings: RunConfig
    folder: Path = field(init=False)
    writes: bool = field(init=False)
    history: pd.DataFrame | None = field(init=False, default=None, repr=False)
    machine: dict[str, Any] = field(init=False, default_factory=lambda: dict(UNKNOWN), repr=False)
    scores: pd.DataFrame | None = field(init=False, default=None, repr=False)
    transformed: pd.DataFrame | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self.folder = run_folder(self.settings)
        self.writes = processes().is_main_process
        if self.writes:
            self._lock_folder()
            write_json(self.folder / "config.json", self.settings.model_dump(mode="json"))

    @cached_property
    def data(self) -> Data:
        """The run's dataset and who is who in it; see `prepare`."""
        return prepare(self.settings)

    @cached_property
    def model(self) -> EnhancedAuditedModel:
        """The Enhanced Audited Model; see `build`."""
        return build(self.data)

    @cached_property
    def shadows(self) -> Draw:
        """Which shadow model is trained on what; see `draw`."""
        return draw(self.data)

    @property
    def title(self) -> str:
        """Name for the run's figures; stand-in data says so."""
        model = zoo.architecture(self.settings.model).title
        taps = " + ".join(self.settings.taps or [self.settings.setup])
        return f"{self.data.dataset.title} · {model} · {taps}"

    def _lock_folder(self) -> None:
        # One lock object per file and process, so that a notebook may open its run again.
        self._lock = FileLock(self.folder / ".lock", is_singleton=True)
        with writable(self.folder, "AMINT_RESULTS"):
            try:
                # A kernel whose papermill was killed takes a moment to end.
                self._lock.acquire(timeout=_PATIENCE)
            except Timeout:
                raise ResultsError(
                    f"Another process is writing {shown(self.folder)}. Wait until it has ended, or "
                    "stop it."
                ) from None

    @property
    def shown_folder(self) -> str:
        """The folder from the results' own root on, which is the same on every machine."""
        return f"results/{self.settings.profile}/runs/{self.settings.id}"

    def keep_epochs(self, states: Path) -> None:
        """Put the states that a training has kept into the folder, where settings ask for them."""
        if not (self.writes and self.settings.keep_epochs):
            return
        shutil.rmtree(self.folder / EPOCHS, ignore_errors=True)
        for state in sorted(states.glob("*.pt")):
            with atomic_path(self.folder / EPOCHS / state.name) as temporary:
                shutil.copyfile(state, temporary)

    def keep_training(self, weights: Path, history: pd.DataFrame) -> None:
        """Put trained weights and history into the folder; clear the numbers of any others."""
        self.history, self.machine = history, read_machine(weights)
        if not self.writes:
            return
        own = self.folder / "model.safetensors"
        if not own.is_file() or sha256(own) != sha256(weights):
            scores = ("scores.parquet", JUDGED_FILE, "transformed.parquet")
            for name in ("metrics.json", "manifest.json", *scores):
                # Old numbers must not lie beside new weights.
                (self.folder / name).unlink(missing_ok=True)
            with atomic_path(own) as temporary:
                shutil.copyfile(weights, temporary)
        with atomic_path(self.folder / "history.csv") as temporary:
            history.to_csv(temporary, index=False)

    def keep_scores(self, scores: pd.DataFrame, transformed: pd.DataFrame | None) -> None:
        """Write the tables of scores: one row per image, and transformation."""
        self.scores, self.transformed = scores, transformed
        tables = {"scores.parquet": scores, "transformed.parquet": transformed}
        for name, table in tables.items():
            if self.writes and table is not None:
                with atomic_path(self.folder / name) as temporary:
                    table.to_parquet(temporary, index=False)

    def keep_results(self, metrics: dict[str, Any], manifest: dict[str, Any]) -> None:
        """Write provenance with the hash of each file, and last the metrics: their file says that
        the run is complete."""
        if not self.writes:
            return
        (self.folder / "metrics.json").unlink(missing_ok=True)
        with atomic_path(self.folder / JUDGED_FILE) as temporary:
            write_counted(self.scores, metrics["audited"]["role"], temporary)
        seal(self.folder, metrics, manifest)

    def files(self) -> pd.DataFrame:
        """List the run's files: name, and what each holds."""
        rows = [(name, text) for name, text in FILES.items() if (self.folder / name).is_file()]
        return pd.DataFrame(rows, columns=["file", "holds"])


def seal(folder: Path, metrics: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Write a run's manifest with the hash of each file, and last the metrics: their file says
    that the run is complete."""
    target, text = folder / "metrics.json", json_text(metrics)
    target.unlink(missing_ok=True)
    files = hashes(files_to_hash(folder))
    files[target.name] = hashlib.sha256(text.encode()).hexdigest()
    write_sealed(folder / "manifest.json", {**manifest, "files": files})
    write_text(target, text)

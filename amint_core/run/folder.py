"""The folder of one run, results/<profile>/runs/<id>/: written atomically, by one writer."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from safetensors import safe_open

from amint_core.config import RunConfig
from amint_core.errors import ResultsError
from amint_core.files import atomic_path, write_json
from amint_core.locations import results_root
from amint_core.training.device import processes

_PATIENCE = 5.0  # seconds to wait for another process to let go of a run


def run_folder(settings: RunConfig) -> Path:
    """Return the folder of a run's files."""
    return results_root() / settings.profile / "runs" / settings.id


@dataclass
class Run:
    """One run's settings and folder. Opening it takes the folder's lock until the process ends.

    Where several processes train one run together, only the first of them locks and writes.

    Attributes:
        settings: the run's settings.
        folder: where its files go.
        writes: whether this process writes them.

    Raises:
        ResultsError: another process is writing this run, or the folder cannot be written.
    """

    settings: RunConfig
    folder: Path = field(init=False)
    writes: bool = field(init=False)

    def __post_init__(self) -> None:
        self.folder = run_folder(self.settings)
        self.writes = processes().is_main_process
        if self.writes:
            self._lock_folder()
            write_json(self.folder / "config.json", self.settings.model_dump(mode="json"))

    def _lock_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # One lock object per file and process, so that a notebook may open its run again.
            self._lock = FileLock(self.folder / ".lock", is_singleton=True)
            # A kernel whose papermill was killed takes a moment to end.
            self._lock.acquire(timeout=_PATIENCE)
        except Timeout:
            raise ResultsError(
                f"Another process is writing {self.folder}. Wait until it has ended, or stop it."
            ) from None
        except OSError as error:
            raise ResultsError(
                f"Cannot write to {self.folder}: {error.strerror}. Free some space, mend the "
                "permissions, or name another folder by AMINT_RESULTS."
            ) from error

    @property
    def shown_folder(self) -> str:
        """The folder from the results' own root on, which is the same on every machine."""
        return f"results/{self.settings.profile}/runs/{self.settings.id}"

    def keep_model(self, weights: Path, identity: dict[str, Any]) -> None:
        """Put the trained weights into the run's folder; clear the numbers of any others."""
        if not self.writes:
            return
        own = self.folder / "model.safetensors"
        if self._identity_of(own) == identity:
            return
        for name in ("metrics.json", "manifest.json", "scores.parquet"):
            # Old numbers must not lie beside new weights.
            (self.folder / name).unlink(missing_ok=True)
        with atomic_path(own) as temporary:
            shutil.copyfile(weights, temporary)

    @staticmethod
    def _identity_of(weights: Path) -> dict[str, Any] | None:
        if not weights.is_file():
            return None
        try:
            with safe_open(weights, framework="pt") as file:
                return json.loads((file.metadata() or {}).get("amint", "null"))
        except Exception:  # damaged: to be replaced
            return None

    def save_history(self, history: pd.DataFrame) -> None:
        """Write one row per epoch."""
        if not self.writes:
            return
        with atomic_path(self.folder / "history.csv") as temporary:
            history.to_csv(temporary, index=False)

    def save_scores(self, scores: pd.DataFrame, name: str = "scores.parquet") -> None:
        """Write one row per image."""
        if not self.writes:
            return
        with atomic_path(self.folder / name) as temporary:
            scores.to_parquet(temporary, index=False)

    def save_results(self, metrics: dict[str, Any], manifest: dict[str, Any]) -> None:
        """Write provenance and, last, the metrics: their file says that the run is complete."""
        if not self.writes:
            return
        write_json(self.folder / "manifest.json", manifest)
        write_json(self.folder / "metrics.json", metrics)

    def files(self) -> pd.DataFrame:
        """List the run's files: name, size and what each holds."""
        holds = {
            "metrics.json": "the numbers",
            "scores.parquet": "one score per image",
            "transformed.parquet": "scores of judged images after each transformation",
            "history.csv": "one row per epoch",
            "config.json": "all settings",
            "manifest.json": "versions, machine, data, code",
            "model.safetensors": "the trained model",
        }
        rows = [(name, text) for name, text in holds.items() if (self.folder / name).is_file()]
        return pd.DataFrame(rows, columns=["file", "holds"])

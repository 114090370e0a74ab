"""The folder of one run, results/<profile>/runs/<id>/: written atomically, by one writer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.torch import save_file

from amint_core.arithmetic import processes
from amint_core.config import RunConfig
from amint_core.exceptions import ResultsError
from amint_core.files import atomic_path, write_json
from amint_core.locations import results_root

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

    @property
    def checkpoint(self) -> Path:
        """The file that training resumes from."""
        return self.folder / "checkpoint.pt"

    def save_model(self, model: torch.nn.Module, identity: dict[str, Any]) -> None:
        """Write the weights, with the settings they belong to, as safetensors."""
        if not self.writes:
            return
        weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
        with atomic_path(self.folder / "model.safetensors") as temporary:
            save_file(weights, temporary, metadata={"amint": json.dumps(identity)})

    def load_finished(
        self, identity: dict[str, Any]
    ) -> tuple[dict[str, torch.Tensor], pd.DataFrame] | None:
        """Return weights and history, if training of the same identity has ended here before."""
        weights = self.folder / "model.safetensors"
        history = self.folder / "history.csv"
        if not weights.is_file() or not history.is_file():
            return None
        try:
            with safe_open(weights, framework="pt") as file:
                if json.loads((file.metadata() or {}).get("amint", "null")) != identity:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            raise ResultsError(
                f"{weights} cannot be read ({error}). Delete it to train again."
            ) from error
        return tensors, pd.read_csv(history)

    def clear(self) -> None:
        """Remove what an earlier training left: old numbers must not lie beside new weights."""
        for name in ("metrics.json", "manifest.json", "scores.parquet", "model.safetensors"):
            if self.writes:
                (self.folder / name).unlink(missing_ok=True)

    def save_history(self, history: pd.DataFrame) -> None:
        """Write one row per epoch."""
        if not self.writes:
            return
        with atomic_path(self.folder / "history.csv") as temporary:
            history.to_csv(temporary, index=False)

    def save_scores(self, scores: pd.DataFrame) -> None:
        """Write one row per image."""
        if not self.writes:
            return
        with atomic_path(self.folder / "scores.parquet") as temporary:
            scores.to_parquet(temporary, index=False)

    def save_results(self, metrics: dict[str, Any], manifest: dict[str, Any]) -> None:
        """Write provenance and, last, the metrics: their file says that the run is complete."""
        if not self.writes:
            return
        write_json(self.folder / "manifest.json", manifest)
        write_json(self.folder / "metrics.json", metrics)
        self.checkpoint.unlink(missing_ok=True)

    def files(self) -> pd.DataFrame:
        """List the run's files: name, size and what each holds."""
        holds = {
            "metrics.json": "the numbers",
            "scores.parquet": "one score per image",
            "history.csv": "one row per epoch",
            "config.json": "all settings",
            "manifest.json": "versions, machine, data, code",
            "model.safetensors": "the Enhanced Audited Model",
        }
        rows = [(name, text) for name, text in holds.items() if (self.folder / name).is_file()]
        return pd.DataFrame(rows, columns=["file", "holds"])

"""Trained models, stored by what they were trained from, so that each is trained once.

A folder of `AMINT_CACHE/trainings/` is named after the hash of a training's identity: settings that
take part in it, code, data, members, library versions. A change of any of them is another folder:
a stale model cannot be taken for a fresh one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm.auto import tqdm

from amint_core.arithmetic import processes
from amint_core.config import RunConfig
from amint_core.exceptions import ResultsError
from amint_core.files import atomic_path
from amint_core.locations import cache_root, shown

_PATIENCE = 5.0  # seconds of waiting for another process before saying so
#: Settings that no training depends on; roles and protocol count through the split's digest, the
#: dataset through its fingerprint.
_NEVER = {
    *("profile", "recipe", "method", "protocol", "dataset", "data", "image_size", "members"),
    *("external", "calibration", "holdout", "test", "target", "shadows", "variance", "workers"),
    *("views", "transformations", "defects"),
}
#: What else a model alone, without a MINT head, does not depend on.
_OF_THE_HEAD = {
    *("setup", "taps", "head", "lambda_audited", "lambda_mint", "patience"),
    *("augment_external", "external_transformations"),
    *("head_batch", "head_rate", "head_copies"),
}
#: Published defects that change training; 9 counts through the split, the others are of judging.
_DEFECTS = ("frozen_batchnorm", "separate_batches", "hundred_outputs")
_DEFECTS_OF_THE_LOSS = ("first_batch_balance", "scaled_mint_loss")


def training_settings(settings: RunConfig, kind: str) -> dict[str, Any]:
    """Return the settings that training a model of `kind` depends on; see `Method.training`."""
    left_out, defects = _NEVER, _DEFECTS
    if kind == "plain":
        left_out = left_out | _OF_THE_HEAD
    if kind == "active":
        # On the other datasets defect 6 and on them all the weights of the losses do nothing.
        defects += _DEFECTS_OF_THE_LOSS
    values = settings.model_dump(mode="json", exclude=set(left_out))
    kept = sorted(set(defects) & set(settings.defects))
    return {"kind": kind, **values, "defects": kept, "dataset": settings.dataset}


@dataclass
class Training:
    """One training's folder.

    Attributes:
        identity: everything that the trained model depends on.
    """

    identity: dict[str, Any]

    @property
    def folder(self) -> Path:
        """The training's own folder."""
        key = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:24]
        return cache_root() / "trainings" / key

    @property
    def checkpoint(self) -> Path:
        """The file that training resumes from."""
        return self.folder / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        """The file of the trained weights."""
        return self.folder / "model.safetensors"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from training the same model; wait where one does already.

        Processes that train together go in and come out together, so that all see the same files.

        Raises:
            ResultsError: the folder cannot be written.
        """
        lock = self._lock()
        try:
            processes().wait_for_everyone()
            yield
            processes().wait_for_everyone()
        finally:
            if lock is not None:
                lock.release()

    def _lock(self) -> FileLock | None:
        if not processes().is_main_process:
            return None
        lock = FileLock(self.folder / ".lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=_PATIENCE)
            except Timeout:
                tqdm.write("Another process is training the same model; waiting for it.")
                lock.acquire()
        except OSError as error:
            raise ResultsError(
                f"Cannot write to {self.folder}: {error.strerror}. Free some space, mend the "
                "permissions, or name another folder by AMINT_CACHE."
            ) from error
        return lock

    def is_busy(self) -> bool:
        """Tell whether another process is training this model now."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock", timeout=0):
                return False
        except Timeout:
            return True

    def is_done(self) -> bool:
        """Tell whether the model has been trained to the end."""
        return self.weights.is_file() and (self.folder / "history.csv").is_file()

    def load(self) -> tuple[dict[str, torch.Tensor], pd.DataFrame] | None:
        """Return weights and history, if training has ended before.

        Raises:
            ResultsError: the weights are damaged.
        """
        if not self.is_done():
            return None
        try:
            with safe_open(self.weights, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            raise ResultsError(
                f"{self.weights} cannot be read ({error}). Delete it to train again."
            ) from error
        return tensors, pd.read_csv(self.folder / "history.csv")

    def save(self, model: torch.nn.Module, history: pd.DataFrame) -> None:
        """Write the weights as safetensors, with the identity they belong to, and the history."""
        if not processes().is_main_process:
            return
        with atomic_path(self.folder / "history.csv") as temporary:
            history.to_csv(temporary, index=False)
        weights = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
        with atomic_path(self.weights) as temporary:
            save_file(weights, temporary, metadata={"amint": json.dumps(self.identity)})
        self.checkpoint.unlink(missing_ok=True)

    def __str__(self) -> str:
        return shown(self.folder)

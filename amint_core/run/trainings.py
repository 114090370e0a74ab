"""Trained models, stored by what they were trained from, so that each is trained once.

A folder of `AMINT_CACHE/trainings/` is named after the hash of a training's identity: settings that
take part in it, code, data, members, library versions. A change of any of them is another folder:
a stale model cannot be taken for a fresh one. What is damaged is trained again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from safetensors.torch import save_file
from tqdm.auto import tqdm

from amint_core import provenance
from amint_core.config import RunConfig
from amint_core.data.prepare import Data
from amint_core.errors import ResultsError
from amint_core.files import writable
from amint_core.locations import cache_root, shown
from amint_core.model import zoo
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.model.reading import separate
from amint_core.run.models import build, fit_model, monitor_of
from amint_core.run.needs import training_settings
from amint_core.run.read_back import MACHINE, read_history, read_state, read_weights
from amint_core.run.recorded import recorded
from amint_core.store import read_or_set_aside, remove, stored
from amint_core.training.distributed import agreed, processes
from amint_core.training.kinds import Kind
from amint_core.training.loop import State
from amint_core.training.precision import chosen_precision
from amint_core.training.repeatable import repeatable

Value = TypeVar("Value")

#: Where the code begins that a trained model depends on. Storage is no part of it.
_TRAINING = "amint_core.run.models"
KEEP_EVERY = 60.0  # seconds between two states of a training in two stages
_PATIENCE = 5.0  # seconds of waiting for another process before saying so


def identity(settings: RunConfig, kind: Kind, fingerprint: str, split: str) -> dict[str, Any]:
    """Return what a trained model depends on, as far as a finished one is not to be trained again.

    The kind of device and the precision that "auto" stands for on it are part of it, and so are the
    libraries that compute: batches' order and copies are drawn by numpy, some copies are made by
    torchvision. The processor's name and the number of processes are not, though the last bits of
    sums follow from them: a notebook, which is one process, can so load what several have trained
    together. `Training.save` writes down what they were.

    Args:
        settings: the run's settings.
        kind: the kind of training.
        fingerprint: of the dataset.
        split: digest of what the model learns from.
    """
    losses = [loss.value for loss in kind.losses]  # a membership test may bring its own
    return {
        "training": training_settings(settings, kind),
        "data": fingerprint,
        "split": split,
        "code": provenance.code_fingerprint(_TRAINING, *zoo.code_of(settings.model), *losses),
        **provenance.libraries(),
        "computed_in": chosen_precision(settings.precision),
        "device": processes().device.type,
    }


def state_file(epochs: Path, epoch: int) -> Path:
    """Return where the state after an epoch is kept, in a folder of such states."""
    return epochs / f"{epoch:04}.pt"


def are_kept(epochs: Path, wanted: Iterable[int]) -> bool:
    """Tell whether a folder holds the states after all of these epochs."""
    return all(state_file(epochs, epoch).is_file() for epoch in wanted)


@dataclass
class Training:
    """One training's folder.

    Attributes:
        identity: everything that the trained model depends on, see `identity`.
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

    @property
    def history(self) -> Path:
        """The file of the history, one row per epoch."""
        return self.folder / "history.csv"

    @property
    def epochs(self) -> Path:
        """The folder of the states that were kept for a replay."""
        return self.folder / "epochs"

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
        lock, patience = FileLock(self.folder / ".lock"), _PATIENCE
        with writable(self.folder, "AMINT_CACHE"):
            while not lock.is_locked:
                try:
                    lock.acquire(timeout=patience)
                except Timeout:
                    tqdm.write("Another process is training the same model; waiting for it.")
                    patience = -1  # for as long as it takes
                except FileNotFoundError:  # `own/checkpoints.py` removes a folder that is done
                    self.folder.mkdir(parents=True, exist_ok=True)
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
        return self.weights.is_file() and self.history.is_file()

    def is_whole(self) -> bool:
        """Tell whether the model has been trained to the end; what is damaged is set aside."""
        return self._result(None) is not None

    def _result(
        self, part: torch.nn.Module | None
    ) -> tuple[dict[str, torch.Tensor], pd.DataFrame] | None:
        weights = read_or_set_aside(self.weights, partial(read_weights, part=part))
        history = read_or_set_aside(self.history, read_history)
        return None if weights is None or history is None else (weights, history)

    def load(
        self, part: torch.nn.Module | None = None
    ) -> tuple[dict[str, torch.Tensor], pd.DataFrame] | None:
        """Return weights and history; None where training has not ended, or what it left is
        damaged and set aside.

        Args:
            part: what the weights are for; those that do not fit count as damaged.
        """
        return _read_by_all(lambda: self._result(part))

    def state(self, part: torch.nn.Module | None = None) -> State | None:
        """Return the state that training goes on from; None where there is none, or a damaged one.

        Its identity is not checked, since the folder's name is a hash of that.
        """
        read = partial(read_state, part=part)
        state = _read_by_all(lambda: read_or_set_aside(self.checkpoint, read))
        if state is not None and processes().is_main_process:
            tqdm.write(f"Going on after epoch {state.epoch}, from {self.checkpoint.name}.")
        return state

    def keep(self, state: State) -> None:
        """Write the state atomically: after a crash the one before is still there."""
        with stored(self.checkpoint) as temporary:
            torch.save(vars(state), temporary)

    def keeper(self, settings: RunConfig) -> Callable[[State], None]:
        """Return what keeps a state to go on from, and those that the settings ask for."""
        if settings.head_epochs:
            return self.seldom()

        def keep(state: State) -> None:
            self.keep(state)
            self._keep_epoch(state, settings)

        return keep

    def seldom(self, due: Callable[[State], bool] = lambda state: False) -> Callable[[State], None]:
        """Return what keeps a state once in `KEEP_EVERY` seconds, and where `due` says so.

        In two stages an epoch may take no longer than writing its state. A state that cannot be
        written is said, once, and training goes on without.
        """
        last, refused = time.monotonic(), False

        def keep(state: State) -> None:
            nonlocal last, refused
            if refused or not (due(state) or time.monotonic() - last >= KEEP_EVERY):
                return
            try:
                self.keep(state)
            except ResultsError as error:
                refused = True
                tqdm.write(f"No state to go on from is kept, and training goes on: {error}")
            last = time.monotonic()

        return keep

    def _keep_epoch(self, state: State, settings: RunConfig) -> None:
        """Keep the state that `keep` has just written for a replay, if the settings ask for it.

        Where it does, the last state and the best one so far are kept whatever the interval: the
        trained weights come from one of them.
        """
        every, epoch = settings.keep_epochs, state.epoch
        if every and (epoch % every == 0 or epoch in (settings.epochs, state.best)):
            with stored(state_file(self.epochs, epoch)) as temporary:
                shutil.copyfile(self.checkpoint, temporary)

    def keeps_epochs(self, settings: RunConfig, last: int) -> bool:
        """Tell whether the states that the settings ask for are there, up to epoch `last`."""
        every = 0 if settings.head_epochs else settings.keep_epochs
        return are_kept(self.epochs, (*range(every, last + 1, every), last) if every else ())

    def save(
        self,
        model: torch.nn.Module,
        history: pd.DataFrame,
        machine: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the weights as safetensors, with the identity they belong to, and the history.

        Args:
            model: the part that was trained.
            history: one row per epoch.
            machine: what trained it, see `machine_of`; None: it is not written down.
        """
        if not processes().is_main_process:
            return
        with stored(self.history) as temporary:
            history.to_csv(temporary, index=False)
        with stored(self.weights) as temporary:
            weights = separate(model.state_dict())
            # One text: of several, safetensors writes the order anew each time.
            told = self.identity if machine is None else {**self.identity, MACHINE: machine}
            save_file(weights, temporary, metadata={"amint": json.dumps(told)})
        remove(self.checkpoint)

    def __str__(self) -> str:
        return shown(self.folder)


def _read_by_all(read: Callable[[], Value | None]) -> Value | None:
    """Read something in every process, where the first has found it whole; else None.

    The first sets aside what is damaged, before the others look.
    """
    first = processes().is_main_process
    found = read() if first else None
    if not agreed(lambda: found is not None):
        return None
    return found if first else read()


def training_of(kind: Kind, data: Data) -> Training:
    """Return where the training of `kind` that a run's data and settings name is stored."""
    return Training(identity(data.settings, kind, data.dataset.fingerprint, data.split.digest))


def train_model(kind: Kind, data: Data, model: EnhancedAuditedModel) -> pd.DataFrame:
    """Train a run's model in place, or load what the same training gave before.

    Goes on from a checkpoint where the same training was cut off.

    Returns:
        The history, one row per epoch.

    Raises:
        TrainingError: training diverged; the last good checkpoint is kept.
        SettingsError, CacheError: see `fit_model`.
        ModelError: the model cannot be built.
        ResultsError: the training's folder, states or the trained model cannot be written.
    """
    if kind.starts_from is not None:
        train_model(kind.starts_from, data, model)
    training = training_of(kind, data)
    with training.alone():
        found = training.load(kind.part(model))
        if found:
            weights, history = found
            kind.part(model).load_state_dict(weights)
            print(
                f"Already trained with this code, settings and data: loaded the {kind.name} model."
            )
            if not training.keeps_epochs(data.settings, len(history)):
                print(
                    "The states that keep_epochs asks for were not kept then, and a replay trains "
                    f"more for want of them. To have them, delete {training} and train again."
                )
            return history
        # The model may have been trained before; a training starts from the seed's weights.
        if kind.starts_from is None:
            model.load_state_dict(build(data).state_dict())
        else:
            model.head.load_state_dict(build(data).head.state_dict())
        members = data.split.roles["members"]
        title = f"{kind.name}: {data.settings.id}"
        monitor = monitor_of(data, model) if kind.has_head else None
        return train_and_store(training, kind, data, model, members, title, monitor)


def train_and_store(
    training: Training,
    kind: Kind,
    data: Data,
    model: EnhancedAuditedModel,
    members: np.ndarray,
    title: str,
    monitor: Callable[[torch.device], float] | None = None,
) -> pd.DataFrame:
    """Train a model in place, from a stored state where there is one, and store it.

    Args:
        training: where it is stored; the caller keeps it alone.
        kind: what is trained, and how.
        data: images, external ones among them, and settings.
        model: the model, its weights as they are to start from.
        members: indices of the training set.
        title: what the progress bar says.
        monitor: device → AUC on the calibration images; None: there are none.

    Returns:
        The history, one row per epoch.

    Raises:
        SettingsError, TrainingError, CacheError: see `fit_model`.
        ResultsError: states or the trained model cannot be written.
    """
    history = fit_model(
        kind,
        data,
        model,
        members,
        monitor=monitor,
        resume=training.state(kind.part(model)),
        keep=training.keeper(data.settings),
        title=title,
        record=recorded,
    )
    training.save(kind.part(model), history, machine_of(data.settings, model))
    return history


def machine_of(settings: RunConfig, model: torch.nn.Module) -> dict[str, Any]:
    """Return what has just trained a model: `device`, `hardware` in words, number of `processes`.

    Args:
        settings: tell the number of CPU threads.
        model: on the device that trained it.
    """
    device = next(model.parameters()).device
    with repeatable(settings.cpu_threads):
        hardware = provenance.hardware(device)
    return {
        "device": device.type,
        "hardware": hardware,
        "processes": processes().num_processes,
    }

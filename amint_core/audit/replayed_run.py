"""Replay a finished run from its folder: its transcript, its kept states, its listed images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import load_file

from amint_core import provenance
from amint_core.audit.export import as_runs_write, require_run
from amint_core.audit.model_folder import MANIFEST
from amint_core.audit.replay import CANNOT_TELL, Replayed, drawn, replay
from amint_core.audit.statement import (
    LedgerError,
    Statement,
    hash_of_transcript,
    hash_of_weights,
)
from amint_core.config import RunConfig
from amint_core.data.prepare import prepare
from amint_core.errors import DamagedError, ResultsError
from amint_core.locations import given_path, shown
from amint_core.run.folder import EPOCHS
from amint_core.run.needs import kind_of
from amint_core.run.read_back import read_history, read_identity, read_state
from amint_core.run.steps import best_epoch
from amint_core.run.trainings import training_of
from amint_core.settings import create
from amint_core.store import read_sealed, run_file, run_json
from amint_core.training.device import open_accelerator
from amint_core.training.loop import State
from amint_core.training.repeatable import repeatable
from amint_core.training.transcript import state_digest

#: Of a training's identity: what the machine brings with it, not the run.
_OF_MACHINE = {
    "code": "the code that trains",
    "torch": "PyTorch",
    "timm": "timm",
    "torchvision": "torchvision",
    "numpy": "NumPy",
    "computed_in": "the precision",
    "device": "the device",
}


def replay_run(run: Path | str, epochs: int = 3, signed: Statement | None = None) -> Replayed:
    """Draw epochs of a finished run by lot, train them again, compare hashes.

    Needs the run's dataset; and a machine of the kind that it was trained on, since the last bits
    of a sum differ between processors.

    Args:
        run: the run's folder, with the states that `keep_epochs` kept in it.
        epochs: how many to draw.
        signed: what the owner published before (`statement.read`): his transcript is the run's.

    Raises:
        LedgerError: the transcript, or the weights, are not those that were signed.
        ResultsError: the run is not finished, or its dataset is not what it was.
        DamagedError: a file is not what the run wrote.
        SettingsError: the training cannot be replayed.
    """
    run = given_path(run)
    _require_run(run)
    with as_runs_write(run):
        settings = create(**run_json(run / "config.json"))
        manifest = read_sealed(run / "manifest.json")
        listed = {name: manifest[name] for name in ("data", "split")}
        hardware = str(manifest["hardware"])
        history = read_history(run_file(run / "history.csv"))
        stored = run_file(run / "model.safetensors")
        weights, then = load_file(stored), read_identity(stored)
        handed_out = best_epoch(history, settings), state_digest(weights)
    if signed is not None:
        require_signed(signed, history, weights)
    data, kind = prepare(settings), kind_of(settings)
    now = training_of(kind, data).identity
    _require_same_images(run, listed, now)
    lot = drawn(len(history), epochs)
    found = replay(kind, data, history, states_in(run / EPOCHS), lot, handed_out)
    return dataclasses.replace(found, elsewhere=elsewhere(then, now, hardware, settings))


def _require_run(run: Path) -> None:
    """Refuse what is no finished run with a model, and the folder of a model in one's own images,
    which are not to be found from it."""
    if (run / MANIFEST).is_file() and not (run / "config.json").is_file():
        raise ResultsError(
            f"{shown(run)} holds a model, not a run: which images it was trained on is not in it. "
            "If `amint.fit` made it, give them and the model's class in Python: "
            "amint.replay(folder, model=MyNet(), members=…, external=…). For a run, name "
            "results/PROFILE/runs/ID."
        )
    require_run(run)


def require_signed(signed: Statement, history: pd.DataFrame, weights: Mapping[str, Any]) -> None:
    """Refuse a transcript, or weights, that are not those of a published statement.

    Raises:
        LedgerError: they are others.
    """
    if signed.transcript is None:
        raise LedgerError(
            "The statement names no transcript, so nothing shows that the run's history was "
            "written before the epochs were drawn. Ask the owner for a statement signed with "
            "transcript=, or replay without one."
        )
    if signed.transcript != hash_of_transcript(history):
        raise LedgerError(
            "The run's history is not the transcript that was signed, so it may have been written "
            "after the fact. Ask the owner for the run that he signed."
        )
    if signed.weights != hash_of_weights(weights):
        raise LedgerError(
            f"The statement is about the weights {signed.weights[:12]}…, not about this run's. Ask "
            "the owner for the run that he signed."
        )


def sentences(found: Replayed) -> list[str]:
    """Say what a replay found, what it is worth, and what it cannot show."""
    done = ", ".join(str(each.epoch) for each in found.epochs)
    said = [
        f"{len(found.epochs)} of {found.total} epochs were trained again ({done}) in "
        f"{found.seconds:.0f} s: {found.cost:.0%} of the training."
    ]
    said += [
        f"Epoch {each.epoch}: the listed images do not come in the order that the transcript says."
        for each in found.epochs
        if not each.order
    ]
    said += [
        f"Epoch {each.epoch}: it ends in another state than the transcript says."
        for each in found.epochs
        if not each.state
    ]
    said += [
        f"The state kept after epoch {epoch} is not the transcript's."
        for epoch, same in found.kept.items()
        if not same
    ]
    if found.outcome == CANNOT_TELL:
        said.append(
            f"States may differ for another reason: {'; '.join(found.elsewhere)}. Replay it on a "
            "machine like that of the training."
        )
    return [*said, *_worth(found)]


def _worth(found: Replayed) -> list[str]:
    are = "are" if found.weights else "are not"
    return [
        f"The weights handed out {are} those that the training ended with.",
        f"Had one epoch seen other images, the lot would have met it with probability "
        f"{found.caught():.0%}, whichever it was; had every epoch, for certain. That the "
        "transcript was fixed before the epochs were drawn, and that the listed images hide no "
        "others, is not shown here.",
    ]


def states_in(folder: Path) -> dict[int, Callable[[], State]]:
    """Return epoch → reads the state that was kept after it."""
    return {
        int(path.stem): partial(_read, path)
        for path in sorted(folder.glob("[0-9]*.pt"))
        if path.stem.isdecimal()  # no "0003 (1).pt", a copy that a sync client makes
    }


def _read(path: Path) -> State:
    try:
        return read_state(path, None)
    except Exception as error:  # whatever a damaged file makes of PyTorch
        raise DamagedError(
            f"{shown(path)} is no state of a training ({type(error).__name__}). Get the run's "
            "folder from its owner again."
        ) from error


def _require_same_images(run: Path, listed: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if any(now[name] != value for name, value in listed.items()):
        raise ResultsError(
            f"The images at hand are not those that the run in {shown(run)} lists: dataset or "
            "split differ. Get the very images; without them nothing can be replayed."
        )


def elsewhere(
    then: Mapping[str, Any], now: Mapping[str, Any], hardware: str, settings: RunConfig
) -> tuple[str, ...]:
    """Return in words what differs between the machine of the training and this one.

    Args:
        then: the training's identity.
        now: the same, as this machine and this code make it.
        hardware: of the training, as `provenance.hardware` names it.
        settings: which precision and threads it had.
    """
    differing = [
        f"{what} ({then.get(name)}, here {now.get(name)})" if name != "code" else what
        for name, what in _OF_MACHINE.items()
        if then.get(name) != now.get(name)
    ]
    device = open_accelerator(settings.precision).device
    with repeatable(settings.cpu_threads):
        here = provenance.hardware(device)
    if hardware != here:
        differing.append(f"the processor (by the owner's word {hardware}, here {here})")
    if device.type != "cpu":
        differing.append("a GPU, whose sums may come out differently each time")
    return tuple(differing)

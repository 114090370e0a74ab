"""From a finished run to a model's folder that an auditor can be given."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from amint_core.audit.auditable import auditable
from amint_core.audit.model_folder import require_own_folder, save
from amint_core.audit.preprocessing import Preprocessing
from amint_core.config import RunConfig
from amint_core.data.base import Dataset
from amint_core.data.prepare import Data, prepare
from amint_core.errors import DamagedError, ResultsError, SettingsError, from_outside
from amint_core.evaluation.scores import has_tracks
from amint_core.locations import given_path, shown
from amint_core.methods import METHODS
from amint_core.run.models import build
from amint_core.run.needs import kind_of
from amint_core.settings import create
from amint_core.store import run_file, run_json


def export(run: Path | str, folder: Path | str) -> Path:
    """Write the model of a finished run into a folder for auditors; needs the run's dataset.

    Calibration images become its strangers, scored anew in fp32, whatever the run computed in.

    Args:
        run: the run's folder.
        folder: where the model goes.

    Raises:
        ResultsError: the run is not finished, or its dataset is not what it was.
        DamagedError: a file is not what the run wrote.
        SettingsError: the run has no MINT head.
        ProtocolError: it has too few calibration images.
    """
    run, folder = given_path(run), given_path(folder)
    require_run(run)
    require_own_folder(folder)  # before images are read and scored
    with as_runs_write(run):
        metrics, settings = run_json(run / "metrics.json"), create(**run_json(run / "config.json"))
        recorded = {name: metrics["data"][name] for name in ("fingerprint", "split")}
        figures = {name: metrics[name] for name in ("run", "data", "mint", "audited")}
    if not METHODS[settings.method].asks_head:
        heads = ", ".join(name for name, method in METHODS.items() if method.asks_head)
        raise SettingsError(
            f"The run in {shown(run)} has no MINT head to audit with: its method is "
            f"{settings.method!r}. Export a run of one of these: {heads}."
        )
    data = prepare(settings)
    _require_same_images(data, recorded, run)
    model = build(data)
    model.load_state_dict(load_file(run_file(run / "model.safetensors")))
    made = auditable(
        model,
        preprocessing_of(data.dataset),
        data.dataset.pixels[data.split.roles["calibration"]],
        data.dataset.pixels[_learned_from(data)],
        views=settings.views,
        architecture=settings.model,
        card=_card(figures, settings, data),
    )
    return save(made, folder)


def require_run(run: Path) -> None:
    """Refuse a folder that is no finished run's, or that keeps no model.

    Raises:
        ResultsError: says which.
    """
    if not (run / "metrics.json").is_file():
        raise ResultsError(
            f"{shown(run)} is no folder of a finished run: it has no metrics.json. Name one such "
            "as results/PROFILE/runs/ID."
        )
    if not (run / "config.json").is_file():
        raise ResultsError(
            f"{shown(run)} was written by `amint grid`, which keeps no model. Do the run by "
            "`amint run` or `amint reproduce`."
        )


def as_runs_write(run: Path) -> AbstractContextManager[None]:
    """Refuse files whose hashes fit and whose content no run writes, as a stranger can write it.

    Raises:
        DamagedError: what reading them raised, in its words.
    """
    return from_outside(
        lambda raised: DamagedError(
            f"{shown(run)} holds files that no run writes, or another version of this package "
            f"({raised}). Get the run's folder from its owner again."
        )
    )


def preprocessing_of(dataset: Dataset) -> Preprocessing:
    """Return what `data.decode` and `data.transforms.normalised` do with an image."""
    return Preprocessing(dataset.image_size, dataset.image_size, dataset.channels, upright=False)


def _learned_from(data: Data) -> np.ndarray:
    """Return the indices of the members that the head learned from."""
    members = data.split.roles["members"]
    if kind_of(data.settings).declares != "all":
        return members[~data.split.members_judged]
    return members


def _require_same_images(data: Data, recorded: dict[str, Any], run: Path) -> None:
    now = {"fingerprint": data.dataset.fingerprint, "split": data.split.digest}
    if any(recorded[name] != value for name, value in now.items()):
        raise ResultsError(
            f"The images at hand are not those of the run in {shown(run)}: dataset or split have "
            "changed since. Restore the dataset, or run it again."
        )


def _card(figures: dict[str, Any], settings: RunConfig, data: Data) -> dict[str, Any]:
    """Return what is told of the model: its figures, and what an audit must not forget."""
    notes = []
    if settings.data == "standin":
        notes.append(
            f"The model was trained on {data.dataset.title}: images made up in place of real ones. "
            "Its figures mean nothing for those."
        )
    if settings.patience:
        notes.append(
            "Training was stopped by the calibration images, so the owner's strangers are not "
            "quite strangers. Give a reference of your own."
        )
    if has_tracks(data.dataset):
        notes.append(
            "The calibration images come in groups of like images, frames of a track or "
            "near-twins, so bounds against them are too narrow. Give a reference of your own."
        )
    return {**figures, "notes": notes, "classes": list(data.dataset.class_names)}

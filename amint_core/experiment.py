"""One run, step by step: data → model → training → scores → metrics.

Each step is one call, so that a notebook can stop and look between them; `run_all` does them all.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from amint_core import datasets, models, provenance
from amint_core.arithmetic import open_accelerator, repeatable
from amint_core.config import RunConfig
from amint_core.datasets.base import Dataset
from amint_core.datasets.splits import Split, make_split
from amint_core.evaluation.judge import judge
from amint_core.evaluation.metrics import auc
from amint_core.evaluation.scores import score_images
from amint_core.exceptions import SettingsError, TrainingError
from amint_core.inference import membership_logits
from amint_core.mint import EnhancedAuditedModel, describe, enhance, parameter_count
from amint_core.runs import Run
from amint_core.training.active import ActiveStep
from amint_core.training.batches import JointBatches
from amint_core.training.loop import Fit

_ROLES = ("members", "external", "calibration", "holdout", "test")
_CLASSES_OF_DEFECT_8 = 100


@dataclass(frozen=True)
class Data:
    """A dataset and who is who in it.

    Attributes:
        settings: the run's settings.
        dataset: the decoded images.
        split: which image has which role.
    """

    settings: RunConfig
    dataset: Dataset
    split: Split

    @property
    def title(self) -> str:
        """Name for the run's figures; stand-in data says so."""
        model = models.architecture(self.settings.model).title
        return f"{self.dataset.title} · {model} · {self.settings.setup}"

    @property
    def example(self) -> torch.Tensor:
        """Two blank images, (2, C, H, W), for looking at a model's shapes."""
        side = self.dataset.image_size
        return torch.zeros(2, self.dataset.channels, side, side)

    def table(self) -> pd.DataFrame:
        """Count the images of each role, and say what it is for."""
        purpose = {
            "members": "D, the training set: to be recognised",
            "external": "E, non-members the MINT head learns from",
            "calibration": "non-members that choose thresholds",
            "holdout": "non-members that are judged",
            "test": "labelled, for audited accuracy",
        }
        if self.split.judged_role == "test":
            purpose["test"] += "; also judged as non-members"
        counts = {name: len(role.indices) for name, role in self.split.roles.items()}
        return pd.DataFrame(
            [(name, count, purpose[name]) for name, count in counts.items() if count],
            columns=["role", "images", "purpose"],
        )


def prepare(settings: RunConfig) -> Data:
    """Load the run's dataset and split it into roles.

    Raises:
        DataError: the files are missing or damaged, or have too few images for the sizes.
    """
    dataset = datasets.load(settings.dataset, settings.data, settings.image_size)
    sizes = {role: getattr(settings, role) for role in _ROLES}
    # Defect 9: the published notebooks take no notice of GTSRB's tracks.
    tracks = settings.has("tracks_ignored")
    split = make_split(dataset, settings.protocol, sizes, settings.seed, ignore_tracks=tracks)
    return Data(settings, dataset, split)


def build(data: Data) -> EnhancedAuditedModel:
    """Build the Enhanced Audited Model with initial weights that follow from the seed.

    Raises:
        ModelError: model, taps or head do not fit the images or each other.
    """
    settings, dataset = data.settings, data.dataset
    classes = dataset.num_classes
    if (
        settings.has("hundred_outputs")
        and settings.model == "xception"
        and classes < _CLASSES_OF_DEFECT_8
    ):
        classes = _CLASSES_OF_DEFECT_8
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        audited = models.create(settings.model, dataset.channels, dataset.image_size, classes)
        taps = settings.taps or models.default_taps(settings.model, audited, settings.setup)
        return enhance(audited, taps, data.example, settings.head, settings.model)


def train(run: Run, data: Data, model: EnhancedAuditedModel) -> pd.DataFrame:
    """Train the model in place and return the history, one row per epoch.

    Goes on from the run's checkpoint where a run of the same code, settings and data was cut off,
    and loads the weights where it had ended.

    Raises:
        TrainingError: training diverged; the last good checkpoint is kept.
    """
    _check_same(run, data)
    settings, identity = run.settings, _identity(run.settings, data)
    finished = run.load_finished(identity)
    if finished:
        weights, history = finished
        model.load_state_dict(weights)
        print(f"Already trained with this code, settings and data: loaded {settings.id}.")
        return history
    run.clear()
    # Whatever the model has learnt before: a run starts from the weights that follow from its seed.
    model.load_state_dict(build(data).state_dict())
    with repeatable(settings):
        accelerator = open_accelerator(settings)
        model.to(accelerator.device, memory_format=torch.channels_last)
        fit = Fit(
            model=model,
            batches=_batches(settings, data, accelerator),
            step=ActiveStep(settings, lambda loss: accelerator.reduce(loss, "mean")),
            settings=settings,
            accelerator=accelerator,
            checkpoint=run.checkpoint,
            identity=identity,
            monitor=_monitor(data, model, accelerator.device),
        )
        history = fit.run()
        run.save_history(history)
        run.save_model(model, identity)
    return history


def score(run: Run, data: Data, model: EnhancedAuditedModel) -> pd.DataFrame:
    """Score every image of every role and write the table; see `evaluation.scores`."""
    _check_same(run, data)
    with repeatable(run.settings):
        accelerator = open_accelerator(run.settings)
        model.to(accelerator.device, memory_format=torch.channels_last)
        with accelerator.autocast():
            scores = score_images(
                model, data.dataset, data.split, run.settings.method, accelerator.device
            )
    run.save_scores(scores)
    return scores


def evaluate(
    run: Run,
    data: Data,
    model: EnhancedAuditedModel,
    history: pd.DataFrame,
    scores: pd.DataFrame,
) -> dict[str, Any]:
    """Judge the scores, and write the run's metrics and provenance."""
    _check_same(run, data)
    device = next(model.parameters()).device
    with repeatable(run.settings):
        hardware = provenance.hardware(device)
    metrics = {
        "run": {"id": run.settings.id, "settings": run.settings.model_dump(mode="json")},
        "data": _describe_data(data),
        **judge(scores, run.settings),
        "training": {
            "epochs": len(history),
            "best_epoch": best_epoch(history, run.settings),
            "seconds": round(float(history["seconds"].sum()), 1),
            "device": device.type,
            "hardware": hardware,
            "parameters": {
                "audited": parameter_count(model.audited),
                "head": parameter_count(model.head),
            },
            "taps": list(model.taps),
        },
    }
    run.save_results(metrics, _manifest(run, data, metrics["training"]))
    return metrics


def run_all(settings: RunConfig) -> dict[str, Any]:
    """Do a whole run without a notebook and return its metrics."""
    run = Run(settings)
    data = prepare(settings)
    model = build(data)
    history = train(run, data, model)
    return evaluate(run, data, model, history, score(run, data, model))


def best_epoch(history: pd.DataFrame, settings: RunConfig) -> int:
    """Return the epoch whose weights the run keeps: the last, or with patience the best."""
    if settings.patience:
        return int(history.loc[history["calibration_auc"].idxmax(), "epoch"])
    return int(history["epoch"].iloc[-1])


def stages(model: EnhancedAuditedModel, data: Data) -> pd.DataFrame:
    """List the audited model's stages with taps and sharing; see `mint.describe`."""
    example = data.example.to(next(model.parameters()).device)
    return describe(model, example)


def _check_same(run: Run, data: Data) -> None:
    if run.settings != data.settings:
        raise SettingsError(
            f"The data were prepared for {data.settings.id}, but the run is {run.settings.id}. Run "
            "the steps from `prepare` on again."
        )


def _batches(settings: RunConfig, data: Data, accelerator) -> JointBatches:
    members, external = data.split.roles["members"], data.split.roles["external"]
    if settings.batch_size % accelerator.num_processes:
        raise SettingsError(
            f"batch_size = {settings.batch_size} cannot be shared evenly by "
            f"{accelerator.num_processes} processes. Choose a multiple."
        )
    return JointBatches(
        images=getattr(data.dataset, members.part),
        members=members.indices,
        external=external.indices,
        size=settings.batch_size,
        seed=settings.seed,
        device=accelerator.device,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )


def _monitor(data: Data, model: EnhancedAuditedModel, device: torch.device):
    """Return a function for the AUC on what chooses thresholds: never on what is judged."""
    calibration = data.split.roles.get("calibration")
    if calibration is None or not len(calibration.indices):
        return None
    members = data.split.roles["members"]
    choosing = members.indices[~data.split.members_judged]

    def monitor() -> float:
        images = [getattr(data.dataset, role.part) for role in (members, calibration)]
        inside = membership_logits(model, images[0], choosing, device)
        outside = membership_logits(model, images[1], calibration.indices, device)
        if not (np.isfinite(inside).all() and np.isfinite(outside).all()):
            raise TrainingError(
                "Training diverged: scores of calibration images are no numbers. Try a lower "
                f"learning_rate (now {data.settings.learning_rate:g}) or precision = 'fp32'."
            )
        return auc(inside, outside)["value"]

    return monitor


def _identity(settings: RunConfig, data: Data) -> dict[str, Any]:
    return {
        "settings": settings.model_dump(mode="json", exclude={"profile"}),
        "code": provenance.code_fingerprint(),
        "data": data.dataset.fingerprint,
        "split": data.split.digest,
        "torch": provenance.versions()["torch"],
        "timm": provenance.versions()["timm"],
    }


def _describe_data(data: Data) -> dict[str, Any]:
    dataset, split = data.dataset, data.split
    return {
        "dataset": dataset.spec.name,
        "title": dataset.title,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "sizes": {name: len(role.indices) for name, role in split.roles.items()},
        "split": split.digest,
        "duplicates_removed": split.duplicates_removed,
        "image_size": dataset.image_size,
        "channels": dataset.channels,
        "classes": dataset.num_classes,
        "notes": list(dataset.notes),
    }


def _manifest(run: Run, data: Data, training: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": run.settings.id,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": provenance.versions(),
        "device": training["device"],
        "hardware": training["hardware"],
        "git": provenance.git_state(),
        "seed": run.settings.seed,
        **_identity(run.settings, data),
    }

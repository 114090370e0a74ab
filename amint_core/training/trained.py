"""Build a run's model and train it, or find it trained before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn

from amint_core import provenance
from amint_core.config import RunConfig
from amint_core.data.base import Dataset
from amint_core.data.prepare import Data
from amint_core.errors import SettingsError, TrainingError
from amint_core.evaluation.metrics import auc
from amint_core.model import zoo
from amint_core.model.inference import membership_logits
from amint_core.model.mint import EnhancedAuditedModel, enhance
from amint_core.training.active import ActiveStep
from amint_core.training.batches import Copies, JointBatches, batch_shape
from amint_core.training.device import chosen_precision, open_accelerator, repeatable
from amint_core.training.loop import Fit, Step
from amint_core.training.membership import MembershipStep
from amint_core.training.plain import PlainStep
from amint_core.training.store import Training, training_settings

_CLASSES_OF_DEFECT_8 = 100


def build(data: Data, seed: int | None = None) -> EnhancedAuditedModel:
    """Build the Enhanced Audited Model with initial weights that follow from the seed.

    Args:
        data: the run's data.
        seed: None: the run's own.

    Raises:
        ModelError: model, taps or head do not fit the images or each other.
    """
    settings = data.settings
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed if seed is None else seed)
        audited = _build_audited(data)
        taps = settings.taps or zoo.default_taps(settings.model, audited, settings.setup)
        return enhance(audited, taps, data.example, settings.head, settings.model)


def _build_audited(data: Data) -> nn.Module:
    """Build the audited model alone, with weights from PyTorch's present random state."""
    settings, dataset = data.settings, data.dataset
    classes = dataset.num_classes
    if settings.has("hundred_outputs") and settings.model == "xception":
        classes = max(classes, _CLASSES_OF_DEFECT_8)
    return zoo.create(settings.model, dataset.channels, dataset.image_size, classes)


def training_of(kind: str, data: Data) -> Training:
    """Return the training of `kind` (see `Method.training`) that a run's data and settings name."""
    return Training(
        {
            "training": training_settings(data.settings, kind),
            "data": data.dataset.fingerprint,
            "split": data.split.digest,
            **surroundings(data.settings),
        }
    )


def surroundings(settings: RunConfig) -> dict[str, str]:
    """Return what every training depends on besides its settings and data.

    What "auto" computes in here is part of it: another machine may take another precision.
    Not how many processes it has: a notebook, which is one, shows what several have trained.
    """
    versions = provenance.versions()
    return {
        "code": provenance.code_fingerprint(provenance.TRAINING),
        "torch": versions["torch"],
        "timm": versions["timm"],
        "computed_in": chosen_precision(settings.precision),
    }


def train_model(kind: str, data: Data, model: EnhancedAuditedModel) -> pd.DataFrame:
    """Train the model in place, or load what the same training gave before.

    Goes on from a checkpoint where the same training was cut off.

    Args:
        kind: "active"; "plain": the audited model alone, the head stays untrained; "passive":
            the head on the plain model; "passive_unseen": the same, from members that are not
            judged; "memorizer": trunk and head without classification.

    Returns:
        The history, one row per epoch.

    Raises:
        TrainingError: training diverged; the last good checkpoint is kept.
    """
    passive = kind.startswith("passive")
    if passive:
        train_model("plain", data, model)
    training = training_of(kind, data)
    trained = model.audited if kind == "plain" else model
    with training.alone():
        found = training.load()
        if found:
            weights, history = found
            trained.load_state_dict(weights)
            print(f"Already trained with this code, settings and data: loaded the {kind} model.")
            return history
        if not passive:
            # Whatever the model has learnt before: weights start as the seed says.
            model.load_state_dict(build(data).state_dict())
        with _frozen(model.audited, passive):
            history = _fit(kind, data, model, trained, training)
        training.save(trained, history)
    return history


def _fit(
    kind: str, data: Data, model: EnhancedAuditedModel, trained: nn.Module, training: Training
) -> pd.DataFrame:
    settings = data.settings
    with repeatable(settings):
        # Without the classification task, nothing behind the deepest tap is trained.
        accelerator = open_accelerator(settings, some_unused=kind == "memorizer")
        model.to(accelerator.device, memory_format=torch.channels_last)
        members, external = data.split.roles["members"], data.split.roles["external"]
        learnt = slice(None) if kind != "passive_unseen" else ~data.split.members_judged
        return Fit(
            model=trained,
            batches=batches_of(
                settings,
                data.dataset,
                members[learnt],
                external,
                accelerator,
                with_external=kind != "plain",
            ),
            step=step_of(kind, settings, accelerator),
            settings=settings,
            accelerator=accelerator,
            checkpoint=training.checkpoint,
            identity=training.identity,
            monitor=None if kind == "plain" else _monitor(data, model, accelerator.device),
            title=f"{kind}: {settings.id}",
        ).run()


def train_twin(
    kind: str,
    training: Training,
    settings: RunConfig,
    data: Data,
    members: np.ndarray,
    title: str,
) -> None:
    """Train a twin of the run's model on other members, for as many steps, and store it.

    Args:
        kind: "plain" or "active"; see `train_model`.
        training: where it is stored; the caller keeps it alone.
        settings: the run's settings with the seed of this model.
        data: the run's data.
        members: indices of the training set, as many as the run has members.
        title: what the progress bar says.
    """
    with repeatable(settings):
        model = build(data, settings.seed)
        trained = model.audited if kind == "plain" else model
        accelerator = open_accelerator(settings)
        trained.to(accelerator.device, memory_format=torch.channels_last)
        history = Fit(
            model=trained,
            batches=batches_of(
                settings,
                data.dataset,
                members,
                data.split.roles["external"],
                accelerator,
                with_external=kind != "plain",
            ),
            step=step_of(kind, settings, accelerator),
            settings=settings,
            accelerator=accelerator,
            checkpoint=training.checkpoint,
            identity=training.identity,
            monitor=None,
            title=title,
        ).run()
    training.save(trained, history)


@contextmanager
def _frozen(model: nn.Module, frozen: bool) -> Iterator[None]:
    """Fix the model's weights for a while."""
    model.requires_grad_(not frozen)
    try:
        yield
    finally:
        model.requires_grad_(True)


def step_of(kind: str, settings: RunConfig, accelerator: Accelerator) -> Step:
    """Return how a training of `kind` (see `Method.training`) turns a batch into a loss."""
    if kind == "active":
        return ActiveStep(settings, lambda loss: accelerator.reduce(loss, "mean"))
    if kind == "plain":
        return PlainStep(settings)
    return MembershipStep(frozen=kind.startswith("passive"))


def batches_of(
    settings: RunConfig,
    dataset: Dataset,
    members: np.ndarray,
    external: np.ndarray,
    accelerator: Accelerator,
    with_external: bool,
) -> JointBatches:
    """Return the batches of a training, this process's slice of each.

    Raises:
        SettingsError: the processes cannot share them evenly.
    """
    size, steps = batch_shape(len(members), len(external), settings.batch_size)
    world = accelerator.num_processes
    if world > 1 and (size % world or size == world):
        raise SettingsError(
            f"{world} processes cannot share batches of {size} members evenly, two or more each. "
            f"Choose a multiple of {world} for batch_size, {2 * world} or more and at most the "
            "members and external images."
        )
    return JointBatches(
        pixels=dataset.pixels,
        labels=dataset.labels,
        members=members,
        external=external if with_external else None,
        size=size,
        steps=steps,
        seed=settings.seed,
        device=accelerator.device,
        member_copies=Copies(settings.augment_members, settings.member_transformations),
        external_copies=Copies(settings.augment_external, settings.external_transformations),
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )


def _monitor(
    data: Data, model: EnhancedAuditedModel, device: torch.device
) -> Callable[[], float] | None:
    """Return a function for the AUC on what chooses thresholds: never on what is judged."""
    calibration = data.split.roles.get("calibration")
    if calibration is None or not len(calibration):
        return None
    choosing = data.split.roles["members"][~data.split.members_judged]

    def logits(indices: np.ndarray) -> np.ndarray:
        pixels = data.dataset.pixels
        return membership_logits(model, lambda rows: pixels[indices[rows]], len(indices), device)

    def monitor() -> float:
        inside = logits(choosing)
        outside = logits(calibration)
        if not (np.isfinite(inside).all() and np.isfinite(outside).all()):
            raise TrainingError(
                "Training diverged: scores of calibration images are no numbers. Try a lower "
                f"learning_rate (now {data.settings.learning_rate:g}) or precision = 'fp32'."
            )
        return auc(inside, outside)["value"]

    return monitor

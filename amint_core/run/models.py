"""Build a run's model and train it: from settings and data to arrays and numbers.

All of a trained model but its data, settings and library versions comes from here and from what
this imports: `trainings.py` takes its code fingerprint, so that a change here trains again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from sklearn.metrics import roc_auc_score
from torch import nn

from amint_core.errors import TrainingError
from amint_core.model import zoo
from amint_core.model.inference import membership_logits
from amint_core.model.mint import EnhancedAuditedModel, enhance
from amint_core.model.reading import trainable
from amint_core.recipes import SCALED_MINT_LOSS
from amint_core.run.staged import Record, fit_in_two_stages, in_memory
from amint_core.training.batches import Copies, JointBatches
from amint_core.training.cpu_bf16 import fast_operations
from amint_core.training.declared import declarations, sides
from amint_core.training.device import open_accelerator
from amint_core.training.kinds import Kind
from amint_core.training.loop import State, fit
from amint_core.training.precision import chosen_precision
from amint_core.training.repeatable import repeatable
from amint_core.training.step import Step

if TYPE_CHECKING:
    from amint_core.config import RunConfig
    from amint_core.data.base import Dataset
    from amint_core.data.prepare import Data

_CLASSES_OF_DEFECT_8 = 100


def build(data: Data, seed: int | None = None) -> EnhancedAuditedModel:
    """Build the Enhanced Audited Model with initial weights that follow from the seed.

    Args:
        data: the run's data.
        seed: None: the run's own.

    Raises:
        ModelError: model, taps or head do not fit the images or each other.
    """
    settings, dataset = data.settings, data.dataset
    classes = dataset.num_classes
    if settings.has("hundred_outputs") and settings.model == "xception":
        classes = max(classes, _CLASSES_OF_DEFECT_8)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed if seed is None else seed)
        audited = zoo.create(settings.model, dataset.channels, dataset.image_size, classes)
        taps = taps_of(settings, audited)
        head = settings.head, settings.model, settings.head_width
        more = {"low_pass": settings.low_pass, "count": settings.head_count}
        return enhance(audited, taps, data.example, *head, **more)


def taps_of(settings: RunConfig, audited: nn.Module) -> Sequence[str]:
    """Return the modules of a run's model that the head reads, the shallower first."""
    return settings.taps or zoo.default_taps(settings.model, audited, settings.setup)


def fit_model(
    kind: Kind,
    data: Data,
    model: EnhancedAuditedModel,
    members: np.ndarray,
    *,
    monitor: Callable[[torch.device], float] | None,
    resume: State | None,
    keep: Callable[[State], None],
    title: str,
    record: Record = in_memory,
) -> pd.DataFrame:
    """Train a model in place, as a run's settings say.

    Args:
        kind: what is trained, and how.
        data: images, external ones among them, and settings.
        model: the model, its weights as they are to start from.
        members: indices of the training set.
        monitor: device → AUC on the calibration images; None: there are none.
        resume: where an earlier training was cut off; None: from the start.
        keep: takes the state after each epoch.
        title: what the progress bar says.
        record: makes the activations of a second stage.

    Returns:
        The history, one row per epoch.

    Raises:
        SettingsError: device or processes do not fit the settings.
        TrainingError: training diverged; the last state that `keep` took is good.
        CacheError: activations of a second stage cannot be recorded.
    """
    settings = data.settings
    with repeatable(settings.cpu_threads), trainable(model.audited, kind.trains != "head"):
        accelerator = open_accelerator(settings.precision, some_unused=kind.leaves_some_out)
        model.to(accelerator.device, memory_format=torch.channels_last)
        if settings.head_epochs:
            half = chosen_precision(settings.precision) == "bf16"
            with fast_operations():
                given = kind, data, model, members
                kept = {"resume": resume, "keep": keep, "title": title, "record": record}
                return fit_in_two_stages(*given, half=half, **kept)
        return fit(
            kind.part(model),
            batches_of(kind, data, members, accelerator),
            step_of(kind, settings, accelerator),
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            schedule=settings.schedule,
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            patience=settings.patience,
            accelerator=accelerator,
            monitor=monitor and (lambda: monitor(accelerator.device)),
            resume=resume,
            keep=keep,
            title=title,
        )


def step_of(kind: Kind, settings: RunConfig, accelerator: Accelerator) -> Step:
    """Return how a run's training of `kind` turns a batch into a loss."""
    scale = SCALED_MINT_LOSS.get(settings.dataset, 1.0) if settings.has("scaled_mint_loss") else 1.0
    return Step(
        kind,
        weights={"audited": settings.lambda_audited, "mint": settings.lambda_mint * scale},
        mean=lambda loss: accelerator.reduce(loss, "mean"),
        # The published notebooks froze it by measuring the accuracy of classification.
        frozen_batchnorm=settings.has("frozen_batchnorm") and kind.reads_logits,
        separate_batches=settings.has("separate_batches"),
        first_batch_balance=settings.has("first_batch_balance"),
    )


def batches_of(
    kind: Kind, data: Data, members: np.ndarray, accelerator: Accelerator
) -> JointBatches:
    """Return the batches of a training of `kind` on `members`, this process's slice of each.

    Raises:
        SettingsError: the processes cannot share them evenly.
    """
    told, external, judged = None, data.split.roles["external"], data.split.judged_members
    if kind.trains == "head":
        members, external = sides(kind, members, external, judged)
    else:
        told = declarations(kind, members, judged)
    return joint_batches(
        kind, data.settings, data.dataset, members, external, accelerator, declared=told
    )


def joint_batches(
    kind: Kind,
    settings: RunConfig,
    dataset: Dataset,
    members: np.ndarray,
    external: np.ndarray,
    accelerator: Accelerator,
    declared: np.ndarray | None = None,
) -> JointBatches:
    """Return the batches of a training of `kind`, this process's slice of each.

    Args:
        kind: what is trained, and how.
        settings: sizes, copies and seed.
        dataset: what the rows point into.
        members: (M,) rows of the training set.
        external: (E,) rows of the external images.
        accelerator: the device, and which of the processes this is.
        declared: see `JointBatches`.

    Raises:
        SettingsError: the processes cannot share them evenly.
    """
    return JointBatches(
        pixels=dataset.pixels,
        labels=dataset.labels,
        hashes=dataset.hashes,
        members=members,
        external=external,
        with_external=kind.with_external,
        batch_size=settings.batch_size,
        seed=settings.seed,
        device=accelerator.device,
        member_copies=Copies(settings.augment_members, settings.member_transformations),
        external_copies=Copies(settings.augment_external, settings.external_transformations),
        declared=declared,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )


def monitor_of(data: Data, model: EnhancedAuditedModel) -> Callable[[torch.device], float] | None:
    """Return a function for the AUC on what chooses thresholds: never on what is judged."""
    calibration = data.split.roles.get("calibration")
    if calibration is None or not len(calibration):
        return None
    choosing = data.split.roles["members"][~data.split.members_judged]

    def logits(indices: np.ndarray, device: torch.device) -> np.ndarray:
        pixels = data.dataset.pixels
        return membership_logits(model, lambda rows: pixels[indices[rows]], len(indices), device)

    def monitor(device: torch.device) -> float:
        inside, outside = logits(choosing, device), logits(calibration, device)
        if not (np.isfinite(inside).all() and np.isfinite(outside).all()):
            raise TrainingError(
                "Training diverged: scores of calibration images are no numbers. Try a lower "
                f"learning_rate (now {data.settings.learning_rate:g}) or precision = 'fp32'."
            )
        member = np.repeat([True, False], [len(inside), len(outside)])
        return float(roc_auc_score(member, np.concatenate([inside, outside])))

    return monitor

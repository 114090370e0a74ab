"""Both stages of a run that asks for them, from plain values; see `trunk` and `head_stage`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from amint_core.datasets.base import Images
from amint_core.mint import EnhancedAuditedModel
from amint_core.training.activations import record, recorded_on_disk
from amint_core.training.head_stage import parts_of, train_head
from amint_core.training.resident import Resident
from amint_core.training.trunk import Joint, Schedule, train_trunk

RAMP = 0.1  # share of the first stage's steps over which its rates rise
#: Kinds of training that have two stages, or the first of them.
KINDS = ("active", "attached", "joint", "plain")


@dataclass(frozen=True)
class Stages:
    """What both stages learn from, and how.

    Attributes:
        joint, trunk: losses and schedule of the first stage.
        head: schedule of the second.
        copies: recorded copies of each external image.
        moves: what may happen to a copy.
    """

    joint: Joint
    trunk: Schedule
    head: Schedule
    copies: int
    moves: tuple[str, ...]


def stages_of(kind: str, settings: Any, half: bool, graph: bool = True) -> Stages:
    """Read both stages from a run's settings.

    Args:
        kind: of the first stage; see `trunk.Joint`.
        settings: has the settings of config.py as attributes.
        half: compute in bf16.
        graph: capture steps as CUDA graphs, where there is a GPU.
    """
    moves = tuple(settings.external_transformations)
    shared = {"seed": settings.seed, "half": half, "graph": graph}
    return Stages(
        joint=Joint(
            kind=kind,
            lambda_mint=settings.lambda_mint,
            smoothing=settings.label_smoothing,
            moves=tuple(settings.member_transformations),
            external_moves=moves,
            moved_members=settings.augment_members,
            moved_external=settings.augment_external,
        ),
        trunk=Schedule(
            epochs=settings.epochs,
            batch=settings.batch_size,
            muon=settings.matrix_rate if settings.optimizer == "muon" else 0.0,
            adam=settings.learning_rate,
            decay=settings.weight_decay,
            ramp=RAMP,
            **shared,
        ),
        head=Schedule(
            epochs=settings.head_epochs,
            batch=settings.head_batch,
            muon=settings.head_rate,
            **shared,
        ),
        copies=settings.head_copies if moves else 0,
        moves=moves,
    )


def fit(
    kind: str,
    model: EnhancedAuditedModel,
    images: Images,
    members: np.ndarray,
    external: np.ndarray,
    stages: Stages,
    device: torch.device,
    data: str,
    title: str = "",
) -> pd.DataFrame:
    """Train the model in place and return the history, one row per epoch of either stage.

    Args:
        kind: "active": both stages; "attached": the second alone, on the trunk as it is; "joint",
            "plain": the first alone.
        model: audited model and head, on `device`.
        images: what both roles index.
        members: (M,) indices.
        external: (E,) indices; of "plain" their number alone counts.
        stages: how both learn.
        device: where it computes.
        data: names the images and roles in the cache of activations.
        title: what the progress bars say.

    Raises:
        TrainingError: training diverged.
        CacheError: the activations would not fit on the disk.
    """
    both = np.concatenate([members, external])
    resident = Resident.of(images.pixels[both], images.labels[both], device)
    rows = torch.arange(len(both), device=device)
    of_members, of_external = rows[: len(members)], rows[len(members) :]
    history = []
    if kind != "attached":
        history = train_trunk(
            model, resident, of_members, of_external, stages.joint, stages.trunk, title
        )
    if kind in ("active", "attached"):
        parts = parts_of(of_members, of_external, stages.copies, stages.moves)
        given = (model.audited, model.taps, resident, parts)
        half, seed = stages.head.half, stages.head.seed
        if device.type == "cuda":
            recording = record(*given, seed, half=half)
        else:
            recording = recorded_on_disk(*given, data, seed, half=half)
        sizes = (len(members), len(external), stages.copies)
        rows_of_head = train_head(
            model.head, model.taps, recording, *sizes, stages.head, f"{title}, head"
        )
        history += [{**row, "epoch": len(history) + row["epoch"]} for row in rows_of_head]
    table = pd.DataFrame(history)
    return table.assign(calibration_auc=np.nan, learning_rate=np.nan)

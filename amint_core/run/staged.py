"""Training in two stages as a run's settings say: the model, then its head on activations.

Images stay on the device. `amint run` comes here for one run; `amint grid` takes the parts, since
there one model serves several heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from amint_core.errors import SettingsError
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.training.activations import Part, Recording, record
from amint_core.training.batches import Copies
from amint_core.training.device import processes
from amint_core.training.head_stage import parts_of, train_head
from amint_core.training.kinds import Kind
from amint_core.training.replay import Schedule, Watch
from amint_core.training.resident import Resident
from amint_core.training.transcript import order_digest, state_digest
from amint_core.training.trunk import Objective, train_trunk

if TYPE_CHECKING:
    from amint_core.config import RunConfig
    from amint_core.data.prepare import Data

RAMP = 0.1  # share of the first stage's steps over which its rates rise

#: As `activations.record`, given the dataset's fingerprint besides.
Record = Callable[..., Recording]


def objective_of(kind: Kind, settings: RunConfig) -> Objective:
    """Return what the first stage of a run learns."""
    return Objective(
        kind=kind,
        weights={"audited": settings.lambda_audited, "mint": settings.lambda_mint},
        smoothing=settings.label_smoothing,
        member_copies=Copies(settings.augment_members, settings.member_transformations),
        external_copies=Copies(settings.augment_external, settings.external_transformations),
    )


def first_schedule(settings: RunConfig, half: bool, graph: bool = True) -> Schedule:
    """Return how long and how fast the first stage of a run learns.

    Args:
        half: compute in bf16.
        graph: capture steps as CUDA graphs, where there is a GPU.
    """
    return Schedule(
        epochs=settings.epochs,
        batch=settings.batch_size,
        muon=settings.matrix_rate if settings.optimizer == "muon" else 0.0,
        adam=settings.learning_rate,
        decay=settings.weight_decay,
        ramp=RAMP,
        seed=settings.seed,
        half=half,
        graph=graph,
    )


def second_schedule(settings: RunConfig, half: bool, graph: bool = True) -> Schedule:
    """Return how long and how fast the second stage of a run learns; see `first_schedule`."""
    return Schedule(
        epochs=settings.head_epochs,
        batch=settings.head_batch,
        muon=settings.head_rate,
        seed=settings.seed,
        half=half,
        graph=graph,
    )


def copies_of(settings: RunConfig) -> int:
    """Return how many copies of each external image a head learns from."""
    return settings.head_copies if settings.external_transformations else 0


@dataclass(frozen=True)
class Stages:
    """Both stages of one training.

    Attributes:
        kind: what is trained.
        data: images, external ones among them, and settings.
        model: on its device, its weights as they are to start from.
        members: indices of the training set.
        half: compute in bf16.
        title: what the progress bars say.
        record: makes the activations that the head learns from.
    """

    kind: Kind
    data: Data
    model: EnhancedAuditedModel
    members: np.ndarray
    half: bool
    title: str
    record: Record = lambda *given, fingerprint, **more: record(*given, **more)

    def fit(self) -> pd.DataFrame:
        """Train the model in place and return the history, one row per epoch of either stage.

        Raises:
            SettingsError: several processes were to train it.
            TrainingError: training diverged.
        """
        if processes().num_processes > 1:
            raise SettingsError(
                "Training in two stages takes one process: a step is short. Start it without "
                "accelerate launch, or set head_epochs = 0."
            )
        dataset, device = self.data.dataset, next(self.model.parameters()).device
        images = Resident.of(dataset.pixels, dataset.labels, device)
        indices = self.members, self.data.split.roles["external"]
        members, external = (torch.from_numpy(index).to(device) for index in indices)
        history: list[dict[str, Any]] = []
        if self.kind.trains != "head":
            history += self._first(images, members, external)
        if self.kind.has_head:
            history += self._second(images, members, external, len(history))
        return pd.DataFrame(history).assign(calibration_auc=np.nan)

    def _first(self, images: Resident, members: Tensor, external: Tensor) -> list[dict[str, Any]]:
        settings = self.data.settings
        rows = train_trunk(
            self.model,
            images,
            members,
            external,
            objective_of(self.kind, settings),
            first_schedule(settings, self.half),
            title=self.title,
            watch=self._watch(torch.arange(len(images.labels))),
        )
        return [{"stage": "trunk", **row} for row in rows]

    def _second(
        self, images: Resident, members: Tensor, external: Tensor, epochs: int
    ) -> list[dict[str, Any]]:
        settings, taps = self.data.settings, self.model.taps
        copies = copies_of(settings)
        parts = parts_of(members, external, copies, settings.external_transformations)
        recording = self.record(
            self.model.audited,
            taps,
            images,
            parts,
            settings.seed,
            half=self.half,
            fingerprint=self.data.dataset.fingerprint,
        )
        rows = train_head(
            self.model.head,
            taps,
            recording,
            len(members),
            len(external),
            copies,
            second_schedule(settings, self.half),
            title=f"{self.title}, head",
            watch=self._watch(_rows_of(parts)),
        )
        return [{"stage": "head", **row, "epoch": epochs + row["epoch"]} for row in rows]

    def _watch(self, numbers: Tensor) -> Watch:
        """Return what notes an epoch's images, `numbers` of which its rows are, and its weights."""
        hashes = self.data.dataset.hashes

        def watch(rows: Tensor) -> dict[str, str]:
            seen = numbers[rows.cpu()].numpy()
            weights = state_digest(self.model.state_dict())
            return {"order": order_digest(hashes[line] for line in seen), "state": weights}

        return watch


def _rows_of(parts: list[Part]) -> Tensor:
    return torch.cat([part.rows for part in parts]).cpu()

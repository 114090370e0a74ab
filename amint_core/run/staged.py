"""Training in two stages as a run's settings say: the model, then its head on activations.

Images stay on the device. `amint run` comes here for one run; `amint grid` takes the parts, since
there one model serves several heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from amint_core.errors import SettingsError
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.training import activations
from amint_core.training.activations import Recording
from amint_core.training.batches import Copies
from amint_core.training.declared import declarations, sides
from amint_core.training.distributed import processes
from amint_core.training.head_stage import parts_of, train_head
from amint_core.training.kinds import Kind
from amint_core.training.loop import State
from amint_core.training.resident import Resident
from amint_core.training.resident_loop import (
    NOBODY,
    START,
    Schedule,
    StageState,
    Watch,
    counted_on,
)
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


def in_memory(*given: Any, fingerprint: str, **more: Any) -> Recording:
    """Record activations and keep them nowhere else; see `activations.record`."""
    return activations.record(*given, **more)


def fit_in_two_stages(
    kind: Kind,
    data: Data,
    model: EnhancedAuditedModel,
    members: np.ndarray,
    *,
    half: bool,
    title: str,
    record: Record = in_memory,
    resume: State | None = None,
    keep: Callable[[State], None] = lambda state: None,
) -> pd.DataFrame:
    """Train a model in place and return the history, one row per epoch of either stage.

    Args:
        kind: what is trained.
        data: images, external ones among them, and settings.
        model: on its device, its weights as they are to start from.
        members: indices of the training set.
        half: compute in bf16.
        title: what the progress bars say.
        record: makes the activations that the head learns from.
        resume: where an earlier training was cut off; None: from the start.
        keep: takes the state after each epoch.

    Raises:
        SettingsError: several processes were to train it.
        TrainingError: training diverged; the last state that `keep` took is good.
    """
    if processes().num_processes > 1:
        raise SettingsError(
            "Training in two stages takes one process: a step is short. Start it without "
            "accelerate launch, or set head_epochs = 0."
        )
    settings, dataset, device = data.settings, data.dataset, next(model.parameters()).device
    images = Resident.of(dataset.pixels, dataset.labels, device)
    external, judged = data.split.roles["external"], data.split.judged_members
    inside, outside = (torch.from_numpy(index).to(device) for index in (members, external))
    history: list[dict[str, Any]] = []
    part = kind.part(model)
    start, kept = put_back(part, resume), keeping(part, keep)
    if kind.trains != "head":
        objective, told = objective_of(kind, settings), declarations(kind, members, judged)
        if told is not None:
            objective = replace(objective, declared=torch.from_numpy(told).to(device))
        given = objective, first_schedule(settings, half)
        begun, column = start.part(0, settings.epochs), {"stage": "trunk"}
        watch = watch_of(dataset.hashes, model, kept).of_part([], column)
        rows = train_trunk(model, images, inside, outside, *given, title, watch, begun)
        history = counted_on([], rows, column)
    if kind.has_head:
        copies, indices = copies_of(settings), sides(kind, members, external, judged)
        inside, outside = (torch.from_numpy(index).to(device) for index in indices)
        parts = parts_of(inside, outside, copies, settings.external_transformations)
        given = model.audited, model.taps, images, parts, settings.seed
        recording = record(
            *given, half=half, low_pass=model.low_pass, fingerprint=dataset.fingerprint
        )
        recorded_rows = torch.cat([part.rows for part in parts]).cpu().numpy()
        begun, column = start.part(len(history)), {"stage": "head"}
        watch = watch_of(dataset.hashes[recorded_rows], model, kept).of_part(history, column)
        given = model.head, model.taps, recording, len(inside), len(outside), copies
        given = *given, second_schedule(settings, half), f"{title}, head", watch, begun
        history = counted_on(history, train_head(*given), column)
    return pd.DataFrame(history).assign(calibration_auc=np.nan)


def watch_of(
    hashes: np.ndarray, trained: nn.Module, state: Callable[[StageState], None] = NOBODY.state
) -> Watch:
    """Return what adds the hashes of images and weights to each row of a history.

    Args:
        hashes: (N,) content hashes of the images that the rows of a stage's plan count.
        trained: the module whose weights are hashed.
        state: see `Watch`.
    """

    def hashed(rows: Tensor) -> dict[str, str]:
        order = order_digest(hashes[line] for line in rows.cpu().numpy())
        return {"order": order, "state": state_digest(trained.state_dict())}

    return Watch(epoch=hashed, state=state)


def put_back(trained: nn.Module, state: State | None) -> StageState:
    """Put a state's weights and buffers into what is trained, and return the rest; None: nothing
    was trained yet."""
    if state is None:
        return START
    trained.load_state_dict(state.model)
    return StageState(state.history, state.optimizer, state.scales, state.random)


def keeping(trained: nn.Module, keep: Callable[[State], None]) -> Callable[[StageState], None]:
    """Return what hands over the whole state, with the weights and buffers of what is trained."""

    def whole(state: StageState) -> None:
        keep(
            State(
                epoch=len(state.history),
                model=dict(trained.state_dict()),
                optimizer=dict(state.optimizer),
                scales=dict(state.scales),
                history=list(state.history),
                random=dict(state.random),
            )
        )

    return whole

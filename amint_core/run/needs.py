"""Tell from a run's settings alone which trainings it needs, and which runs share one.

Neither a dataset nor PyTorch is loaded for it: a grid of hundreds of runs is asked at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from amint_core.config import RunConfig, settings_of
from amint_core.data import DATASETS
from amint_core.methods import METHODS
from amint_core.recipes import defects_of
from amint_core.training.kinds import KINDS, Kind


def kind_of(settings: RunConfig) -> Kind:
    """Return the kind of training that a run's method tests: its own, or that of the target."""
    return METHODS[settings.method].training or KINDS[settings.target]


def shadow_kind(settings: RunConfig) -> Kind:
    """Return the kind of a run's shadow models."""
    target = KINDS[settings.target]
    return target.shadows or target


def training_settings(settings: RunConfig, kind: Kind) -> dict[str, Any]:
    """Return what a training of `kind` is, and the settings that it depends on.

    Roles and protocol count through the digest of the split, the dataset through its fingerprint.
    """
    parts = ("model", "head") if kind.with_external else ("model",)
    values = settings.model_dump(mode="json", include=set(settings_of(*parts)))
    # Defects of the balance between two losses do not affect a kind with one loss.
    defects = defects_of("model", "head") if len(kind.losses) > 1 else defects_of("model")
    kept = sorted(set(defects) & set(settings.defects))
    # The length of the second stage does not affect the model of the first; that there is a
    # second stage does, since the first is then trained by another loop.
    stages = {"stages": 2} if settings.head_epochs else {}
    # Two kinds of one name may differ, so that a kind is identified by all that it consists of.
    described = {
        "kind": kind.name,
        "trains": kind.trains,
        "declares": kind.declares,
        "losses": [f"{loss.name} of {loss.reads}" for loss in kind.losses],
    }
    if kind.starts_from is not None:
        described["starts_from"] = training_settings(settings, kind.starts_from)
    return {**described, **values, **stages, "defects": kept, "dataset": settings.dataset}


def training_key(settings: RunConfig, kind: Kind) -> str:
    """Return the same text for the same training, as settings can tell it.

    It stands for the name of the training's folder, which only the dataset's fingerprint would
    tell.
    """
    values = training_settings(settings, kind)
    values |= {f"data {name}": getattr(settings, name) for name in settings_of("data")}
    values["data image_size"] = settings.image_size or DATASETS[settings.dataset].image_size
    values["tracks"] = settings.has("tracks_ignored")
    return json.dumps(values, sort_keys=True)


def trainings_needed(settings: RunConfig) -> tuple[str, ...]:
    """Return the keys of all trainings of a run, in the order that it needs them."""
    own, kind = [], kind_of(settings)
    while kind is not None:
        own.insert(0, training_key(settings, kind))
        kind = kind.starts_from
    count = METHODS[settings.method].shadows_used(settings.shadows)
    shadow = training_key(settings, shadow_kind(settings))
    return *own, *(f"{shadow} shadow {number}" for number in range(count))


def trained_by(needed: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return training → the first of the runs that needs it: it trains, the others wait.

    Args:
        needed: run id → keys of its trainings, as from `trainings_needed`.
    """
    first: dict[str, str] = {}
    for run, trainings in needed.items():
        for one in trainings:
            first.setdefault(one, run)
    return first


def workers_of(settings: RunConfig) -> int:
    """Return how many processes of a run train at once: no more than it has shadow models."""
    return max(1, min(settings.workers, METHODS[settings.method].shadows_used(settings.shadows)))

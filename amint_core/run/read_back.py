"""Read the files of a finished or interrupted training, and refuse those that no training writes.

The type of the error depends on the library that reads the file; `store.read_or_set_aside` takes
any of them to mean that the file is damaged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from amint_core.training.loop import State

#: Key of what trained them, in what stored weights tell of their training.
MACHINE = "machine"
UNKNOWN = dict.fromkeys(("device", "hardware", "processes"), "unknown")
#: What older states lack.
_ADDED = {"random"}
_ALWAYS = {"epoch", "calibration_auc", "seconds", "order", "state"}
#: Columns of a history in one stage, in two, and of several heads, besides those of its losses.
_HISTORIES = (_ALWAYS | {"learning_rate"}, _ALWAYS | {"stage"}, _ALWAYS | {"stage", "head"})


def read_weights(file: Path, part: nn.Module | None) -> dict[str, Tensor]:
    """Read weights, and check that they fit the module `part`; None: they are for no module yet."""
    weights = load_file(file)
    _check_fit(weights, part)
    return weights


def read_identity(file: Path) -> dict[str, Any]:
    """Read what stored weights depend on, see `trainings.identity`; {} where none is told."""
    return {name: value for name, value in _told(file).items() if name != MACHINE}


def read_machine(file: Path) -> dict[str, Any]:
    """Read what trained stored weights, see `trainings.machine_of`.

    Files from before it was written down say "unknown" of each.
    """
    return _told(file).get(MACHINE, UNKNOWN)


def _told(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as stored:
        return dict(json.loads((stored.metadata() or {}).get("amint", "{}")))


def read_history(file: Path) -> pd.DataFrame:
    """Read a history, one row per epoch."""
    history = pd.read_csv(file)
    rest = columns_besides_losses(history)
    numbers = history[["epoch", "seconds", "calibration_auc"]].dtypes
    if rest not in _HISTORIES or not len(history) or any(one.kind not in "if" for one in numbers):
        raise ValueError("no history of a training")
    return history


def columns_besides_losses(history: pd.DataFrame) -> set[str]:
    """Return a history's columns but for those of losses, each of which has an accuracy.

    Raises:
        ValueError: one of the two is missing.
    """
    ends = ("_loss", "_accuracy")
    losses, accuracies = (
        {name.removesuffix(end) for name in history if name.endswith(end)} for end in ends
    )
    if not losses or losses != accuracies:
        raise ValueError("a loss without its accuracy, or the reverse")
    return {name for name in history if not name.endswith(ends)}


def read_state(file: Path, part: nn.Module | None) -> State:
    """Read the state that a training goes on from; see `read_weights`."""
    # weights_only: a checkpoint from elsewhere runs no code.
    content = torch.load(file, map_location="cpu", weights_only=True)
    names = {one.name for one in fields(State)}
    if not names - _ADDED <= set(content) <= names:
        raise ValueError("no state of a training")
    state = State(**content)
    _check_fit(state.model, part)
    return state


def _check_fit(weights: Mapping[str, Tensor], part: nn.Module | None) -> None:
    """Refuse weights with other names or shapes than those of the model they are for."""
    own = weights if part is None else part.state_dict()
    if {name: one.shape for name, one in weights.items()} != {n: w.shape for n, w in own.items()}:
        raise ValueError("weights of another model")

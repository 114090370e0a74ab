"""One file from which a run goes on exactly where it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from amint_core.errors import ResultsError
from amint_core.files import atomic_path


@dataclass
class Checkpoint:
    """The state after a whole epoch.

    Attributes:
        identity: settings, code, data and split it belongs to; another identity is never resumed.
        epoch: epochs done.
        model: weights and buffers.
        optimizer: the optimiser's state.
        scheduler: the learning-rate schedule's state.
        scales: the loss balance's scales.
        scaler: the state of fp16's gradient scaler; empty for the other precisions.
        history: one row per epoch.
        best: epoch with the best AUC on calibration so far (0: none).
        best_model: its weights, kept only where early stopping may need them.
    """

    identity: dict[str, Any]
    epoch: int
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    scales: dict[str, torch.Tensor]
    history: list[dict[str, float]]
    scaler: dict[str, Any] = field(default_factory=dict)
    best: int = 0
    best_model: dict[str, torch.Tensor] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically: after a crash the one before is still there."""
        with atomic_path(path) as temporary:
            torch.save({name: getattr(self, name) for name in self.__dataclass_fields__}, temporary)

    @classmethod
    def load(cls, path: Path, identity: dict[str, Any]) -> Checkpoint | None:
        """Read a checkpoint of the same identity; None where there is none.

        Raises:
            ResultsError: the file is damaged.
        """
        if not path.is_file():
            return None
        try:
            # weights_only: a checkpoint from elsewhere runs no code.
            found = cls(**torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch, pickle and zip each have errors of their own
            raise ResultsError(
                f"The checkpoint {path} cannot be read ({type(error).__name__}). "
                "Delete it to start over."
            ) from error
        return found if found.identity == identity else None

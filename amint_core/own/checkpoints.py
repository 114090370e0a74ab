"""Where the training of one's own model is kept while it goes on, and what it depends on."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amint_core import provenance
from amint_core.config import RunConfig
from amint_core.errors import DamagedError, ResultsError
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.own import code
from amint_core.own.deal import Roles
from amint_core.run.folder import EPOCHS
from amint_core.run.needs import training_settings
from amint_core.run.trainings import Training, state_file
from amint_core.store import read_or_set_aside, read_sealed, remove, stored, write_sealed
from amint_core.training.kinds import Kind
from amint_core.training.loop import State
from amint_core.training.precision import chosen_precision
from amint_core.training.transcript import state_digest

#: Where the code begins that a trained model depends on, besides the model's own.
_TRAINING = ("amint_core.run.models", "amint_core.own.batches")
_HEAD = ("amint_core.training.head_stage", "amint_core.own.batches")
_IDENTITY, _CONTROL = "identity.json", "control.pt"


@dataclass
class OwnTraining(Training):
    """A training whose state lies in the model's folder, or in the cache where there is none.

    Attributes:
        place: the model's folder, or None.
        start: digest of the weights that it starts from.
    """

    place: Path | None = None
    start: str = ""

    @property
    def folder(self) -> Path:
        """The training's own folder."""
        if self.place is not None:
            return self.place / "training"
        text = json.dumps([self.identity, self.start], sort_keys=True)
        kept = hashlib.sha256(text.encode()).hexdigest()
        return Training({"own": kept}).folder

    @property
    def epochs(self) -> Path:
        """Where states are kept for a replay: in the model's folder, for as long as that is."""
        return super().epochs if self.place is None else self.place / EPOCHS

    def keep_start(self, model: EnhancedAuditedModel) -> None:
        """Keep the weights that the training starts from: they follow from no seed."""
        with stored(state_file(self.epochs, 0)) as temporary:
            torch.save(vars(State(model=dict(model.state_dict()))), temporary)

    def keep_control(self, alone: nn.Module) -> None:
        """Keep the weights of the classifier that was trained alone, until the card is written."""
        with stored(self.folder / _CONTROL) as temporary:
            torch.save(dict(alone.state_dict()), temporary)

    def control(self) -> dict[str, Tensor] | None:
        """Return what `keep_control` kept; None where there is nothing, or it is damaged."""
        return read_or_set_aside(self.folder / _CONTROL, partial(torch.load, weights_only=True))

    def begin(self, anew: bool) -> bool:
        """Clear what another training, or one that is to be done anew, has left in the folder.

        Weights that a model starts from are often random: who comes back with others goes on with
        the training that was cut off, and is told so.

        Returns:
            Whether it starts from the weights given.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self._before()
        if anew or before.get("identity") != self.identity:
            for one in self.folder.iterdir():
                if one.is_dir():  # what a write that was killed has left
                    shutil.rmtree(one)
                elif one.name != ".lock":
                    one.unlink()
            if self.place is not None:
                shutil.rmtree(self.epochs, ignore_errors=True)
        elif before["start"] != self.start and (self.checkpoint.is_file() or self.is_done()):
            print(
                "This training began from other weights than those given now, and goes on. To "
                "start from these: anew=True."
            )
            self.start = before["start"]
            return False
        if before.get("start") != self.start:
            remove(self.folder / _CONTROL)
        write_sealed(self.folder / _IDENTITY, {"identity": self.identity, "start": self.start})
        return True

    def _before(self) -> dict[str, Any]:
        try:
            return read_sealed(self.folder / _IDENTITY)
        except (ResultsError, DamagedError):
            return {}

    def end(self) -> None:
        """Remove what the finished model's folder does not need."""
        if self.place is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def identity(
    model: EnhancedAuditedModel, roles: Roles, kind: Kind, settings: RunConfig
) -> dict[str, Any]:
    """Return everything that a trained model depends on but the weights that it starts from."""
    joint = kind.trains == "all"
    sha = hashlib.sha256()
    for role, rows in roles.rows.items():
        if role in ("members", "external"):
            sha.update(f"{role} {len(rows)}\n".encode())
            sha.update(roles.dataset.hashes[rows].tobytes())
            sha.update(roles.dataset.labels[rows].astype("<i8").tobytes() if joint else b"")
    found = {
        "training": training_settings(settings, kind),
        "images": sha.hexdigest(),
        "preprocessing": roles.preprocessing.record(),
        "taps": list(model.taps),
        "head": code.digest(model.head),
        "model": code.digest(model.audited),
        "frozen": [name for name, p in model.audited.named_parameters() if not p.requires_grad],
        "code": provenance.code_fingerprint(*(_TRAINING if joint else _HEAD)),
        **provenance.libraries(),
        "computed_in": chosen_precision(settings.precision),
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }
    return json.loads(json.dumps(found))  # as it is read again


def start_of(model: EnhancedAuditedModel) -> str:
    """Return the digest of the weights that a training starts from."""
    return state_digest(model.audited.state_dict())

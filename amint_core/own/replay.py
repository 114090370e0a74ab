"""Replay a training of `fit` from its folder: its transcript, its kept states, the images again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from amint_core.audit.model_folder import load
from amint_core.audit.preprocessing import Preprocessing
from amint_core.audit.replay import Replayed, drawn, trained_again
from amint_core.audit.replayed_run import elsewhere, require_signed, states_in
from amint_core.audit.statement import Statement
from amint_core.config import RunConfig
from amint_core.errors import DamagedError, ModelError, ResultsError, SettingsError
from amint_core.locations import given_path, shown
from amint_core.memory import enough_memory
from amint_core.own.checkpoints import identity
from amint_core.own.deal import brought_together
from amint_core.own.finishing import HISTORY
from amint_core.own.fit import train
from amint_core.run.folder import EPOCHS
from amint_core.run.read_back import read_history
from amint_core.settings import of_ones_own
from amint_core.training.kinds import ACTIVE
from amint_core.training.loop import State
from amint_core.training.transcript import state_digest


@enough_memory()
def replay(
    folder: Path | str,
    members: Any,
    external: Any,
    calibration: Any = None,
    holdout: Any = None,
    *,
    model: nn.Module | None = None,
    preprocessing: Preprocessing | None = None,
    epochs: int = 3,
    signed: Statement | None = None,
) -> Replayed:
    """Draw epochs of a training by lot, train them again, compare hashes.

    Args:
        folder: as `fit` wrote it with `keep_epochs`.
        members, external: the listed images, as they were given to `fit`.
        calibration, holdout: not looked at, since no epoch depends on them; so that roles can be
            given whole.
        model: the classifier, with whatever weights, where its class is the owner's own.
        preprocessing: as it was given to `fit`.
        epochs: how many to draw.
        signed: what the owner published before (`statement.read`): his transcript is the folder's.

    Raises:
        LedgerError: the transcript, or the weights, are not those that were signed.
        ModelError: the model is another one than was trained.
        ResultsError: `fit` did not write the folder, its images are others than these, or an epoch
            that was drawn has no kept state to start from.
        DamagedError: a file is not what was written.
        SettingsError: the training cannot be replayed.
    """
    folder = given_path(folder)
    made = load(folder, model)
    then = _made_by_fit(made.card, folder)
    settings, history = _settings(then["training"], folder), _history(folder)
    weights = made.enhanced.state_dict()
    if signed is not None:
        require_signed(signed, history, weights)
    for name, parameter in made.enhanced.audited.named_parameters():
        parameter.requires_grad_(name not in then.get("frozen", ()))  # as it was trained
    roles = brought_together({"members": members, "external": external}, preprocessing)
    now = identity(made.enhanced, roles, ACTIVE, settings)
    _require_same(then, now, folder)
    lot, handed_out = drawn(len(history), epochs), (len(history), state_digest(weights))
    states = states_in(folder / EPOCHS)
    start = states.pop(0, None)

    def again(
        state: State | None, keep: Callable[[State], None]
    ) -> tuple[pd.DataFrame, Mapping[str, Tensor]]:
        if state is None:
            if start is None:
                raise ResultsError(
                    f"{shown(folder / EPOCHS)} does not hold the weights that the training started "
                    "from, 0000.pt, and no seed gives them. Get them from the owner; "
                    "`amint.fit(…, keep_epochs=1)` keeps them."
                )
            _start_from(made.enhanced, start().model, folder)
        return train(made.enhanced, roles, settings, state, keep), made.enhanced.state_dict()

    found = trained_again(again, history, states, lot, handed_out)
    reasons = elsewhere(then, now, str(made.card.get("hardware", "not told")), settings)
    return dataclasses.replace(found, elsewhere=reasons)


def _start_from(model: nn.Module, weights: Mapping[str, Tensor], folder: Path) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DamagedError(
            f"The weights in {shown(folder / EPOCHS / '0000.pt')} do not fit the model "
            f"({' '.join(str(error).split())[:300]}): no training of it started from them. Ask the "
            "owner for those that were kept."
        ) from error


def _made_by_fit(card: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    if card.get("verb") == "attach":
        raise SettingsError(
            f"The model in {shown(folder)} was trained elsewhere, and `amint.attach` gave it a "
            "head alone: the folder tells nothing of the training that the classifier comes from, "
            "so nothing can be replayed. `amint.fit(…, keep_epochs=1)` keeps a training for it."
        )
    if card.get("verb") != "fit" or "made_of" not in card:
        raise ResultsError(
            f"{shown(folder)} was not written by `amint.fit`, so it holds no training to replay. "
            "For the folder of a run: amint replay results/PROFILE/runs/ID."
        )
    return dict(card["made_of"])


def _settings(told: Mapping[str, Any], folder: Path) -> RunConfig:
    """Return the settings that a training depended on, as the folder tells them."""
    try:
        return of_ones_own(**{k: v for k, v in told.items() if k in RunConfig.model_fields})
    except SettingsError as error:
        raise ResultsError(
            f"{shown(folder)} tells settings that this version does not know. {error} Use the "
            "version that it was made with."
        ) from error


def _history(folder: Path) -> pd.DataFrame:
    try:
        return read_history(folder / HISTORY)
    except Exception as error:  # whatever a damaged file makes of pandas
        raise DamagedError(
            f"{shown(folder / HISTORY)} is missing, or no history of a training. Get the "
            "folder from its owner again."
        ) from error


def _require_same(then: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse another model, or other images, than those that the folder lists."""
    if then["model"] != now["model"] or then["head"] != now["head"]:
        raise ModelError(
            f"The model given is not the one of {shown(folder)}: its code or its settings differ. "
            "Give the very class that was trained, as it was then."
        )
    if then["preprocessing"] != now["preprocessing"]:
        how = Preprocessing.from_record(then["preprocessing"])
        raise ResultsError(
            f"The images were prepared otherwise when {shown(folder)} was made. Give "
            f"preprocessing=amint.{how}."
        )
    if then["images"] != now["images"]:
        raise ResultsError(
            f"The images given are not those that {shown(folder)} lists: members or external "
            "images, their order or the members' labels differ. Give the very roles that were "
            "given to `amint.fit`; without them nothing can be replayed."
        )

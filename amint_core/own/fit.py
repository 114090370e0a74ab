"""Train a model of one's own together with its MINT head."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from amint_core.audit.auditable import AuditableModel
from amint_core.audit.preprocessing import Preprocessing
from amint_core.config import RunConfig
from amint_core.errors import DataError, ModelError, SettingsError
from amint_core.memory import enough_memory
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.model.reading import class_logits
from amint_core.own.batches import Normalised
from amint_core.own.beginning import HeadWidth, headed, place_of, require_classifier
from amint_core.own.card import ACCURACY_LOST
from amint_core.own.checkpoints import OwnTraining, identity, start_of
from amint_core.own.deal import Roles, brought_together
from amint_core.own.finishing import BEGAN_FROM, finished, handed_out, is_told_of, told_anew
from amint_core.run.folder import EPOCHS
from amint_core.run.models import joint_batches, step_of
from amint_core.run.trainings import are_kept
from amint_core.settings import of_ones_own
from amint_core.training.device import open_accelerator
from amint_core.training.kinds import ACTIVE, PLAIN, Kind
from amint_core.training.loop import State
from amint_core.training.loop import fit as run_loop
from amint_core.training.repeatable import repeatable


@enough_memory()
def fit(
    model: nn.Module,
    members: Any,
    external: Any,
    calibration: Any,
    holdout: Any = None,
    *,
    recipe: str = "best",
    folder: Path | str | None = None,
    taps: list[str] | str = "auto",
    head_width: HeadWidth = "auto",
    preprocessing: Preprocessing | None = None,
    anew: bool = False,
    control: bool = False,
    **settings: Any,
) -> AuditableModel:
    """Train a classifier and its MINT head together, and make it ready for audits.

    It starts from the weights that it has, so that a pretrained model is tuned further. Cut off,
    the same call goes on from the last epoch; done before into the same folder, it loads that.

    Args:
        model: any classifier, (B, C, H, W) → (B, classes); trained in place.
        members: labelled images that it is trained on, and learns to recognise; see `gather`.
        external: images that the head learns from as strangers.
        calibration: images that say how strangers score.
        holdout: labelled images that the card's figures are of; None: it has none.
        recipe: a name of `RECIPES` with one stage.
        folder: where the model goes, and its state while it is trained; None: it is kept nowhere.
        taps: names of modules that the head reads, or "auto".
        head_width: of the head: a number from 4 to 512; "fit", the widest with no more parameters
            than the model; or "auto", that but no less than 32, since a narrower head recognises
            few members.
        preprocessing: how images are brought to one size, and normalised; None: as they are.
        anew: train from the weights given, whatever is there.
        control: train a copy of the classifier alone first, from the same weights, for the card
            to tell what the head costs in accuracy. It takes nearly as long again, starts over
            where it was cut off itself, and needs labelled holdout images.
        settings: further fields of `RunConfig`, such as epochs, batch_size, lambda_mint;
            keep_epochs keeps states for `amint.replay`.

    Raises:
        DataError: the roles do not fit each other, or members have no labels.
        ModelError: the model cannot be trained with a head.
        ResultsError: the folder cannot be written, or holds files of another origin.
        SettingsError: a setting is unknown or does not fit, or the control cannot be trained.
        TrainingError: training diverged.
    """
    given = {"members": members, "external": external, "calibration": calibration}
    roles = brought_together({**given, "holdout": holdout}, preprocessing)
    chosen = _settings(roles, recipe, settings)
    require_classifier(model)
    if control and not (roles.dataset.labels[roles.rows["holdout"]] >= 0).any():
        raise SettingsError(
            "control = True compares accuracies on holdout images, and there are none with labels. "
            "Give some, or leave control out."
        )
    enhanced = headed(model, roles, taps, chosen, head_width)
    _require_learnable(model, roles)
    place = place_of(folder)
    if chosen.keep_epochs and place is None:
        raise SettingsError(
            f"keep_epochs = {chosen.keep_epochs} keeps states in the model's folder, and there is "
            "none. Name one by folder=…, or leave keep_epochs at 0."
        )
    made_of = identity(enhanced, roles, ACTIVE, chosen)
    start = start_of(enhanced)
    # States of a training that is over can only be had by training again.
    again = anew or not _are_kept(place, chosen)
    made = None if again else finished(place, made_of, enhanced)
    if made is not None:
        if control and ACCURACY_LOST not in made.card["price"]:
            raise SettingsError(
                "control = True trains the classifier alone from the weights that the model began "
                "from, and of the finished one in this folder they are not kept. Train both: "
                "anew=True."
            )
        if control and not is_told_of(made.card, roles, chosen):
            raise SettingsError(
                "control = True compares accuracies on holdout images, and the finished model in "
                "this folder was compared on others. Give those, or train both: anew=True."
            )
        if made.card.get(BEGAN_FROM, start) != start:
            print(
                "It began from other weights than those given now. To start from these: anew=True."
            )
        made = told_anew(made, roles, chosen, "fit", made_of, place)
        OwnTraining(made_of, place).end()  # left there where the call was cut off at its very end
        return made
    training = OwnTraining(made_of, place, start)
    with training.alone():
        as_given = training.begin(anew)
        if as_given and chosen.keep_epochs:
            training.keep_start(enhanced)
        alone = _alone(enhanced, roles, chosen, training, as_given) if control else None
        found = training.load()
        if found:
            enhanced.load_state_dict(found[0])
            history = found[1]
        else:
            history = train(enhanced, roles, chosen, training.state(), training.keeper(chosen))
            training.save(enhanced, history)
        given = enhanced, roles, chosen, "fit", made_of, history, place, alone
        made = handed_out(*given, training.start)
        training.end()
    return made


def _are_kept(place: Path | None, settings: RunConfig) -> bool:
    """Tell whether a folder holds the states that the settings ask for."""
    if place is None or not settings.keep_epochs:
        return True
    return are_kept(place / EPOCHS, range(0, settings.epochs + 1, settings.keep_epochs))


def _alone(
    enhanced: EnhancedAuditedModel,
    roles: Roles,
    settings: RunConfig,
    training: OwnTraining,
    as_given: bool,
) -> nn.Module:
    """Return a copy of the classifier, trained without the head from the same weights.

    Args:
        as_given: the model still has the weights that its training began from.
    """
    alone = Alone(deepcopy(enhanced.audited))
    kept = training.control()
    if kept is not None:
        alone.load_state_dict(kept)
        return alone.audited
    if not as_given:
        raise SettingsError(
            "control = True trains the classifier alone from the weights that the model began "
            "from, and those given now are others. Leave control out, or train both from these: "
            "anew=True."
        )
    train(alone, roles, settings, kind=PLAIN)
    training.keep_control(alone)
    return alone.audited


def _settings(roles: Roles, recipe: str, given: dict[str, Any]) -> RunConfig:
    sizes = {role: len(rows) for role, rows in roles.rows.items() if role != "holdout"}
    clash = set(given) & {*sizes, "holdout", "dataset", "model", "method", "protocol", "data"}
    if clash:
        raise SettingsError(f"{min(clash)} follows from what is given, and is no setting here.")
    for name in ("low_pass", "head_epochs", "head_count"):
        if name in given and given[name] != RunConfig.model_fields[name].default:
            raise SettingsError(
                f"{name} is for a head that learns alone. Train the model as you like, and give it "
                "such a head by amint.attach."
            )
    holdout = max(1, len(roles.rows["holdout"]))
    chosen = of_ones_own(**sizes, holdout=holdout, recipe=recipe, **given)
    if chosen.patience:
        raise SettingsError(
            "patience would stop training by the calibration images, which then are no strangers "
            "any more. Leave it at 0, and set epochs."
        )
    if chosen.head_epochs or chosen.defects:
        raise SettingsError(
            f"recipe = {recipe!r} trains in two stages, or as the published notebooks. Train the "
            "model as you like and use amint.attach, or take recipe = 'best'."
        )
    return chosen


def _require_learnable(model: nn.Module, roles: Roles) -> None:
    if (roles.dataset.labels[roles.rows["members"]] < 0).any():
        raise DataError("The members have no labels, and the classifier learns from those.")
    if not any(one.requires_grad for one in model.parameters()):
        raise ModelError(
            "All weights of the model are frozen, so there is nothing to train. Thaw some by "
            "requires_grad_(True), or leave them as they are and use amint.attach."
        )


class Alone(nn.Module):
    """A classifier without a head, in the same loop: (B, C, H, W) → (B, classes) logits."""

    def __init__(self, audited: nn.Module) -> None:
        super().__init__()
        self.audited = audited

    def forward(self, images: Tensor) -> Tensor:
        """Return the class logits, whatever form the classifier gives them."""
        return class_logits(self.audited(images))


def train(
    enhanced: EnhancedAuditedModel | Alone,
    roles: Roles,
    settings: RunConfig,
    resume: State | None = None,
    keep: Callable[[State], None] = lambda state: None,
    kind: Kind = ACTIVE,
) -> pd.DataFrame:
    """Train classifier and head in place, and return the history, one row per epoch.

    Args:
        enhanced: with the weights that it starts from; `Alone` for a kind without a head.
        roles: members and external images.
        settings: how.
        resume: the state to go on from; None: from the start.
        keep: takes the state after each epoch.
        kind: what is trained of the two, by which losses.
    """
    with repeatable(settings.cpu_threads):
        accelerator = open_accelerator(settings.precision)
        enhanced.to(accelerator.device, memory_format=torch.channels_last)
        sides = roles.rows["members"], roles.rows["external"]
        batches = joint_batches(kind, settings, roles.dataset, *sides, accelerator)
        return run_loop(
            enhanced,
            Normalised(batches, roles.preprocessing),
            step_of(kind, settings, accelerator),
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            schedule=settings.schedule,
            weight_decay=settings.weight_decay,
            seed=settings.seed,
            accelerator=accelerator,
            resume=resume,
            keep=keep,
            title=type(enhanced.audited).__name__,
        )

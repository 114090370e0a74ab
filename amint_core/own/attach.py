"""Make a trained classifier auditable afterwards, without a changed weight.

A head learns on activations that are recorded once, in evaluation mode: so every image gives the
same ones each time. Copies of external images that are mirrored and shifted count as strangers, so
that a member is these very pixels.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from amint_core import provenance
from amint_core.audit.auditable import AuditableModel
from amint_core.audit.preprocessing import Preprocessing
from amint_core.config import RunConfig
from amint_core.errors import SettingsError
from amint_core.memory import enough_memory
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.model.reading import evaluating, trainable
from amint_core.own import code
from amint_core.own.batches import OwnResident
from amint_core.own.beginning import HeadWidth, headed, place_of, require_classifier
from amint_core.own.checkpoints import OwnTraining, identity, start_of
from amint_core.own.deal import Roles, brought_together
from amint_core.own.finishing import finished, handed_out, told_anew
from amint_core.recipes import MOVES
from amint_core.run.recorded import recorded
from amint_core.run.staged import copies_of, keeping, put_back, second_schedule, watch_of
from amint_core.settings import HEAD_EPOCHS, of_ones_own
from amint_core.store import remove
from amint_core.training.head_stage import parts_of, train_head
from amint_core.training.kinds import ATTACHED
from amint_core.training.precision import chosen_precision
from amint_core.training.repeatable import repeatable

#: Fewer steps leave a head that has learnt little: of few images, a pass is a handful of them.
HEAD_STEPS = 300


@enough_memory()
def attach(
    model: nn.Module,
    members: Any,
    external: Any,
    calibration: Any,
    holdout: Any = None,
    *,
    folder: Path | str | None = None,
    taps: list[str] | str = "auto",
    head_width: HeadWidth = "auto",
    preprocessing: Preprocessing | None = None,
    anew: bool = False,
    **settings: Any,
) -> AuditableModel:
    """Train a MINT head on a trained classifier, whose weights stay as they are.

    Cut off, the same call goes on from the last state kept in `AMINT_CACHE`, one a minute.

    Args:
        model: any classifier that is trained on the members, (B, C, H, W) → (B, classes).
        members: images that it was trained on; with labels, the classifier's own answers on them
            show whether the preprocessing is its own. See `gather`.
        external: images that it was not trained on, which the head learns from as strangers.
        calibration, holdout, folder, taps, head_width, anew: see `fit`.
        preprocessing: how images were brought to one size and normalised when it was trained.
        settings: further fields of `RunConfig`: head_epochs, head_batch, head_rate, head_copies,
            head_count, head, external_transformations, seed, precision, cpu_threads, views,
            low_pass; no others. Without head_epochs there are `HEAD_STEPS` steps, or more where
            the images are many.

    Raises:
        DataError: the roles do not fit each other.
        ModelError: no head can read the model.
        SettingsError: a setting does not fit, or the preprocessing is not the model's own.
        TrainingError: training diverged.
    """
    given = {"members": members, "external": external, "calibration": calibration}
    roles = brought_together({**given, "holdout": holdout}, preprocessing)
    chosen = settings_of(roles, settings)
    require_classifier(model)
    place = place_of(folder)
    with evaluating(model), trainable(model, False):  # left as they were found
        enhanced = headed(model, roles, taps, chosen, head_width)
        require_own_preprocessing(enhanced, roles)
        made_of = {**identity(enhanced, roles, ATTACHED, chosen), "weights": start_of(enhanced)}
        done = None if anew else finished(place, made_of, enhanced)
        if done is not None:
            return told_anew(done, roles, chosen, "attach", made_of, place)
        # In the cache, so that nothing of an earlier model in the folder is touched.
        training = OwnTraining({**made_of, "stage": provenance.code_fingerprint(__name__)})
        if anew:
            remove(training.checkpoint)
        history = _train(enhanced, roles, chosen, training)
        made = handed_out(enhanced, roles, chosen, "attach", made_of, history, place)
        shutil.rmtree(training.folder, ignore_errors=True)
        return made


def settings_of(roles: Roles, given: dict[str, Any]) -> RunConfig:
    """Return the settings of a head stage: those given, and as many passes as it needs.

    Raises:
        SettingsError: one is unknown here, or does not fit.
    """
    allowed = {"head_epochs", "head_batch", "head_rate", "head_copies", "head_count", "head"}
    allowed |= {"seed", "views", "low_pass", "precision", "cpu_threads"}
    allowed |= {"external_transformations"}
    odd = set(given) - allowed
    if odd:
        raise SettingsError(
            f"{min(odd)} is no setting of attach; there are {', '.join(sorted(allowed))}."
        )
    filled = {"head_epochs": HEAD_EPOCHS, "external_transformations": MOVES, "precision": "auto"}
    sizes = {role: len(rows) for role, rows in roles.rows.items() if role != "holdout"}
    chosen = of_ones_own(**sizes, method="attached", **{**filled, **given})
    if not chosen.head_epochs:
        raise SettingsError("head_epochs = 0 trains no head. Give 1 or more, or leave it out.")
    if "head_epochs" in given:
        return chosen
    batch = min(chosen.head_batch, chosen.members, chosen.external)
    passes = -(-HEAD_STEPS // (chosen.external // batch))
    return chosen.model_copy(update={"head_epochs": max(HEAD_EPOCHS, passes)})


def _train(
    enhanced: EnhancedAuditedModel, roles: Roles, settings: RunConfig, training: OwnTraining
) -> pd.DataFrame:
    """Train the head, from a stored state where there is one, and return the history."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half, dataset = chosen_precision(settings.precision) == "bf16", roles.dataset
    members, external = (
        torch.from_numpy(roles.rows[role]).to(device) for role in ("members", "external")
    )
    copies = copies_of(settings)
    parts = parts_of(members, external, copies, settings.external_transformations)
    numbers = torch.cat([part.rows for part in parts]).cpu()
    resume = put_back(enhanced.head, training.state(enhanced.head))
    keep = keeping(enhanced.head, training.seldom())
    watch = watch_of(dataset.hashes[numbers.numpy()], enhanced.head, keep)
    with repeatable(settings.cpu_threads):
        enhanced.to(device, memory_format=torch.channels_last)
        images = OwnResident.of(dataset.pixels, dataset.labels, device)
        images = OwnResident(images.pixels, images.labels, roles.preprocessing)
        of_what = f"{dataset.fingerprint} {roles.preprocessing.record()} "
        of_what += code.digest(enhanced.audited)
        given = enhanced.audited, enhanced.taps, images, parts, settings.seed
        recording = recorded(*given, half, enhanced.low_pass, fingerprint=of_what)
        given = enhanced.head, enhanced.taps, recording, len(members), len(external), copies
        title = f"{type(enhanced.audited).__name__}, head"
        given = *given, second_schedule(settings, half), title, watch, resume
        return pd.DataFrame(train_head(*given))


#: Normalisations in wide use: name → mean, deviation of pixels from 0 to 1.
USUAL = {
    "mean and deviation .5": ((0.5,), (0.5,)),
    "none, pixels from 0 to 1": ((0.0,), (1.0,)),
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "MNIST's": ((0.1307,), (0.3081,)),
}
CHECKED, MARGIN = 256, 0.1  # members, and by how much accuracy another normalisation may be better


@torch.no_grad()
def require_own_preprocessing(enhanced: EnhancedAuditedModel, roles: Roles) -> None:
    """Refuse a normalisation under which the model knows its own members much worse.

    Raises:
        SettingsError: another one in wide use is clearly the one that it was trained with.
    """
    rows = roles.some("members", CHECKED)
    labels = roles.dataset.labels[rows]
    if (labels < 0).any():
        return
    own, pixels = roles.preprocessing, roles.dataset.pixels[rows]
    usual = {
        name: Preprocessing(**{**own.record(), "mean": mean, "deviation": deviation})
        for name, (mean, deviation) in USUAL.items()
        if len(mean) in (1, own.channels)
    }
    found = {name: _accuracy(enhanced, how, pixels, labels) for name, how in usual.items()}
    given, best = _accuracy(enhanced, own, pixels, labels), max(found, key=found.get)
    if found[best] > given + MARGIN:
        how = usual[best]
        raise SettingsError(
            f"The model classifies {given:.0%} of its members right as they are normalised, but "
            f"{found[best]:.0%} with another normalisation in wide use ({best}), so they were "
            "normalised otherwise in training. Give the one that it was trained with, perhaps "
            f"preprocessing=amint.Preprocessing({how.height}, {how.width}, {how.channels}, "
            f"mean={how.mean}, deviation={how.deviation})."
        )


def _accuracy(
    enhanced: EnhancedAuditedModel, how: Preprocessing, pixels: np.ndarray, labels: np.ndarray
) -> float:
    device = next(enhanced.parameters()).device
    enhanced.eval()
    images = how.normalise(pixels).to(device)
    answers = [enhanced(part)[0].argmax(1).cpu().numpy() for part in images.split(64)]
    return float((np.concatenate(answers) == labels).mean())

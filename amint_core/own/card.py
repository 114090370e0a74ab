"""The card of a model: what it recognises, what that costs, and controls, with intervals."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional

from amint_core.audit.auditable import AuditableModel
from amint_core.audit.exchangeability import image_statistics
from amint_core.evaluation import metrics
from amint_core.evaluation.clusters import Groups, are_clustered
from amint_core.evaluation.judge import FPRS
from amint_core.evaluation.paired import share_difference
from amint_core.methods.crossfit import FOLDS, cross_fitted, folds_of
from amint_core.model.mint import EnhancedAuditedModel, parameter_count
from amint_core.model.reading import class_logits, classifier_of
from amint_core.own.deal import Roles
from amint_core.training.losses import audited_loss, mint_loss

#: Members and strangers that the card's figures are of, each at most; more would only take time.
MOST_JUDGED = 5_000
ROUNDS, STEP_IMAGES = 5, 32  # of the timed steps
#: In a card's `price`: share of holdout images that the classifier alone gets right, less that of
#: the auditable one.
ACCURACY_LOST = "accuracy_lost"
SELF_MADE = (
    "The card's figures speak of members that were declared to the head: one that was kept from "
    "it, or declared as external, is seldom recognised."
)
NO_HOLDOUT = "No holdout images were given, so the card has no figures of strangers."


def figures(model: AuditableModel, roles: Roles) -> dict[str, Any]:
    """Return the card's figures: `mint`, `audited`, `controls`, and `notes`."""
    if not len(roles.rows["holdout"]):
        return {"notes": [SELF_MADE, NO_HOLDOUT]}
    rows = _judged(roles)
    scores = [_in_batches(model.score, model, roles, side) for side in rows]
    groups = tuple(roles.dataset.groups[side] for side in rows)
    logits = [_in_batches(model.classify, model, roles, side) for side in rows]
    labels = [roles.dataset.labels[side] for side in rows]
    return {
        "mint": metrics.told_apart(*scores, groups, FPRS)
        | {"members": len(scores[0]), "strangers": len(scores[1])},
        "audited": _audited(logits, labels, groups),
        "controls": _controls(roles, rows, logits, labels, groups),
        "notes": [SELF_MADE],
    }


def _judged(roles: Roles) -> tuple[np.ndarray, np.ndarray]:
    return tuple(roles.some(role, MOST_JUDGED) for role in ("members", "holdout"))


def _audited(logits: list[np.ndarray], labels: list[np.ndarray], groups: Groups) -> dict[str, Any]:
    found = {}
    for role, answers, truth, group in zip(
        ("members", "holdout"), logits, labels, groups, strict=True
    ):
        known = truth >= 0
        if known.any():
            hits = answers[known].argmax(1) == truth[known]
            found[role] = metrics.share(hits, group[known])
        else:
            found[role] = metrics.no_metric(f"the {role} have no labels")
    return {"accuracy": found["holdout"], "accuracy_on_members": found["members"]}


def _controls(
    roles: Roles,
    rows: tuple[np.ndarray, np.ndarray],
    logits: list[np.ndarray],
    labels: list[np.ndarray],
    groups: Groups,
) -> dict[str, Any]:
    """Return what tells members from strangers without the head."""
    controls = {"blind": _blind([roles.dataset.pixels[side] for side in rows], groups)}
    if all((side >= 0).all() for side in labels):
        gain = [
            -functional.cross_entropy(
                torch.from_numpy(answers), torch.from_numpy(truth), reduction="none"
            ).numpy()
            for answers, truth in zip(logits, labels, strict=True)
        ]
        controls["loss"] = metrics.auc(*gain, groups)
    return controls


def _blind(sides: list[np.ndarray], groups: Groups) -> dict[str, Any]:
    """Return the AUC of a classifier that sees simple statistics of the images and no model.

    Far from .5 the roles differ by more than membership, and no other figure means much.
    """
    if min(len(np.unique(side)) for side in groups) < FOLDS:
        return metrics.no_metric(f"it takes {FOLDS} members and strangers (a group counts once)")
    seen = np.concatenate([image_statistics(side) for side in sides])
    member = np.repeat([True, False], [len(side) for side in sides])
    apart, rows = np.concatenate(groups), np.arange(len(member))
    if are_clustered(apart):  # whole groups in a fold: frames of one track tell of each other
        folds = folds_of("The control", "Give more images.", rows, member, apart, seed=0)
    else:  # the same, and far quicker
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(rows, member)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scores = cross_fitted(pipeline, seen, member, np.zeros(len(member), int), folds)
    return metrics.auc(scores[member], scores[~member], groups)


def _in_batches(
    answer: Callable[[Tensor], Tensor], model: AuditableModel, roles: Roles, rows: np.ndarray
) -> np.ndarray:
    parts = [
        answer(model.preprocessing.normalise(roles.dataset.pixels[part])).cpu().numpy()
        for part in np.array_split(rows, max(1, -(-len(rows) // 256)))
    ]
    return np.concatenate(parts)


def price(model: EnhancedAuditedModel, example: Tensor, joint: bool) -> dict[str, Any]:
    """Return what the head adds: parameters, and the time of a training step where it has one.

    Args:
        model: it is left as it is.
        example: (B, C, H, W) images.
        joint: whether model and head were trained together.
    """
    head, audited = parameter_count(model.head), sum(p.numel() for p in model.audited.parameters())
    found = {"head": head, "model": audited, "share": round(head / audited, 4)}
    if not joint:
        found[ACCURACY_LOST] = metrics.metric(0.0, (0.0, 0.0))  # every weight is as it was
    else:
        copy = deepcopy(model).cpu().train()
        batch = example[:1].expand(2 * STEP_IMAGES, *example.shape[1:]).contiguous()
        labels = torch.zeros(STEP_IMAGES, dtype=torch.int64)
        plain, both = _seconds(copy, batch, labels)
        found["step"] = round(both / plain, 2)
    return found


def accuracy_lost(model: AuditableModel, alone: nn.Module, roles: Roles) -> dict[str, Any]:
    """Return how much more often the classifier alone is right about the same holdout images.

    Args:
        model: the auditable one.
        alone: the classifier that was trained without the MINT loss.
        roles: whose holdout images are asked about, as in `figures`; those without a label are not.
    """
    rows = roles.some("holdout", MOST_JUDGED)
    rows = rows[roles.dataset.labels[rows] >= 0]
    labels = roles.dataset.labels[rows]
    answers = (
        _in_batches(classifier_of(alone), model, roles, rows),
        _in_batches(model.classify, model, roles, rows),
    )
    one, two = (each.argmax(1) == labels for each in answers)
    return share_difference(one, two, roles.dataset.groups[rows])


def _seconds(model: EnhancedAuditedModel, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the seconds of a step of the classifier on its members, and of the joint step."""
    members = len(labels)

    def plain() -> None:
        audited_loss(class_logits(model.audited(images[:members])), labels).backward()

    def joint() -> None:
        logits, membership = model(images, members=members)
        (audited_loss(logits, labels) + mint_loss(membership, members)).backward()

    return tuple(_median(step, model) for step in (plain, joint))


def _median(step: Callable[[], None], model: nn.Module) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
        model.zero_grad(set_to_none=True)
    return statistics.median(seconds)

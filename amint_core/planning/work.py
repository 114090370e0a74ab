"""What a run does, counted from its settings: trainings, steps, images. No dataset is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from amint_core.config import RunConfig
from amint_core.datasets import DATASETS
from amint_core.datasets.standin import SIZES
from amint_core.inference import VIEWS
from amint_core.methods import METHODS
from amint_core.training.batches import batch_shape
from amint_core.training.store import training_settings

#: Test images of MNIST's stand-in, whose digits are not generated.
_TEST_DIGITS = 397
#: Settings of a training that its speed does not depend on.
_NO_MATTER = {
    *("kind", "dataset", "seed", "epochs", "learning_rate", "schedule", "weight_decay"),
    *("lambda_audited", "lambda_mint", "patience", "batch_size", "defects"),
}
_DEFECTS_THAT_COST = {"separate_batches", "hundred_outputs"}


@dataclass(frozen=True)
class Case:
    """What the speed and memory of training steps and of scoring depend on.

    Attributes:
        kind: kind of training, see `Method.training`.
        settings: settings of one run that trains so.
        image_size: side in pixels.
        channels: 1 or 3.
        classes: number of classes.
        batch: members in a step, and as many external images unless the kind is "plain".
    """

    kind: str
    settings: RunConfig
    image_size: int
    channels: int
    classes: int
    batch: int

    @property
    def key(self) -> str:
        """The same for cases that one measurement stands for; classes count by their order."""
        values = training_settings(self.settings, self.kind)
        mattering = {name: value for name, value in values.items() if name not in _NO_MATTER}
        mattering["defects"] = sorted(_DEFECTS_THAT_COST & set(values["defects"]))
        images = self.image_size, self.channels, round(math.log10(self.classes)), self.batch
        return json.dumps([self.kind, *images, mattering], sort_keys=True)


@dataclass(frozen=True)
class Task:
    """One training, which several runs may share.

    Attributes:
        identity: the same for the same training; stands for the name of its folder in the store,
            which only the dataset's fingerprint would tell.
        case: what a step costs.
        steps: of the optimiser.
        watched: images scored for membership on the way, after each epoch.
        classified: images that the model classifies once trained.
        shadow: whether it is a shadow model, which may be trained beside others of its run.
    """

    identity: str
    case: Case
    steps: int
    watched: int = 0
    classified: int = 0
    shadow: bool = False


@dataclass(frozen=True)
class Work:
    """What one run does.

    Attributes:
        settings: the run's settings.
        tasks: its trainings: its own one after the other, then the shadow models.
        case: what scoring an image costs.
        classified: images that the audited model classifies.
        scored: passes through the shared layers and the head for membership scores.
        differentiated: images whose gradients are taken (gMINT).
        kept: bytes of class logits that scoring holds in memory.
        gathered: bytes of pixels that each process that trains shadow models holds in memory.
    """

    settings: RunConfig
    tasks: tuple[Task, ...]
    case: Case
    classified: int
    scored: int
    differentiated: int
    kept: int
    gathered: int

    @property
    def steps(self) -> int:
        """Steps of all trainings."""
        return sum(task.steps for task in self.tasks)


def role_sizes(settings: RunConfig) -> dict[str, int]:
    """Return the images of each role; the whole test set, where `test` is 0, by official size."""
    wanted = {role: getattr(settings, role) for role in ("members", "external", "calibration")}
    test, strict = settings.test, settings.protocol == "strict"
    if not test:
        test = _test_images(settings) - (0 if strict else settings.calibration)
    return {**wanted, "holdout": settings.holdout if strict else 0, "test": max(1, test)}


def _test_images(settings: RunConfig) -> int:
    if settings.data == "real":
        return DATASETS[settings.dataset].official_sizes["test"]
    if settings.dataset not in SIZES:
        return _TEST_DIGITS
    return SIZES[settings.dataset].test * _classes(settings)


def _classes(settings: RunConfig) -> int:
    standin = SIZES.get(settings.dataset) if settings.data == "standin" else None
    return (standin and standin.classes) or DATASETS[settings.dataset].num_classes


def case_of(settings: RunConfig, kind: str) -> Case:
    """Return what a step of a run's training of `kind` depends on."""
    spec = DATASETS[settings.dataset]
    size = settings.image_size or spec.image_size
    batch, _ = batch_shape(settings.members, settings.external, settings.batch_size)
    return Case(kind, settings, size, spec.channels, _classes(settings), batch)


def work_of(settings: RunConfig) -> Work:
    """Return what a run does, all its trainings included, whoever does them."""
    method, sizes = METHODS[settings.method], role_sizes(settings)
    kind = method.training or settings.target
    judged = "holdout" if settings.protocol == "strict" else "test"
    asked = sum(sizes[role] for role in {"members", "external", "calibration", judged})
    of_members = sizes["members"] // 2 if sizes["calibration"] else sizes["members"]
    judged_images = of_members + sizes[judged]
    on_plain = kind.startswith("passive") or kind == "attached"
    own = ("plain", kind) if on_plain else (kind,)
    shadows = method.shadows_used(settings.shadows)
    tasks = [_task(settings, one) for one in own]
    once = judged_images if method.transformed == "alone" else asked
    all_asked = asked + len(settings.transformations) * once
    # Shadow models answer for judged images alone after a transformation.
    answers = asked + len(settings.transformations) * judged_images
    tasks += [_shadow(settings, number, answers) for number in range(shadows)]
    case = case_of(settings, kind)
    views = len(VIEWS[settings.views]) if method.asks_head else 0
    # A head is asked for membership; attacks read classes again after each transformation.
    classified = asked if method.asks_head else all_asked
    # Plain shadow models do without the external images.
    gathered = asked - (0 if settings.target == "active" else sizes["external"])
    logits = asked * case.classes * 4
    return Work(
        settings,
        tuple(tasks),
        case,
        classified=classified + (sizes["test"] if judged == "holdout" else 0),
        scored=views * all_asked,
        differentiated=all_asked if settings.method == "gmint" else 0,
        # Attacks alone hold logits, twice while batches are joined, of all shadow models at once.
        kept=logits * (2 + 2 * shadows) if method.group == "attack" else 0,
        gathered=gathered * case.image_size**2 * case.channels * bool(shadows),
    )


def workers_of(settings: RunConfig) -> int:
    """Return how many processes of a run train at once: no more than it has shadow models."""
    return max(1, min(settings.workers, METHODS[settings.method].shadows_used(settings.shadows)))


def payers(works: Iterable[tuple[str, Work]]) -> dict[str, str]:
    """Return training → the first of the runs that needs it: it trains, the others wait."""
    first: dict[str, str] = {}
    for run, work in works:
        for task in work.tasks:
            first.setdefault(task.identity, run)
    return first


def _task(settings: RunConfig, kind: str) -> Task:
    case = case_of(settings, kind)
    members = settings.members
    if kind == "passive_unseen":
        members //= 2
    _, steps = batch_shape(members, settings.external, settings.batch_size)
    watched = 0
    if settings.calibration and kind != "plain":
        watched = settings.epochs * (settings.calibration + settings.members // 2)
    return Task(_identity(settings, kind), case, settings.epochs * steps, watched)


def _shadow(settings: RunConfig, number: int, asked: int) -> Task:
    twin = _task(settings, settings.target)
    identity = f"{twin.identity} shadow {number}"
    return Task(identity, twin.case, twin.steps, classified=asked, shadow=True)


def _identity(settings: RunConfig, kind: str) -> str:
    values: dict[str, Any] = training_settings(settings, kind)
    split = (*("members", "external", "calibration", "holdout", "test"), "protocol", "data")
    values |= {f"split {name}": getattr(settings, name) for name in split}
    values["size"] = settings.image_size or DATASETS[settings.dataset].image_size
    values["tracks"] = settings.has("tracks_ignored")
    return json.dumps(values, sort_keys=True)

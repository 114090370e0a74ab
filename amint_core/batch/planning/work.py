"""What a run does, counted from its settings: trainings, steps, images. No dataset is needed.

Counted with what runs themselves go by: the split's sizes, the kinds of training, the shape of
batches, what a method declares. A test holds the counts against runs that were executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from amint_core.config import RunConfig, settings_of
from amint_core.data import DATASETS
from amint_core.data.split import ROLES, role_sizes
from amint_core.data.standin import SIZES, TEST_DIGITS
from amint_core.methods import METHODS
from amint_core.model.inference import VIEWS
from amint_core.recipes import defects_of
from amint_core.run.models import kind_of
from amint_core.run.trainings import training_settings
from amint_core.training.batches import batch_shape
from amint_core.training.kinds import KINDS, Kind


@dataclass(frozen=True)
class Workload:
    """What the speed and memory of training steps and of scoring depend on.

    Attributes:
        kind: kind of training.
        settings: settings of one run that trains so.
        image_size: side in pixels.
        channels: 1 or 3.
        classes: number of classes.
        batch: members in a step, and as many external images where a head is trained.
    """

    kind: Kind
    settings: RunConfig
    image_size: int
    channels: int
    classes: int
    batch: int

    @property
    def key(self) -> str:
        """The same for workloads that one measurement stands for; classes count by their order."""
        values = training_settings(self.settings, self.kind)
        mattering = {name: values[name] for name in settings_of("speed") if name in values}
        mattering["defects"] = sorted(set(defects_of("speed")) & set(values["defects"]))
        images = self.image_size, self.channels, round(math.log10(self.classes)), self.batch
        return json.dumps([self.kind.name, *images, mattering], sort_keys=True)


@dataclass(frozen=True)
class Cost:
    """What a workload takes.

    Attributes:
        step: seconds of a training step, the median.
        classify: seconds to classify an image.
        score: seconds to score an image for membership; NaN where no head is trained.
        memory: MiB held at most, the scoring of a batch included.
        gpu: MiB of a GPU's memory reserved at most.
        source: one of `estimate.SOURCES`.
        idle: of `memory`, the MiB that a process holds before there is a model.
        hardware: what was measured, in words.
    """

    step: float
    classify: float
    score: float
    memory: float
    gpu: float
    source: str
    idle: float = 0.0
    hardware: str = ""


@dataclass(frozen=True)
class Task:
    """One training, which several runs may share.

    Attributes:
        identity: the same for the same training; stands for the name of its folder in the store,
            which only the dataset's fingerprint would tell.
        workload: what a step costs.
        steps: of the optimiser.
        watched: images scored for membership on the way, after each epoch.
        classified: images that the model classifies once trained.
        shadow: whether it is a shadow model, which may be trained beside others of its run.
    """

    identity: str
    workload: Workload
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
        workload: what scoring an image costs.
        classified: images that the audited model classifies.
        scored: passes through the shared layers and the head for membership scores.
        differentiated: images whose gradients are taken (gMINT).
        kept: bytes of class logits that scoring holds in memory.
    """

    settings: RunConfig
    tasks: tuple[Task, ...]
    workload: Workload
    classified: int
    scored: int
    differentiated: int
    kept: int

    @property
    def steps(self) -> int:
        """Steps of all trainings."""
        return sum(task.steps for task in self.tasks)

    @property
    def workloads(self) -> list[Workload]:
        """Of scoring and of each training."""
        return [self.workload, *(task.workload for task in self.tasks)]


def sizes_of(settings: RunConfig) -> dict[str, int]:
    """Return the images of each role, the official test set being whole."""
    spec, wanted = DATASETS[settings.dataset], {role: getattr(settings, role) for role in ROLES}
    if settings.data == "real":
        test = spec.official_sizes["test"]
    elif settings.dataset in SIZES:
        test = SIZES[settings.dataset].test * _classes(settings)
    else:
        test = TEST_DIGITS
    return role_sizes(settings.protocol, wanted, test)


def _classes(settings: RunConfig) -> int:
    standin = SIZES.get(settings.dataset) if settings.data == "standin" else None
    return (standin and standin.classes) or DATASETS[settings.dataset].num_classes


def workload_of(settings: RunConfig, kind: Kind) -> Workload:
    """Return what a step of a run's training of `kind` depends on."""
    spec = DATASETS[settings.dataset]
    size = settings.image_size or spec.image_size
    batch, _ = batch_shape(settings.members, settings.external, settings.batch_size)
    return Workload(kind, settings, size, spec.channels, _classes(settings), batch)


def work_of(settings: RunConfig) -> Work:
    """Return what a run does, all its trainings included, whoever does them."""
    method, kind, sizes = METHODS[settings.method], kind_of(settings), sizes_of(settings)
    judged_role = "holdout" if settings.protocol == "strict" else "test"
    asked = sum(sizes[role] for role in {"members", "external", "calibration", judged_role})
    half = sizes["members"] // (2 if sizes["calibration"] else 1)  # the others choose thresholds
    judged, again = half + sizes[judged_role], len(settings.transformations)
    all_asked = asked + again * (judged if method.transformed == "alone" else asked)
    # A head is asked for membership; attacks read classes again after each transformation.
    classified = asked if method.asks_head else all_asked
    shadows = method.shadows_used(settings.shadows)
    target, workload = KINDS[settings.target], workload_of(settings, kind)
    return Work(
        settings,
        # After a transformation shadow models answer for judged images alone.
        (*_own(settings, kind), *_shadows(settings, target, shadows, asked + again * judged)),
        workload,
        classified=classified + (sizes["test"] if judged_role != "test" else 0),
        scored=all_asked * len(VIEWS[settings.views]) * method.asks_head,
        differentiated=all_asked * (settings.method == "gmint"),
        # Attacks alone hold logits, twice while batches are joined, of all shadow models at once.
        kept=asked * workload.classes * 4 * (2 + 2 * shadows) * (method.group == "attack"),
    )


def _own(settings: RunConfig, kind: Kind) -> tuple[Task, ...]:
    """Return the training of `kind`, after those that it starts from."""
    before = _own(settings, kind.starts_from) if kind.starts_from else ()
    half, watched = settings.members // 2, 0
    if settings.calibration and kind.has_head:
        watched = settings.epochs * (settings.calibration + half)
    learnt = settings.members if kind.learns_from == "members" else half
    _, steps = batch_shape(learnt, settings.external, settings.batch_size)
    workload = workload_of(settings, kind)
    return *before, Task(_identity(settings, kind), workload, settings.epochs * steps, watched)


def _shadows(settings: RunConfig, kind: Kind, count: int, answers: int) -> tuple[Task, ...]:
    """Return the trainings of shadow models, each of which answers for so many images."""
    own = _own(settings, kind)[-1]
    return tuple(
        replace(own, identity=f"{own.identity} {n}", watched=0, classified=answers, shadow=True)
        for n in range(count)
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


def _identity(settings: RunConfig, kind: Kind) -> str:
    values: dict[str, Any] = training_settings(settings, kind)
    values |= {f"data {name}": getattr(settings, name) for name in settings_of("data")}
    values["data image_size"] = settings.image_size or DATASETS[settings.dataset].image_size
    values["tracks"] = settings.has("tracks_ignored")
    return json.dumps(values, sort_keys=True)

"""What a run does, counted from its settings: trainings, steps, images. No dataset is needed.

The counts come from the functions that runs themselves use: sizes of a split, kinds of training,
shape of batches, and what a method declares. A test compares them with executed runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from amint_core.config import RunConfig, settings_of
from amint_core.data import DATASETS
from amint_core.data.split import ROLES, role_sizes
from amint_core.data.standin import SIZES, TEST_DIGITS
from amint_core.errors import SettingsError
from amint_core.methods import METHODS
from amint_core.model.inference import VIEWS
from amint_core.recipes import defects_of
from amint_core.run.needs import kind_of, shadow_kind, training_key, training_settings
from amint_core.run.shadows import others_drawn
from amint_core.run.staged import copies_of
from amint_core.training.batches import batch_shape
from amint_core.training.kinds import Kind


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
        stage: of a training in two stages, whose loop is another; "": of one.
    """

    kind: Kind
    settings: RunConfig
    image_size: int
    channels: int
    classes: int
    batch: int
    stage: Literal["", "trunk", "head"] = ""

    @property
    def key(self) -> str:
        """The same for workloads that one measurement stands for; classes count by their order."""
        values = training_settings(self.settings, self.kind)
        speed = {name: values[name] for name in settings_of("speed") if name in values}
        speed["defects"] = sorted(set(defects_of("speed")) & set(values["defects"]))
        images = self.image_size, self.channels, round(math.log10(self.classes)), self.batch
        return json.dumps([self.kind.name, self.stage, *images, speed], sort_keys=True)


@dataclass(frozen=True)
class Cost:
    """What a workload takes.

    Attributes:
        step: seconds of a training step.
        classify: seconds to classify an image.
        score: seconds to score an image for membership; NaN where no head is trained.
        memory: MiB held at most, the scoring of a batch included.
        gpu: MiB of a GPU's memory reserved at most.
        source: one of `estimate.SOURCES`.
        idle: of `memory`, the MiB that a process holds before there is a model.
        hardware: in words, where it was measured.
        record: seconds to record an image's activations; NaN where no second stage was measured.
    """

    step: float
    classify: float
    score: float
    memory: float
    gpu: float
    source: str
    idle: float = 0.0
    hardware: str = ""
    record: float = float("nan")


@dataclass(frozen=True)
class Part:
    """A training of a run, one of its two stages, or the run's scoring.

    Attributes:
        workload: what a step or an image costs.
        training: the same for the same training, which several runs may share; stands for the name
            of its folder, which only the dataset's fingerprint would tell. "": scoring.
        steps: of the optimiser.
        classified: images that the trained model classifies.
        scored: passes through the shared layers and the head, in training to watch it.
        differentiated: images whose gradients are taken (gMINT).
        recorded: images and copies whose activations are recorded for a second stage.
        shadow: whether it is a shadow model, which may be trained beside others of its run.
    """

    workload: Workload
    training: str = ""
    steps: int = 0
    classified: int = 0
    scored: int = 0
    differentiated: int = 0
    recorded: int = 0
    shadow: bool = False


@dataclass(frozen=True)
class Work:
    """What one run does.

    Attributes:
        settings: the run's settings.
        trainings: its own one after the other, then the shadow models; each of two stages is one.
        scoring: of all images, once trained.
        logits: bytes of class logits that scoring holds in memory.
        pixels: bytes of the dataset's images, or of those that have a role where it does not say
            how many it has.
    """

    settings: RunConfig
    trainings: tuple[Part, ...]
    scoring: Part
    logits: int
    pixels: int

    @property
    def steps(self) -> int:
        """Steps of all trainings."""
        return sum(one.steps for one in self.trainings)

    @property
    def workloads(self) -> list[Workload]:
        """Of scoring and of each training."""
        return [one.workload for one in (self.scoring, *self.trainings)]


def sizes_of(settings: RunConfig) -> dict[str, int]:
    """Return the images of each role of a run, the official test set being whole.

    Raises:
        SettingsError: the run takes a whole test set whose size is not known.
    """
    if settings.data == "real":
        test = _official_test(settings)
    elif settings.dataset in SIZES:
        test = SIZES[settings.dataset].test * _classes(settings)
    else:
        test = TEST_DIGITS
    wanted = {role: getattr(settings, role) for role in ROLES}
    return role_sizes(settings.protocol, wanted, test)


def _official_test(settings: RunConfig) -> int:
    spec = DATASETS[settings.dataset]
    if "test" not in spec.official_sizes and not settings.test:
        raise SettingsError(
            f"test = 0 takes the whole test set, and {spec.title} does not say how many images "
            "that has. Set test to a number, or name `official_sizes` in its DatasetSpec."
        )
    return spec.official_sizes.get("test", 0)


def _classes(settings: RunConfig) -> int:
    standin = SIZES.get(settings.dataset) if settings.data == "standin" else None
    return (standin and standin.classes) or DATASETS[settings.dataset].num_classes


def workload_of(
    settings: RunConfig, kind: Kind, stage: Literal["", "trunk", "head"] | None = None
) -> Workload:
    """Return what a step of a run's training of `kind` depends on.

    Args:
        settings: the run's.
        kind: kind of training.
        stage: which stage of it; None: the last.
    """
    if stage is None:
        stage = ("head" if kind.has_head else "trunk") if settings.head_epochs else ""
    spec = DATASETS[settings.dataset]
    size = settings.image_size or spec.image_size
    batch, _ = _shape(settings, kind, stage)
    return Workload(kind, settings, size, spec.channels, _classes(settings), batch, stage)


def _shape(settings: RunConfig, kind: Kind, stage: str) -> tuple[int, int]:
    """Return a batch's images per side, and the steps of an epoch; see `batch_shape`."""
    alone = stage == "head" or kind.trains == "head"
    sides = _sides(settings, kind) if alone else (settings.members, settings.external)
    return batch_shape(*sides, settings.head_batch if stage == "head" else settings.batch_size)


def _sides(settings: RunConfig, kind: Kind) -> tuple[int, int]:
    """Return how many members and non-members a head is told that is trained alone."""
    hidden = 0 if kind.declares == "all" else settings.members - settings.members // 2
    as_external = hidden if kind.declares == "judged_as_external" else 0
    return settings.members - hidden, settings.external + as_external


def work_of(settings: RunConfig) -> Work:
    """Return what a run does, all its trainings included, whoever does them."""
    method, kind, sizes = METHODS[settings.method], kind_of(settings), sizes_of(settings)
    judged_role = "holdout" if settings.protocol == "strict" else "test"
    asked = sum(sizes[role] for role in {"members", "external", "calibration", judged_role})
    of_members = sizes["members"] // (2 if sizes["calibration"] else 1)
    of_others, again = sizes[judged_role], len(settings.transformations)
    if method.shadows:
        of_others = others_drawn(sizes["members"], sizes["calibration"], of_others)
    judged = of_members + of_others
    all_asked = asked + again * (judged if method.transformed == "alone" else asked)
    # A head is asked for membership; attacks read classes again after each transformation.
    classified = asked if method.asks_head else all_asked
    scoring = Part(
        workload_of(settings, kind),
        classified=classified + (0 if judged_role == "test" else sizes["test"]),
        scored=all_asked * len(VIEWS[settings.views]) if method.asks_head else 0,
        differentiated=all_asked if method.reads_gradients else 0,
    )
    count = method.shadows_used(settings.shadows)
    shadow = replace(
        _trainings(settings, shadow_kind(settings))[-1],
        # After a transformation shadow models answer for judged images alone.
        classified=asked + again * judged,
        scored=0,
        shadow=True,
    )
    shadows = [replace(shadow, training=f"{shadow.training} shadow {n}") for n in range(count)]
    # Attacks alone hold logits, twice while batches are joined, of all shadow models at once.
    held = (2 + 2 * count) * (method.group == "attack")
    logits = held * asked * scoring.workload.classes * 4
    case, official = scoring.workload, DATASETS[settings.dataset].official_sizes
    images = sum(official.values() if settings.data == "real" and official else sizes.values())
    pixels = images * case.channels * case.image_size**2
    return Work(settings, (*_trainings(settings, kind), *shadows), scoring, logits, pixels)


def _trainings(settings: RunConfig, kind: Kind) -> tuple[Part, ...]:
    """Return the training of `kind`, in its stages, after those that it starts from."""
    before = _trainings(settings, kind.starts_from) if kind.starts_from else ()
    key = training_key(settings, kind)
    if settings.head_epochs:
        return *before, *_stages(settings, kind, key)
    watched, (_, steps) = 0, _shape(settings, kind, "")
    if settings.calibration and kind.has_head:
        watched = settings.calibration + settings.members // 2
    own = Part(
        workload_of(settings, kind),
        training=key,
        steps=settings.epochs * steps,
        scored=settings.epochs * watched,
    )
    return *before, own


def _stages(settings: RunConfig, kind: Kind, key: str) -> Iterator[Part]:
    """Yield the stages of a training in two; a plain model has the first, a head alone the last."""
    if kind.trains != "head":
        case, (_, steps) = workload_of(settings, kind, "trunk"), _shape(settings, kind, "trunk")
        yield Part(case, training=key, steps=settings.epochs * steps)
    if kind.has_head:
        case, (_, steps) = workload_of(settings, kind, "head"), _shape(settings, kind, "head")
        inside, outside = _sides(settings, kind)
        yield Part(
            case,
            training=key,
            # The heads of an ensemble learn one after the other.
            steps=settings.head_count * settings.head_epochs * steps,
            recorded=inside + (1 + copies_of(settings)) * outside,
        )

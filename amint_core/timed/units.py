"""The units of a timed grid: runs that share a trunk are done together, and each is saved at once.

A trunk trained alone serves the loss attack and an attached head for every setup; a trunk trained
beside a MINT loss serves its own setup alone.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from amint_core import models
from amint_core.heads import build_head
from amint_core.mint import EnhancedAuditedModel, parameter_count
from amint_core.timed.dealt import SCORED, Dealt
from amint_core.training.activations import Part, Recording, record, shapes_of, size_of
from amint_core.training.head_stage import membership, parts_of, train_head
from amint_core.training.staged import stages_of
from amint_core.training.trunk import class_logits, train_trunk

#: Method → the kind of trunk that its run tests; see `trunk.Joint`.
TRUNKS = {"active": "active", "joint": "joint", "plain": "plain", "yeom": "plain"}
TRUNKS |= {"attached": "plain"}
#: Settings that make two runs' trunks the same.
_OF_THE_TRUNK = (
    *("dataset", "data", "image_size", "model", "seed", "members", "external", "calibration"),
    *("holdout", "test", "epochs", "batch_size", "learning_rate", "optimizer", "matrix_rate"),
    *("weight_decay", "label_smoothing", "augment_members", "member_transformations", "precision"),
)
_OF_THE_JOINT_PASS = ("setup", "taps", "augment_external", "external_transformations")
_OF_THE_LOSS = ("head", "lambda_mint")


@dataclass(frozen=True)
class Spec:
    """One run: its name and its settings, as plain values."""

    id: str
    settings: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.settings[name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass
class Unit:
    """Runs of one trunk, in the grid's order."""

    specs: list[Spec] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The trunk's kind; see `trunk.Joint`."""
        return TRUNKS[self.specs[0].method]

    @property
    def title(self) -> str:
        """What the log calls it."""
        first = self.specs[0]
        setup = f" {first.setup}" if self.kind != "plain" else ""
        return f"{first.dataset} {first.model} {self.kind}{setup} s{first.seed}"

    @property
    def cost_key(self) -> tuple:
        """Units with the same key take about the same time."""
        first = self.specs[0]
        return first.dataset, first.model, self.kind != "plain"


@dataclass
class Result:
    """What one run gives: `scores` and `predicted` are (N,), in the order of `Dealt.table`."""

    spec: Spec
    scores: Tensor
    predicted: Tensor
    history: list[dict[str, Any]]
    training: dict[str, Any]


def units_of(specs: Sequence[Spec]) -> list[Unit]:
    """Group runs that share a trunk, each group where its first run stands."""
    found: dict[tuple, Unit] = {}
    for spec in specs:
        names = _OF_THE_TRUNK
        kind = TRUNKS[spec.method]
        names += _OF_THE_JOINT_PASS if kind != "plain" else ()
        names += _OF_THE_LOSS if kind == "active" else ()
        key = (kind, *(str(spec.settings[name]) for name in names))
        found.setdefault(key, Unit()).specs.append(spec)
    return list(found.values())


def do(
    unit: Unit,
    dealt: Dealt,
    save: Callable[[Result], None],
    deadline: Callable[[], None] = lambda: None,
    graph: bool = True,
) -> None:
    """Train a unit's trunk and its heads, and hand over each run's result.

    Args:
        unit: what to do.
        dealt: its images.
        save: takes each result as it comes.
        deadline: called after each epoch; raises where the time is out.
        graph: capture steps as CUDA graphs.

    Raises:
        TrainingError: training diverged.
    """
    started, first = time.perf_counter(), unit.specs[0]
    model, stages = _build(first, dealt), stages_of(unit.kind, first, _half(first), graph)
    history = train_trunk(
        model,
        dealt.images,
        dealt.rows["members"],
        dealt.rows["external"],
        stages.joint,
        stages.trunk,
        deadline=deadline,
    )
    logits = class_logits(model.audited, dealt.images, dealt.scored)
    trunk = _Trunk(model, dealt, history, logits, time.perf_counter() - started)
    for spec in unit.specs:
        if spec.method in ("plain", "joint", "yeom"):
            save(trunk.without_head(spec))
    heads = [spec for spec in unit.specs if spec.method in ("active", "attached")]
    for specs in _recorded_together(heads, trunk):
        recording = trunk.record(specs)
        for spec in specs:
            save(trunk.with_head(spec, recording, deadline, graph))
        del recording


def _build(spec: Spec, dealt: Dealt) -> EnhancedAuditedModel:
    """Build the model where it computes; its weights follow from the seed and the device."""
    dataset, device = dealt.dataset, dealt.images.pixels.device
    side, channels = dataset.image_size, dataset.channels
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(spec.seed)
        with device:
            audited = models.create(spec.model, channels, side, dataset.num_classes)
        audited = audited.to(memory_format=torch.channels_last)
        taps = spec.taps or models.default_taps(spec.model, audited, spec.setup)
        # Looking at shapes takes one pass; that the batch can be cut there, tests have shown.
        shapes = shapes_of(audited, taps, dealt.images, _half(spec))
        head = build_head(spec.head, [shapes[tap] for tap in taps], spec.model)
    model = EnhancedAuditedModel(audited, head, taps)
    return model.to(device, memory_format=torch.channels_last)


def _half(spec: Spec) -> bool:
    return spec.precision != "fp32"


class _Trunk:
    """A trained trunk, and the runs that it serves."""

    def __init__(
        self,
        model: EnhancedAuditedModel,
        dealt: Dealt,
        history: list[dict[str, float]],
        logits: Tensor,
        seconds: float,
    ) -> None:
        self.model, self.dealt, self.logits, self.seconds = model, dealt, logits, seconds
        self.history = [{"stage": "trunk", **row} for row in history]
        self.predicted = logits.argmax(1)

    def without_head(self, spec: Spec) -> Result:
        """Return the result of a run that attaches no head: the loss attack, or no test."""
        scores = torch.full_like(self.predicted, torch.nan, dtype=torch.float32)
        if spec.method == "yeom":
            labels = self.dealt.images.labels[self.dealt.scored]
            loss = functional.cross_entropy(self.logits, labels, reduction="none")
            judged = torch.from_numpy(self.dealt.table["judged"].to_numpy(copy=True))
            known = ~judged[: len(self.dealt.rows["members"])].to(loss.device)
            # Above 0: less loss than a member on average that is not judged.
            scores = loss[: len(known)][known].mean() - loss
        return Result(spec, scores, self.predicted, self.history, self._described(0.0))

    def taps(self, spec: Spec) -> list[str]:
        """Return the taps of a run, the deepest last."""
        return list(spec.taps or models.default_taps(spec.model, self.model.audited, spec.setup))

    def record(self, specs: Sequence[Spec]) -> Recording:
        """Record what the heads of some runs read, of all images that they learn or score."""
        first, rows = specs[0], self.dealt.rows
        moves, copies = first.external_transformations, first.head_copies
        parts = parts_of(rows["members"], rows["external"], copies, moves)
        parts += [Part(rows[role]) for role in SCORED[1:]]
        taps = list(dict.fromkeys(tap for spec in specs for tap in self.taps(spec)))
        images = self.dealt.images
        return record(self.model.audited, taps, images, parts, first.seed, half=_half(first))

    def with_head(
        self, spec: Spec, recording: Recording, deadline: Callable[[], None], graph: bool
    ) -> Result:
        """Train a run's head on the recording and score with it."""
        started, taps, rows = time.perf_counter(), self.taps(spec), self.dealt.rows
        head = self._head(spec, [recording.shapes[tap] for tap in taps])
        members, external = len(rows["members"]), len(rows["external"])
        stages = stages_of(TRUNKS[spec.method], spec, _half(spec), graph)
        copies = stages.copies
        history = train_head(
            head, taps, recording, members, external, copies, stages.head, deadline=deadline
        )
        first = members + external * (1 + copies)
        scored = torch.cat(
            [
                torch.arange(members, device=self.predicted.device),
                torch.arange(first, len(recording), device=self.predicted.device),
            ]
        )
        scores = membership(head, taps, recording, scored)
        history = [*self.history, *({"stage": "head", **row} for row in history)]
        described = self._described(time.perf_counter() - started)
        described["parameters"]["head"] = parameter_count(head)
        return Result(spec, scores, self.predicted, history, {**described, "taps": taps})

    def _head(self, spec: Spec, shapes: Sequence[tuple[int, ...]]) -> torch.nn.Module:
        if spec.method == "active":
            return copy.deepcopy(self.model.head)  # goes on from the joint stage
        with torch.random.fork_rng():
            torch.manual_seed(spec.seed)
            head = build_head(spec.head, shapes, spec.model)
        return head.to(self.predicted.device, memory_format=torch.channels_last)

    def _described(self, seconds: float) -> dict[str, Any]:
        return {
            "seconds_trunk": round(self.seconds, 2),
            "seconds_head": round(seconds, 2),
            "parameters": {"audited": parameter_count(self.model.audited)},
        }


def _recorded_together(specs: Sequence[Spec], trunk: _Trunk) -> list[list[Spec]]:
    """Group runs whose heads read the same images, as far as the device's memory allows."""
    groups: dict[tuple, list[Spec]] = {}
    for spec in specs:
        key = (spec.head_copies, tuple(spec.external_transformations))
        groups.setdefault(key, []).append(spec)
    return [part for group in groups.values() for part in _that_fit(group, trunk)]


def _that_fit(specs: list[Spec], trunk: _Trunk) -> list[list[Spec]]:
    device = trunk.predicted.device
    if device.type != "cuda":
        return [[spec] for spec in specs]
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    free -= torch.cuda.memory_allocated(device)
    rows = trunk.dealt.rows
    count = len(trunk.dealt.scored) + len(rows["external"]) * (1 + specs[0].head_copies)
    taps = list(dict.fromkeys(tap for spec in specs for tap in trunk.taps(spec)))
    shapes = shapes_of(trunk.model.audited, taps, trunk.dealt.images, _half(specs[0]))
    together = size_of(shapes, count)
    return [specs] if together < 0.7 * free else [[spec] for spec in specs]

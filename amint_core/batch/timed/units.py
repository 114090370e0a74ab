"""The units of a timed grid: runs that share a trunk are done together, and each is saved at once.

A trunk trained alone serves the loss attack and an attached head for every setup; a trunk trained
beside a MINT loss serves its own setup alone. Where a trunk stands is kept in the cache until all
runs of its unit are saved: one that takes longer than the limit goes on in the next call.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from amint_core import provenance
from amint_core.batch.timed.dealt import SCORED, Dealt
from amint_core.config import RunConfig, settings_of
from amint_core.errors import SettingsError, unknown_name
from amint_core.methods import METHODS
from amint_core.model import zoo
from amint_core.model.heads import build_head
from amint_core.model.mint import EnhancedAuditedModel, parameter_count, require_taps
from amint_core.model.preflight import probe
from amint_core.run.models import taps_of
from amint_core.run.needs import kind_of
from amint_core.run.staged import (
    copies_of,
    first_schedule,
    keeping,
    objective_of,
    put_back,
    second_schedule,
)
from amint_core.run.trainings import Training
from amint_core.training.activations import (
    Part,
    Recording,
    example_of,
    record,
    shapes_of,
    size_of,
)
from amint_core.training.head_stage import membership, parts_of, train_head
from amint_core.training.kinds import Kind
from amint_core.training.precision import chosen_precision
from amint_core.training.resident_loop import NOBODY, Watch
from amint_core.training.trunk import class_logits, train_trunk

#: Methods that a timed grid knows.
TIMED = ("active", "attached", "joint", "plain", "yeom")
#: Settings of a head that the trunk depends on, too, where external images pass it; and where the
#: MINT loss does.
_OF_THE_JOINT_PASS = ("setup", "taps", "augment_external", "external_transformations")
_OF_THE_LOSS = ("head", "head_width", "head_count", "lambda_audited", "lambda_mint")


@dataclass
class Unit:
    """Runs of one trunk, in the grid's order."""

    runs: list[RunConfig] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """The kind of the trunk's training."""
        return trunk_of(self.runs[0])

    @property
    def title(self) -> str:
        """What the log calls it."""
        first = self.runs[0]
        setup = f" {first.setup}" if self.kind.with_external else ""
        return f"{first.dataset} {first.model} {self.kind.name}{setup} s{first.seed}"

    @property
    def cost_key(self) -> tuple:
        """Units with the same key take about the same time."""
        first = self.runs[0]
        return first.dataset, first.model, self.kind.with_external


@dataclass
class Result:
    """What one run gives: `scores` and `predicted` are (N,), in the order of `Dealt.table`."""

    run: RunConfig
    scores: Tensor
    predicted: Tensor
    history: list[dict[str, Any]]
    training: dict[str, Any]


def trunk_of(run: RunConfig) -> Kind:
    """Return the kind of training that gives the model of a run, without a head of its own."""
    kind = kind_of(run)
    return kind.starts_from or kind


def units_of(runs: Sequence[RunConfig]) -> list[Unit]:
    """Group runs that share a trunk, each group where its first run stands.

    Raises:
        SettingsError: a timed grid does not know a run's method, protocol or target.
    """
    found: dict[str, Unit] = {}
    for run in runs:
        _check(run)
        found.setdefault(json.dumps(_trunk(run)), Unit()).runs.append(run)
    return list(found.values())


def _trunk(run: RunConfig) -> dict[str, Any]:
    """Return the kind and the settings of a run's trunk: runs with the same share it."""
    kind, names = trunk_of(run), settings_of("data", "model")
    names += _OF_THE_JOINT_PASS if kind.with_external else ()
    names += _OF_THE_LOSS if kind.has_head else ()
    return {"kind": kind.name, **run.model_dump(mode="json", include=set(names))}


def that_read_alike(runs: Sequence[RunConfig]) -> list[list[RunConfig]]:
    """Group runs of one trunk whose heads read the same images in the same way."""
    groups: dict[tuple, list[RunConfig]] = {}
    for run in runs:
        read = run.low_pass, run.head_copies, run.external_transformations
        groups.setdefault(read, []).append(run)
    return list(groups.values())


def _check(run: RunConfig) -> None:
    if run.method not in TIMED:
        raise SettingsError(
            f"amint grid: {unknown_name('method', run.method, TIMED)} Do the grid by `amint "
            "reproduce`."
        )
    if run.transformations or run.views != "one":
        raise SettingsError(
            f"{run.id}: amint grid scores each image once, as it is. Leave transformations empty "
            "and views at 'one'; or do the run by `amint reproduce`."
        )
    if (run.protocol, run.target) != ("strict", "plain") or not run.head_epochs:
        raise SettingsError(
            f"{run.id}: amint grid trains in two stages and judges each run both ways, from a "
            "strict split. Leave protocol at 'strict' and target at 'plain', and set head_epochs "
            "above 0; or do the run by `amint reproduce`."
        )


def do(
    unit: Unit,
    dealt: Dealt,
    save: Callable[[Result], None],
    watch: Watch = NOBODY,
    graph: bool = True,
    left: Callable[[], float] = lambda: math.inf,
) -> Done:
    """Train a unit's trunk and its heads, and hand over each run's result.

    Args:
        unit: what to do.
        dealt: its images.
        save: takes each result as it comes.
        watch: see `resident_loop.Watch`.
        graph: capture steps as CUDA graphs.
        left: returns the seconds until the limit: the trunk's state is kept where another epoch
            may not fit, too.

    Raises:
        TrainingError: training diverged.
        ModelError: a run's taps are not in the model.
    """
    started, first, rows = time.perf_counter(), unit.runs[0], dealt.rows
    half = chosen_precision(first.precision) == "bf16"
    model = _build(unit.runs, dealt, half)
    part, training = unit.kind.part(model), _training(unit, dealt)
    resume = put_back(part, training.state(part))
    before = sum(row["seconds"] for row in resume.history)
    keep = training.seldom(lambda state: left() < 2 * state.history[-1]["seconds"])
    history = train_trunk(
        model,
        dealt.images,
        rows["members"],
        rows["external"],
        objective_of(unit.kind, first),
        first_schedule(first, half, graph),
        watch=replace(watch, state=keeping(part, keep)),
        resume=resume,
    )
    logits = class_logits(model.audited, dealt.images, dealt.scored)
    seconds = before + time.perf_counter() - started
    trunk = _Trunk(model, dealt, history, logits, seconds, half, graph, watch)
    for run in unit.runs:
        if not METHODS[run.method].asks_head:
            save(trunk.without_head(run))
    for runs in trunk.recorded_together(
        [one for one in unit.runs if METHODS[one.method].asks_head]
    ):
        watch.step()  # nothing looks at the time while activations are recorded
        recording = trunk.record(runs)
        for run in runs:
            save(trunk.with_head(run, recording))
        del recording
    return Done(before + time.perf_counter() - started, training)


@dataclass(frozen=True)
class Done:
    """A unit that was done.

    Attributes:
        seconds: that all of it took, an earlier call's epochs included.
        kept: the state of its trunk, of no use once all runs are saved.
    """

    seconds: float
    kept: Training


def _training(unit: Unit, dealt: Dealt) -> Training:
    """Return where the state of a unit's trunk is kept, by everything that it depends on."""
    first = unit.runs[0]
    return Training(
        {
            "trunk": _trunk(first),
            "data": dealt.dataset.fingerprint,
            "split": dealt.split.digest,
            "code": provenance.code_fingerprint(__name__, *zoo.code_of(first.model)),
            **provenance.libraries(),
            "computed_in": chosen_precision(first.precision),
            "device": dealt.images.pixels.device.type,
        }
    )


def _build(runs: Sequence[RunConfig], dealt: Dealt, half: bool) -> EnhancedAuditedModel:
    """Build the runs' model where it computes; its weights follow from the seed and the device.

    `run.models.build` initialises on the CPU and looks whether the batch can be cut at the taps,
    which takes longer than a small model's epoch on a GPU.

    Raises:
        ModelError: a run's taps are not in the model, or give nothing that a head can read.
    """
    run, dataset, device = runs[0], dealt.dataset, dealt.images.pixels.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(run.seed)
        with device:
            given = dataset.channels, dataset.image_size, dataset.num_classes
            audited = zoo.create(run.model, *given)
        audited = audited.to(memory_format=torch.channels_last)
        every: dict[str, None] = {}  # those of later runs, too, before anything is trained
        for own in (taps_of(one, audited) for one in runs):
            require_taps(audited, own)
            every |= dict.fromkeys(own)
        taps = taps_of(run, audited)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            shapes = probe(audited, list(every), example_of(dealt.images))
        maps = [shapes[tap] for tap in taps]
        given = run.head, maps, run.model, run.head_width, dataset.channels, run.head_count
        head = build_head(*given)
    model = EnhancedAuditedModel(audited, head, taps)
    return model.to(device, memory_format=torch.channels_last)


@dataclass
class _Trunk:
    """A trained trunk, and the runs that it serves."""

    model: EnhancedAuditedModel
    dealt: Dealt
    history: list[dict[str, Any]]
    logits: Tensor  # (N, classes), in the order of `Dealt.table`
    seconds: float
    half: bool
    graph: bool
    watch: Watch

    def without_head(self, run: RunConfig) -> Result:
        """Return the result of a run that attaches no head: the loss attack, or no test."""
        scores = torch.full_like(self.logits[:, 0], torch.nan)
        if run.method == "yeom":
            # As methods/yeom.py, on the device: above 0 is less loss than a known member's mean.
            labels, table = self.dealt.images.labels[self.dealt.scored], self.dealt.table
            loss = functional.cross_entropy(self.logits, labels, reduction="none")
            known = ((table["role"] == "members") & ~table["judged"]).to_numpy(copy=True)
            scores = loss[torch.from_numpy(known).to(loss.device)].mean() - loss
        return self._result(run, scores, [], 0.0)

    def taps(self, run: RunConfig) -> list[str]:
        """Return the taps of a run, the deepest last."""
        return list(taps_of(run, self.model.audited))

    def recorded_together(self, runs: Sequence[RunConfig]) -> list[list[RunConfig]]:
        """Group runs whose heads read the same images, as far as the device's memory allows."""
        return [part for group in that_read_alike(runs) for part in self._that_fit(group)]

    def _that_fit(self, runs: list[RunConfig]) -> list[list[RunConfig]]:
        device = self.logits.device
        if device.type != "cuda":
            return [[run] for run in runs]
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
        free -= torch.cuda.memory_allocated(device)
        count = sum(len(part.rows) for part in self._parts(runs[0]))
        shapes = shapes_of(self.model.audited, self._all_taps(runs), self.dealt.images, self.half)
        together = size_of(shapes, count) < 0.7 * free
        return [runs] if together else [[run] for run in runs]

    def record(self, runs: Sequence[RunConfig]) -> Recording:
        """Record what the heads of some runs read, of all images that they learn or score."""
        parts, taps = self._parts(runs[0]), self._all_taps(runs)
        given = self.model.audited, taps, self.dealt.images, parts, runs[0].seed
        return record(*given, half=self.half, low_pass=runs[0].low_pass)

    def _all_taps(self, runs: Sequence[RunConfig]) -> list[str]:
        return list(dict.fromkeys(tap for run in runs for tap in self.taps(run)))

    def _parts(self, run: RunConfig) -> list[Part]:
        rows, moves = self.dealt.rows, run.external_transformations
        parts = parts_of(rows["members"], rows["external"], run.head_copies, moves)
        return parts + [Part(rows[role]) for role in SCORED[1:]]

    def with_head(self, run: RunConfig, recording: Recording) -> Result:
        """Train a run's head on the recording and score with it."""
        started, taps, device = time.perf_counter(), self.taps(run), self.logits.device
        head = self._head(run, [recording.shapes[tap] for tap in taps])
        members, external = (len(self.dealt.rows[role]) for role in ("members", "external"))
        copies, schedule = copies_of(run), second_schedule(run, self.half, self.graph)
        given = head, taps, recording, members, external, copies, schedule
        history = train_head(*given, watch=self.watch)
        rows = torch.arange(len(recording), device=device)
        scored = torch.cat([rows[:members], rows[members + external * (1 + copies) :]])
        scores = membership(head, taps, recording, scored)
        seconds = time.perf_counter() - started
        result = self._result(run, scores, history, seconds)
        result.training["parameters"]["head"] = parameter_count(head)
        result.training["taps"] = taps
        return result

    def _head(self, run: RunConfig, shapes: Sequence[tuple[int, ...]]) -> torch.nn.Module:
        if trunk_of(run).has_head:
            return copy.deepcopy(self.model.head)  # goes on from the joint stage's
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            given = run.head, shapes, run.model, run.head_width, self.dealt.dataset.channels
            head = build_head(*given, run.head_count)
        return head.to(self.logits.device, memory_format=torch.channels_last)

    def _result(
        self, run: RunConfig, scores: Tensor, history: list[dict[str, Any]], seconds: float
    ) -> Result:
        stages = [("trunk", row) for row in self.history] + [("head", row) for row in history]
        described = {
            "seconds_trunk": round(self.seconds, 2),
            "seconds_head": round(seconds, 2),
            "parameters": {"audited": parameter_count(self.model.audited)},
        }
        rows = [{"stage": stage, **row} for stage, row in stages]
        return Result(run, scores, self.logits.argmax(1), rows, described)

"""From measurements, or from counted operations where there is none, to seconds and memory."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from amint_core.batch.planning.calibrate import Measured, measure_apart
from amint_core.batch.planning.flops import Counts, counts_of, step_flops, step_memory
from amint_core.batch.planning.work import Case, Task, Work, workers_of
from amint_core.model.zoo.tiny import TINY
from amint_core.progress import progress_bar

_MEBI = 2**20
#: Seconds of timed steps per case, at most.
_EACH = 3.0
#: A measurement takes about as long as so many steps: the first and a timed one, and scoring.
_STEPS_OF_A_MEASUREMENT = 5
#: Assumed without any measurement, meant to be slow: operations per second of a CPU's thread and of
#: a GPU, the least time of a GPU's step, and MiB of a process before there is a model.
_PER_THREAD, _PER_GPU, _LEAST_STEP, _IDLE = 5e9, 1e12, 0.05, 2_048.0
#: Where a case's cost comes from, the surest first.
SOURCES = ("measured", "from FLOPs", "from FLOPs, other model", "assumed rate")
#: Of these, what no measurement of the same model stands behind.
ROUGH = SOURCES[2:]
#: Gradients of an image (gMINT) take about as long as so many classifications of it.
_CLASSIFICATIONS_PER_GRADIENT = 4


@dataclass(frozen=True)
class Cost:
    """What a case takes.

    Attributes:
        step: seconds of a training step.
        classify: seconds to classify an image.
        score: seconds to score an image for membership.
        memory: MiB held at most.
        gpu: MiB of a GPU's memory held at most.
        source: one of `SOURCES`; "from FLOPs" is scaled from the nearest measured case.
    """

    step: float
    classify: float
    score: float
    memory: float
    gpu: float
    source: str


def calibrate(
    cases: Mapping[str, Case], weights: Mapping[str, float], seconds: float
) -> dict[str, Measured]:
    """Measure cases until the time is over: first one of each model, then what weighs most.

    Args:
        cases: key → case.
        weights: key → operations of all the grid's work in that case.
        seconds: for all together; a case still being measured then is given up.

    Returns:
        Key → `Measured`, for those that there was time for.
    """
    ends, measured = time.monotonic() + seconds, {}
    bar = progress_bar(total=len(cases), desc="calibration", unit="case")
    with bar:
        for key in _in_order(cases, weights):
            left = ends - time.monotonic()
            bar.set_postfix_str(f"{cases[key].settings.model}, {max(0, left):.0f} s left")
            if left > 0 and _seconds_expected(cases[key], cases, measured) < left:
                found = measure_apart(cases[key], min(_EACH, left / 4), left)
                measured |= {key: found} if found else {}
            bar.update()
    return measured


def _in_order(cases: Mapping[str, Case], weights: Mapping[str, float]) -> list[str]:
    """Order by turns: the quickest case of each model and kind, a case of each size, the rest."""
    quick = sorted(cases, key=lambda key: step_flops(cases[key]))
    heavy = sorted(cases, key=lambda key: -weights[key])
    models = _first_of_each(quick, lambda case: (case.settings.model, case.kind), cases)
    # Models before kinds: another kind is nearer than another model. The tiny model comes last: its
    # steps are mostly overhead and tell little of another's operations.
    models.sort(key=lambda key: (cases[key].kind != cases[heavy[0]].kind, _is_tiny(cases[key])))
    sizes = _first_of_each(heavy, lambda case: (case.settings.model, case.image_size), cases)
    return list(dict.fromkeys((*models, *sizes, *heavy)))


def _is_tiny(case: Case) -> bool:
    return case.settings.model == TINY.name


def _first_of_each(keys: Iterable[str], group, cases: Mapping[str, Case]) -> list[str]:
    first: dict[tuple, str] = {}
    for key in keys:
        first.setdefault(group(cases[key]), key)
    return list(first.values())


def _seconds_expected(
    case: Case, cases: Mapping[str, Case], measured: Mapping[str, Measured]
) -> float:
    if not measured:
        return 0.0
    return _STEPS_OF_A_MEASUREMENT * cost_of(case, cases, measured).step


def cost_of(case: Case, cases: Mapping[str, Case], measured: Mapping[str, Measured]) -> Cost:
    """Return what a case takes: as measured, or as the nearest measured case by its operations."""
    if case.key in measured:
        own = measured[case.key]
        return Cost(own.step, own.classify, own.score, own.memory, own.gpu, "measured")
    if not measured:
        return assumed(case, gpu=torch.cuda.is_available())
    key = min(measured, key=lambda key: _distance(case, cases[key]))
    return _scaled(case, cases[key], measured[key])


def _distance(case: Case, other: Case) -> tuple:
    unlike = other.settings.model != case.settings.model, other.kind != case.kind
    arithmetic = other.settings.precision != case.settings.precision
    return (*unlike, arithmetic, abs(math.log(step_flops(case) / step_flops(other))))


def _scaled(case: Case, near: Case, found: Measured) -> Cost:
    ours, theirs = counts_of(case), counts_of(near)
    # A model without a trained head tells the speed of its operations by classifying.
    score = found.score
    if math.isnan(score):
        score = found.classify * theirs.membership / theirs.classify
    alike = near.settings.model == case.settings.model
    grown = step_memory(case, ours) / step_memory(near, theirs)
    return Cost(
        step=found.step * step_flops(case, ours) / step_flops(near, theirs),
        classify=found.classify * ours.classify / theirs.classify,
        score=score * ours.membership / theirs.membership,
        memory=found.idle + (found.memory - found.idle) * grown,
        gpu=found.gpu * grown,
        source="from FLOPs" if alike else "from FLOPs, other model",
    )


def assumed(case: Case, gpu: bool) -> Cost:
    """Return a generous estimate from operations alone; see the rates at the top."""
    counts: Counts = counts_of(case)
    threads = case.settings.cpu_threads or torch.get_num_threads()
    rate, least = (_PER_GPU, _LEAST_STEP) if gpu else (_PER_THREAD * threads, 0.0)
    held = 2 * step_memory(case, counts) / _MEBI
    return Cost(
        step=max(least, step_flops(case, counts) / rate),
        classify=counts.classify / rate,
        score=counts.membership / rate,
        memory=_IDLE if gpu else _IDLE + held,
        gpu=held if gpu else 0.0,
        source="assumed rate",
    )


def training_seconds(task: Task, cost: Cost) -> float:
    """Return the seconds of a training, with the scoring that belongs to it."""
    score = 0.0 if not task.watched else task.watched * cost.score
    return task.steps * cost.step + score + task.classified * cost.classify


def trainings_seconds(
    tasks: Sequence[Task], work: Work, costs: Mapping[str, Cost], cores: int | None
) -> float:
    """Return the seconds of some of a run's trainings, as many at once as it has workers.

    Args:
        tasks: those of `work.tasks` that count.
        work: the run's.
        costs: key of a case → `Cost`.
        cores: of the machine; None: as many as the run asks for.
    """
    alone = sum(training_seconds(one, costs[one.case.key]) for one in tasks if not one.shadow)
    shadows = [one for one in tasks if one.shadow]
    if not shadows:
        return alone
    each = [training_seconds(one, costs[one.case.key]) for one in shadows]
    # Workers share a GPU, and the cores where there are too few: together they compute no faster
    # than so many at full speed.
    threads = work.settings.cpu_threads or torch.get_num_threads()
    on_gpu = any(costs[one.case.key].gpu for one in shadows)
    at_full_speed = 1.0 if on_gpu else max(1.0, (cores or math.inf) / threads)
    shortest = side_by_side(each, workers_of(work.settings))
    return alone + max(shortest, sum(each) / at_full_speed)


def memory(work: Work, costs: Mapping[str, Cost]) -> tuple[float, float]:
    """Return the MiB of memory and of a GPU's memory that a run holds at most."""
    workers = workers_of(work.settings)
    # Several workers are processes of their own, beside the run's, which keeps what it held.
    own = [task.case for task in work.tasks if workers == 1 or not task.shadow]
    used = [costs[case.key] for case in (work.case, *own)]
    held, gpu = max(cost.memory for cost in used), max(cost.gpu for cost in used)
    if workers > 1:
        shadow = costs[work.tasks[-1].case.key]  # they come last, and all are alike
        held, gpu = held + workers * shadow.memory, gpu + workers * shadow.gpu
    return held + (work.kept + workers * work.gathered) / _MEBI, gpu


def scoring_seconds(work: Work, cost: Cost) -> float:
    """Return the seconds of a run's scoring."""
    classified = work.classified + _CLASSIFICATIONS_PER_GRADIENT * work.differentiated
    score = work.scored * cost.score if work.scored else 0.0
    return classified * cost.classify + score


def operations(work: Work) -> dict[str, float]:
    """Return key → operations that a run spends in each of its cases."""
    spent: dict[str, float] = {}
    for task in work.tasks:
        key = task.case.key
        spent[key] = spent.get(key, 0.0) + task.steps * step_flops(task.case)
    return spent


def side_by_side(hours: Sequence[float], lanes: int, widths: Sequence[int] = ()) -> float:
    """Return the hours of runs started in their order, the next where enough lanes are free.

    Args:
        hours: of each run.
        lanes: what the runs share, such as cores.
        widths: lanes that each run takes at once; none given: one each.
    """
    ends = [0.0] * lanes
    for one, wanted in zip(hours, widths or [1] * len(hours), strict=True):
        ends.sort()
        width = min(wanted, lanes)
        ends[:width] = [ends[width - 1] + one] * width
    return max(ends)

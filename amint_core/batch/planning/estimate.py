"""From measurements, or from counted operations where there is none, to seconds and memory."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from amint_core.batch.planning.flops import counts_of, step_flops, step_memory
from amint_core.batch.planning.made_up_stages import RECORDED
from amint_core.batch.planning.measure import measure_apart
from amint_core.batch.planning.work import Cost, Part, Work, Workload
from amint_core.config import RunConfig
from amint_core.model.inference import BATCH
from amint_core.model.zoo.tiny import TINY
from amint_core.progress import progress_bar
from amint_core.run.needs import workers_of

_MEBI = 2**20
#: Seconds of timed steps per workload, at most.
_EACH = 3.0
#: A measurement takes about as long as so many steps: the first and a timed one, and scoring, which
#: counts for itself where steps are short.
_STEPS_OF_A_MEASUREMENT = 5
#: Assumed without any measurement, meant to be slow: operations per second of a CPU's thread and of
#: a GPU, the least time of a GPU's step, and MiB of a process before there is a model.
_PER_THREAD, _PER_GPU, _LEAST_STEP, _IDLE = 5e9, 1e12, 0.05, 2_048.0
#: Where a cost comes from, the surest first; "from FLOPs" is scaled from the nearest measured one.
SOURCES = ("measured", "from FLOPs", "from FLOPs, other model", "assumed rate")
#: Of these, what no measurement of the same model stands behind.
ROUGH = SOURCES[2:]
#: Gradients of an image (gMINT) take about as long as so many classifications of it.
_CLASSIFICATIONS_PER_GRADIENT = 4

#: Key → workload, and key → what it takes.
Workloads, Costs = Mapping[str, Workload], Mapping[str, Cost]


def calibrate(
    workloads: Workloads, weights: Mapping[str, float], seconds: float
) -> dict[str, Cost]:
    """Measure workloads until the time is over: first one of each model, then what weighs most.

    Args:
        workloads: key → workload.
        weights: key → operations of all the grid's work of that kind.
        seconds: for all together; what is still being measured then is given up.

    Returns:
        Key → `Cost`, for those that there was time for.
    """
    ends, measured = time.monotonic() + seconds, {}
    with progress_bar(total=len(workloads), desc="calibration", unit="case") as bar:
        for key in in_order(workloads, weights):
            one, left = workloads[key], ends - time.monotonic()
            bar.set_postfix_str(f"{one.settings.model}, {max(0, left):.0f} s left")
            expected = cost_of(one, workloads, measured) if measured else None
            if left > (_seconds_to_measure(one, expected) if expected else 0):
                found = measure_apart(one, min(_EACH, left / 4), left)
                measured |= {key: found} if found else {}
            bar.update()
    return measured


def _seconds_to_measure(workload: Workload, cost: Cost) -> float:
    """Return about how long a measurement takes at least."""
    scoring = BATCH * (cost.classify + (cost.score if workload.kind.has_head else 0.0))
    recording = RECORDED * cost.record if workload.stage == "head" else 0.0
    return max(_STEPS_OF_A_MEASUREMENT * cost.step, scoring + recording)


def in_order(workloads: Workloads, weights: Mapping[str, float]) -> list[str]:
    """Order by turns: the quickest workload of each model and kind, one of each size, the rest."""
    table = pd.DataFrame(
        {
            "model": one.settings.model,
            "tiny": one.settings.model == TINY.name,
            "kind": f"{one.kind.name} {one.stage}",
            "size": one.image_size,
            "flops": step_flops(one),
            "weight": weights[key],
        }
        for key, one in workloads.items()
    ).set_index(pd.Index(workloads))
    heavy = table.sort_values("weight", ascending=False, kind="stable")
    quick = table.sort_values("flops", kind="stable").drop_duplicates(["model", "kind"])
    # Models before kinds: another kind is nearer than another model. The tiny model comes last: its
    # steps are mostly overhead and tell little of another's operations.
    quick = quick.assign(other_kind=quick["kind"] != heavy["kind"].iloc[0])
    quick = quick.sort_values(["other_kind", "tiny"], kind="stable")
    return list(
        dict.fromkeys([*quick.index, *heavy.drop_duplicates(["model", "size"]).index, *heavy.index])
    )


def cost_of(workload: Workload, workloads: Workloads, measured: Costs) -> Cost:
    """Return what a workload takes: as measured, or as the nearest measured by its operations."""
    if workload.key in measured:
        return measured[workload.key]
    if not measured:
        return assumed(workload, gpu=torch.cuda.is_available())

    def distance(key: str) -> tuple:
        other = workloads[key]
        return (
            other.settings.model != workload.settings.model,
            (other.kind, other.stage) != (workload.kind, workload.stage),
            other.settings.precision != workload.settings.precision,
            abs(math.log(step_flops(workload) / step_flops(other))),
        )

    key = min(measured, key=distance)
    return _scaled(workload, workloads[key], measured[key])


def _scaled(workload: Workload, near: Workload, found: Cost) -> Cost:
    ours, theirs = counts_of(workload), counts_of(near)
    # A model without a trained head tells the speed of its operations by classifying.
    score = found.score
    if math.isnan(score):
        score = found.classify * theirs.membership / theirs.classify
    record = found.record * ours.shared / theirs.shared
    if math.isnan(record):
        record = found.classify * ours.shared / theirs.classify
    alike = near.settings.model == workload.settings.model
    grown = step_memory(workload) / step_memory(near)
    return Cost(
        step=found.step * step_flops(workload) / step_flops(near),
        classify=found.classify * ours.classify / theirs.classify,
        score=score * ours.membership / theirs.membership,
        memory=found.idle + (found.memory - found.idle) * grown,
        gpu=found.gpu * grown,
        record=record,
        source="from FLOPs" if alike else "from FLOPs, other model",
    )


def assumed(workload: Workload, gpu: bool) -> Cost:
    """Return a generous estimate from operations alone; see the rates at the top."""
    counts = counts_of(workload)
    threads = workload.settings.cpu_threads or torch.get_num_threads()
    rate, least = (_PER_GPU, _LEAST_STEP) if gpu else (_PER_THREAD * threads, 0.0)
    held = 2 * step_memory(workload) / _MEBI
    return Cost(
        step=max(least, step_flops(workload) / rate),
        classify=counts.classify / rate,
        score=counts.membership / rate,
        record=counts.shared / rate,
        memory=_IDLE if gpu else _IDLE + held,
        gpu=held if gpu else 0.0,
        source="assumed rate",
    )


def seconds_of(part: Part, cost: Cost) -> float:
    """Return the seconds of a training or of a run's scoring."""
    classified = part.classified + _CLASSIFICATIONS_PER_GRADIENT * part.differentiated
    # What no part has may have no cost: there may be no head to score with.
    scoring = part.scored * cost.score if part.scored else 0.0
    recording = part.recorded * cost.record if part.recorded else 0.0
    return part.steps * cost.step + classified * cost.classify + scoring + recording


def trainings_seconds(
    trainings: Sequence[Part], settings: RunConfig, costs: Costs, cores: int | None
) -> float:
    """Return the seconds of some of a run's trainings, as many at once as it has workers.

    Args:
        trainings: those that count.
        settings: the run's.
        costs: key of a workload → `Cost`.
        cores: of the machine; None: as many as the run asks for.
    """
    seconds = [(one.shadow, seconds_of(one, costs[one.workload.key])) for one in trainings]
    alone = sum(each for shadow, each in seconds if not shadow)
    shadows = [each for shadow, each in seconds if shadow]
    if not shadows:
        return alone
    # Workers share a GPU, and the cores where there are too few: together they compute no faster
    # than so many at full speed.
    threads = settings.cpu_threads or torch.get_num_threads()
    on_gpu = any(costs[one.workload.key].gpu for one in trainings if one.shadow)
    at_full_speed = 1.0 if on_gpu else max(1.0, (cores or math.inf) / threads)
    shortest = side_by_side(shadows, workers_of(settings))
    return alone + max(shortest, sum(shadows) / at_full_speed)


def memory(work: Work, costs: Costs) -> tuple[float, float]:
    """Return the MiB of memory and of a GPU's memory that a run holds at most."""
    workers = workers_of(work.settings)
    # Several workers are processes of their own, beside the run's, which keeps what it held.
    own = [one for one in work.trainings if workers == 1 or not one.shadow]
    used = [costs[one.workload.key] for one in (work.scoring, *own)]
    held, gpu = max(cost.memory for cost in used), max(cost.gpu for cost in used)
    if gpu and work.settings.head_epochs:  # all images lie there, and recorded activations
        gpu += (work.pixels + recorded(work)) / _MEBI
    if workers > 1:
        shadow = costs[work.trainings[-1].workload.key]  # they come last, and all are alike
        held, gpu = held + workers * shadow.memory, gpu + workers * shadow.gpu
    return held + work.logits / _MEBI, gpu


def recorded(work: Work) -> int:
    """Return the bytes of activations that a run records: in files, or in a GPU's memory."""
    return max(
        (2 * one.recorded * counts_of(one.workload).tapped for one in work.trainings), default=0
    )


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

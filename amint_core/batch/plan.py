"""What a profile's runs would cost, before anything starts: hours and memory per run.

Work is counted from the settings, speed and memory come from a short calibration on made-up pixels,
so that no dataset need be there. Not counted: decoding a dataset for the first time, bootstraps and
figures. Runs that stop early (`patience`) or share recorded activations take less than planned.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError

from amint_core.batch import reproduce
from amint_core.batch.grid import grid_file, load_grid
from amint_core.batch.planning import busy, estimate, measure
from amint_core.batch.planning.flops import step_flops
from amint_core.batch.planning.work import Cost, Part, Work, work_of
from amint_core.config import RunConfig
from amint_core.errors import ResultsError, SettingsError
from amint_core.files import read_json, write_text
from amint_core.locations import results_root, shown
from amint_core.progress import progress_bar
from amint_core.run.folder import run_folder
from amint_core.run.needs import kind_of, trained_by, workers_of
from amint_core.run.read_back import read_identity
from amint_core.run.recorded import DISK_BUDGET
from amint_core.run.steps import code_of
from amint_core.run.trainings import Training, identity

#: Of a plan's hours and memory, what a cluster is asked for: other work slows a node, and no run
#: should die a minute before its end.
_MARGIN_OF_TIME, _MARGIN_OF_MEMORY, _MINUTES, _MEBIBYTES = 2.0, 1.25, 15, 1_024
_LONGEST = 86_400  # seconds of calibration
_COLUMNS = {
    **{"run": "run", "status": "status", "steps": "steps", "seconds_per_step": "s/step"},
    **{"images": "images scored", "hours": "hours", "hours_alone": "alone"},
    **{"cores": "cores", "memory_gib": "GiB", "gpu_gib": "GPU GiB", "disk_gib": "disk GiB"},
    **{"estimate": "estimate", "paid_by": "paid by"},
}


@dataclass(frozen=True)
class Plan:
    """A profile's runs with their cost.

    Attributes:
        table: one row per run, see `_row`.
        calibration: in words, where and when it ran, and how many of how many workloads were
            measured while other work was or was not slowing them.
        hours: of all runs, side by side.
        beside: in words, what then goes side by side.
    """

    table: pd.DataFrame
    calibration: str
    hours: float
    beside: str

    def text(self, markdown: bool = False) -> str:
        """Return the table with its totals for a reader."""
        table = self.table[list(_COLUMNS)].rename(columns=_COLUMNS)
        unused = [name for name in ("gpu_gib", "disk_gib") if not self.table[name].any()]
        table = table.drop(columns=[_COLUMNS[name] for name in unused])
        for name in table.select_dtypes("float"):
            table[name] = table[name].map(_rounded)
        if markdown:
            body = table.to_markdown(index=False, disable_numparse=True)
            sums = "\n".join(self.totals())
            return f"# What it would cost\n\n{self.calibration}\n\n{body}\n\n{sums}\n"
        return "\n".join([self.calibration, table.to_string(index=False), *self.totals()])

    def totals(self) -> list[str]:
        """Return the sums, one sentence each."""
        hours, done = self.table["hours"], self.table["status"] == "done"
        rough = int((~done & self.table["estimate"].isin(estimate.ROUGH)).sum())
        warning = (
            f"ROUGH: of {rough} of these runs no case of the same model was measured. Calibrate "
            "for longer: make plan CALIBRATION=180, or amint plan --seconds 180."
        )
        budget = DISK_BUDGET / 2**30
        over = self.table.loc[~done & (self.table["disk_gib"] > budget), "run"]
        too_large = (
            f"TOO LARGE: {', '.join(over)} would record more activations than the {budget:.0f} GiB "
            "that are allowed. Lower external, head_copies or members, or take deeper taps."
        )
        return [
            f"{(~done).sum()} runs to do, {done.sum()} done.",
            f"Total: {_rounded(hours.sum())} hours one after another, "
            f"{_rounded(self.hours)} hours {self.beside}, at full speed each.",
            f"Largest: {self.table['memory_gib'].max():.3g} GiB of memory.",
            *([warning] if rough else []),
            *([too_large] if len(over) else []),
        ]


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def show(
    profile: str, grid_path: Path | None = None, seconds: float = 60, jobs: int | None = None
) -> int:
    """Print a profile's plan, write it to results/<profile>/plan.{csv,md}; return the exit status.

    Args:
        profile: whose runs.
        grid_path: the grid; by default config/<profile>.yaml.
        seconds: for the calibration, once a process for it has started; 0: none.
        jobs: runs side by side; None: as many as this machine has cores or GPUs for.

    Raises:
        SettingsError: there is no such profile, the grid is not valid, or an option is no number
            of seconds or runs.
    """
    if not 0 <= seconds <= _LONGEST or (jobs is not None and jobs < 1):
        raise SettingsError(
            f"seconds = {seconds}, jobs = {jobs}: give 0 to {_LONGEST:,} seconds (0: no "
            "calibration) and 1 or more jobs."
        )
    made = make(load_grid(grid_path or grid_file(profile), profile), seconds, jobs)
    folder = results_root() / profile
    write_text(folder / "plan.csv", made.table.to_csv(index=False))
    write_text(folder / "plan.md", made.text(markdown=True))
    print(made.text())
    print(f"amint: the plan is kept in {shown(folder / 'plan.csv')} and plan.md")
    return 0


def make(grid: dict[str, RunConfig], seconds: float, jobs: int | None = None) -> Plan:
    """Plan a grid of runs; see `show`."""
    works = {run: work_of(settings) for run, settings in grid.items()}
    states = {run: status(settings) for run, settings in grid.items()}
    workloads = {one.key: one for work in works.values() for one in work.workloads}
    operations = dict.fromkeys(workloads, 0.0)
    for run, work in progress_bar(works.items(), desc="operations", unit="run"):
        for one in work.trainings if states[run] != "done" else ():
            operations[one.workload.key] += one.steps * step_flops(one.workload)
    others = [busy.share()] if seconds else []
    start = measure.seconds_to_start() if seconds else 0.0
    measured = estimate.calibrate(workloads, operations, seconds)
    others += [busy.share()] if seconds else []
    costs = {key: estimate.cost_of(one, workloads, measured) for key, one in workloads.items()}
    machine = next((one.hardware for one in measured.values()), None)
    machine = machine or "no machine (no time for a measurement)"
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    kept = [run for run, work in works.items() if states[run] == "done" and _is_stored(work)]
    to_do = [run for run in works if states[run] != "done"]
    paid_by = trained_by(
        {run: tuple(one.training for one in works[run].trainings) for run in (*kept, *to_do)}
    )
    cores = os.cpu_count() or 1
    rows = [_row(work, costs, paid_by, states[run], start, cores) for run, work in works.items()]
    table = pd.DataFrame(rows).assign(machine=machine, date=date)
    rest = "from FLOPs" if measured else "from FLOPs at assumed rates"
    counted = f"{len(measured)} of {len(workloads)} cases measured, the others {rest}"
    calibration = f"Calibrated on {machine}, {date}: {counted}{busy.warning(others)}."
    return Plan(table, calibration, *_side_by_side(table, grid, jobs, cores))


def _side_by_side(
    table: pd.DataFrame, grid: dict[str, RunConfig], jobs: int | None, cores: int
) -> tuple[float, str]:
    """Return the hours of all runs and what goes side by side, as Snakemake shares it out."""
    order = table["run"].map(reproduce.priorities(grid)).sort_values(ascending=False, kind="stable")
    to_do = table.loc[order.index]
    to_do = to_do[to_do["status"] != "done"]
    hours = to_do["hours"].tolist()
    if jobs:
        return estimate.side_by_side(hours, jobs), f"with {jobs} side by side"
    devices = torch.cuda.device_count()
    if devices and any(map(reproduce.gpus, grid.values())):
        # Each is fed by cores of its own.
        devices = max(1, min(devices, cores // int(table["cores"].max())))
        return estimate.side_by_side(hours, devices), f"on {devices} GPU{'s' * (devices > 1)}"
    widths = to_do["cores"].tolist()
    return estimate.side_by_side(hours, cores, widths), f"side by side on {cores} cores"


def status(settings: RunConfig) -> str:
    """Return "done", "again" (there, but from other code: it would run again) or "to run"."""
    folder = run_folder(settings)
    if not all((folder / name).is_file() for name in ("metrics.json", "scores.parquet")):
        return "to run"
    manifest = folder / "manifest.json"
    code = read_json(manifest).get("code") if manifest.is_file() else None
    return "done" if code == code_of(settings) else "again"


def _is_stored(work: Work) -> bool:
    """Tell whether the store still holds a done run's training, of this code, for other runs."""
    weights = run_folder(work.settings) / "model.safetensors"
    if not weights.is_file():
        return False
    try:
        found = read_identity(weights)
    except (OSError, ValueError, SafetensorError):  # damaged, so that it will be made again
        return False
    data = found.get("data", ""), found.get("split", "")
    wanted = identity(work.settings, kind_of(work.settings), *data)
    return found == wanted and Training(found).is_done()


def _row(
    work: Work,
    costs: dict[str, Cost],
    paid_by: dict[str, str],
    state: str,
    start: float,
    cores: int | None,
) -> dict[str, Any]:
    """Return a run's row, on a machine of so many `cores` (None: as many as it asks for).

    `hours` counts what the run itself pays, 0 where it is done; `hours_alone` all trainings that it
    needs, whoever pays; `memory_gib` the largest of its parts, those at once taken together.
    """

    run, settings = work.settings.id, work.settings
    own = costs[work.scoring.workload.key]
    rest = start + estimate.seconds_of(work.scoring, own)
    stepping = sum(one.steps * costs[one.workload.key].step for one in work.trainings)

    def hours(trainings: Sequence[Part]) -> float:
        return (rest + estimate.trainings_seconds(trainings, settings, costs, cores)) / 3600

    payer = {one.training: paid_by.get(one.training, "") for one in work.trainings}
    paid = [one for one in work.trainings if payer[one.training] == run]
    others = [one for one in dict.fromkeys(payer.values()) if one not in ("", run)]
    sources = [costs[one.key].source for one in work.workloads]
    held, on_gpu = estimate.memory(work, costs)
    return {
        "run": run,
        "status": state,
        "trainings": len(payer),
        "steps": work.steps,
        "seconds_per_step": stepping / work.steps,
        "images": work.scoring.classified + work.scoring.scored + work.scoring.differentiated,
        "hours": 0.0 if state == "done" else hours(paid),
        "hours_alone": hours(work.trainings),
        "workers": workers_of(settings),
        "cores": reproduce.threads(settings, cores),
        "memory_gib": held / 1024,
        "gpu_gib": on_gpu / 1024,
        "disk_gib": 0.0 if on_gpu else estimate.recorded(work) / 2**30,
        "estimate": max(sources, key=estimate.SOURCES.index),
        "paid_by": "" if state == "done" else " ".join(others),
    }


#: Columns of a plan that a cluster is asked by.
_ASKED = ("hours_alone", "memory_gib")


def resources(settings: RunConfig) -> dict[str, int]:
    """Return what a cluster should set aside for a run, without measuring anything.

    Reads results/<profile>/plan.csv, to be made on the kind of machine that will run; a run that it
    does not have gets a generous estimate from its operations, see `planning.estimate`. Every
    training is counted, since another run that shares one may start later.

    Returns:
        `mem_mb` (MiB) and `runtime` (minutes).
    """
    row = _planned(settings)
    return {
        "mem_mb": round(row["memory_gib"] * 1024 * _MARGIN_OF_MEMORY) + _MEBIBYTES,
        "runtime": round(row["hours_alone"] * 60 * _MARGIN_OF_TIME) + _MINUTES,
    }


def _planned(settings: RunConfig) -> dict[str, Any]:
    """Return a run's row of its profile's plan, or else one that is assumed."""
    file = results_root() / settings.profile / "plan.csv"
    if file.is_file():
        try:
            table = pd.read_csv(file)
            # `workers` is no part of a run's id.
            alike = table.get("workers", 1) == workers_of(settings)
            found = table[(table["run"] == settings.id) & alike].to_dict("records")
            if found and not all(0 <= float(found[0][name]) < 1e9 for name in _ASKED):
                raise ValueError("hours or memory that no run takes")
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ResultsError(
                f"{shown(file)} is no plan ({error!r}). Make it again: amint plan --profile "
                f"{settings.profile}."
            ) from error
        if found:
            return found[0]
    work, gpu = work_of(settings), bool(reproduce.gpus(settings))
    costs = {one.key: estimate.assumed(one, gpu) for one in work.workloads}
    return _row(work, costs, {}, "to run", 0.0, cores=None)

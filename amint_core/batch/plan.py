"""What a profile's runs would cost, before anything starts: hours and memory per run.

Work is counted from the settings, speed and memory come from a short calibration on made-up pixels,
so that no dataset need be there. Not counted: decoding a dataset for the first time, bootstraps and
figures, and runs that stop early (`patience`), which take less.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from safetensors import safe_open

from amint_core.batch import reproduce
from amint_core.batch.grid import grid_file, load_grid
from amint_core.config import RunConfig
from amint_core.errors import SettingsError
from amint_core.files import read_json, write_text
from amint_core.locations import results_root, shown
from amint_core.progress import progress_bar
from amint_core.run.folder import run_folder

if TYPE_CHECKING:
    from amint_core.batch.planning.estimate import Cost
    from amint_core.batch.planning.work import Task, Work

#: Of a plan's hours and memory, what a cluster is asked for: other work slows a node, and no run
#: should die a minute before its end.
_MARGIN_OF_TIME, _MARGIN_OF_MEMORY, _MINUTES, _MEBIBYTES = 2.0, 1.25, 15, 1_024
_LONGEST = 86_400  # seconds of calibration
_COLUMNS = {
    **{"run": "run", "status": "status", "steps": "steps", "seconds_per_step": "s/step"},
    **{"images": "images scored", "hours": "hours", "hours_alone": "alone"},
    **{"cores": "cores", "memory_gib": "GiB", "gpu_gib": "GPU GiB"},
    **{"estimate": "estimate", "paid_by": "paid by"},
}


@dataclass(frozen=True)
class Plan:
    """A profile's runs with their cost.

    Attributes:
        table: one row per run, see `_row`.
        hours: of all runs, side by side.
        beside: in words, what then goes side by side.
        machine: where the calibration ran.
        date: when, in UTC.
        measured: how many of how many different cases were measured, in words, and whether other
            work slowed them.
    """

    table: pd.DataFrame
    hours: float
    beside: str
    machine: str
    date: str
    measured: str

    def text(self, markdown: bool = False) -> str:
        """Return the table with its totals for a reader."""
        shown_table = self.table[list(_COLUMNS)].rename(columns=_COLUMNS)
        shown_table = shown_table.drop(columns=[] if self.table["gpu_gib"].any() else ["GPU GiB"])
        for name in shown_table.select_dtypes("float"):
            shown_table[name] = shown_table[name].map(_rounded)
        head = f"Calibrated on {self.machine}, {self.date}: {self.measured}."
        if markdown:
            body = shown_table.to_markdown(index=False, disable_numparse=True)
            return f"# What it would cost\n\n{head}\n\n{body}\n\n" + "\n".join(self.totals()) + "\n"
        return "\n".join([head, shown_table.to_string(index=False), *self.totals()])

    def totals(self) -> list[str]:
        """Return the sums, one sentence each."""
        from amint_core.batch.planning.estimate import ROUGH

        hours = self.table["hours"]
        done = int((self.table["status"] == "done").sum())
        rough = int(((self.table["status"] != "done") & self.table["estimate"].isin(ROUGH)).sum())
        warning = (
            f"ROUGH: of {rough} of these runs no case of the same model was measured. Calibrate "
            "for longer: make plan CALIBRATION=180, or amint plan --seconds 180."
        )
        return [
            f"{len(hours) - done} runs to do, {done} done.",
            f"Total: {_rounded(hours.sum())} hours one after another, "
            f"{_rounded(self.hours)} hours {self.beside}, at full speed each.",
            f"Largest: {self.table['memory_gib'].max():.3g} GiB of memory.",
            *([warning] if rough else []),
        ]


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
    grid = load_grid(grid_path or grid_file(profile), profile)
    made = make(grid, seconds, jobs)
    folder = results_root() / profile
    write_text(folder / "plan.csv", made.table.to_csv(index=False))
    write_text(folder / "plan.md", made.text(markdown=True))
    print(made.text())
    print(f"amint: the plan is kept in {shown(folder / 'plan.csv')} and plan.md")
    return 0


def make(grid: dict[str, RunConfig], seconds: float, jobs: int | None = None) -> Plan:
    """Plan a grid of runs; see `show`."""
    from amint_core.batch.planning import calibrate, estimate, load
    from amint_core.batch.planning.work import work_of

    works = {run: work_of(settings) for run, settings in grid.items()}
    cases = {case.key: case for work in works.values() for case in _cases(work)}
    states = {run: status(settings) for run, settings in grid.items()}
    weights = dict.fromkeys(cases, 0.0)
    for run, work in progress_bar(works.items(), desc="operations", unit="run"):
        for key, spent in estimate.operations(work).items():
            weights[key] += spent * (states[run] != "done")
    beside = [load.others()] if seconds else []
    start = calibrate.seconds_to_start() if seconds else 0.0
    measured = estimate.calibrate(cases, weights, seconds)
    beside += [load.others()] if seconds else []
    costs = {key: estimate.cost_of(case, cases, measured) for key, case in cases.items()}
    any_found = next(iter(measured.values()), None)
    machine = any_found.hardware if any_found else "no machine (no time for a measurement)"
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    payers = _payers(works, states)
    cores = os.cpu_count() or 1
    rows = [_row(work, costs, payers, states[run], start, cores) for run, work in works.items()]
    table = pd.DataFrame(rows).assign(machine=machine, date=date)
    others = "from FLOPs" if measured else "from FLOPs at assumed rates"
    counted = f"{len(measured)} of {len(cases)} cases measured, the others {others}"
    counted += load.warning(beside)
    hours, beside = _side_by_side(table, grid, jobs, cores)
    return Plan(table, hours, beside, machine, date, counted)


def _side_by_side(
    table: pd.DataFrame, grid: dict[str, RunConfig], jobs: int | None, cores: int
) -> tuple[float, str]:
    """Return the hours of all runs and what goes side by side, as Snakemake shares it out."""
    from amint_core.batch.planning.estimate import side_by_side

    order = table["run"].map(reproduce.priorities(grid)).sort_values(ascending=False, kind="stable")
    to_do = table.loc[order.index]
    to_do = to_do[to_do["status"] != "done"]
    hours = to_do["hours"].tolist()
    if jobs:
        return side_by_side(hours, jobs), f"with {jobs} side by side"
    devices = torch.cuda.device_count()
    if devices and any(map(reproduce.gpus, grid.values())):
        # Each is fed by cores of its own.
        devices = max(1, min(devices, cores // int(table["cores"].max())))
        return side_by_side(hours, devices), f"on {devices} GPU{'s' * (devices > 1)}"
    return side_by_side(hours, cores, to_do["cores"].tolist()), f"side by side on {cores} cores"


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cases(work: Work) -> list[Any]:
    return [work.case, *(task.case for task in work.tasks)]


def status(settings: RunConfig) -> str:
    """Return "done", "again" (there, but from other code: it would run again) or "to run"."""
    from amint_core.run.steps import code_of

    folder = run_folder(settings)
    if not all((folder / name).is_file() for name in ("metrics.json", "scores.parquet")):
        return "to run"
    manifest = folder / "manifest.json"
    code = read_json(manifest).get("code") if manifest.is_file() else None
    return "done" if code == code_of(settings) else "again"


def _payers(works: dict[str, Work], states: dict[str, str]) -> dict[str, str]:
    """Return training → the run that pays for it: the first that needs it, a done one before."""
    from amint_core.batch.planning.work import payers

    kept = [run for run, work in works.items() if states[run] == "done" and _is_stored(work)]
    to_do = [run for run in works if states[run] != "done"]
    return payers((run, works[run]) for run in (*kept, *to_do))


def _is_stored(work: Work) -> bool:
    """Tell whether the store still holds a done run's training, of this code, for other runs."""
    from amint_core.training.store import Training
    from amint_core.training.trained import surroundings

    weights = run_folder(work.settings) / "model.safetensors"
    if not weights.is_file():
        return False
    with safe_open(weights, framework="pt") as file:
        identity = json.loads((file.metadata() or {}).get("amint", "{}"))
    return surroundings(work.settings).items() <= identity.items() and Training(identity).is_done()


def _row(
    work: Work,
    costs: dict[str, Cost],
    payers: dict[str, str],
    state: str,
    start: float,
    cores: int | None,
) -> dict[str, Any]:
    """Return a run's row, on a machine of so many `cores` (None: as many as it asks for).

    `hours` counts what the run itself pays, 0 where it is done; `hours_alone` all trainings that it
    needs, whoever pays; `memory_gib` the largest of its parts, those at once taken together.
    """
    from amint_core.batch.planning import estimate
    from amint_core.batch.planning.work import workers_of

    def seconds(tasks: Sequence[Task]) -> float:
        return estimate.trainings_seconds(tasks, work, costs, cores)

    run, own = work.settings.id, costs[work.case.key]
    rest = start + estimate.scoring_seconds(work, own)
    paid = [task for task in work.tasks if payers.get(task.identity) == run]
    others = dict.fromkeys(payers.get(task.identity, run) for task in work.tasks)
    sources = [costs[case.key].source for case in _cases(work)]
    held, on_gpu = estimate.memory(work, costs)
    return {
        "run": run,
        "status": state,
        "trainings": len(work.tasks),
        "steps": work.steps,
        "seconds_per_step": own.step,
        "images": work.classified + work.scored + work.differentiated,
        "hours": 0.0 if state == "done" else (rest + seconds(paid)) / 3600,
        "hours_alone": (rest + seconds(work.tasks)) / 3600,
        "workers": workers_of(work.settings),
        "cores": reproduce.threads(work.settings, cores),
        "memory_gib": held / 1024,
        "gpu_gib": on_gpu / 1024,
        "estimate": max(sources, key=estimate.SOURCES.index),
        "paid_by": "" if state == "done" else " ".join(one for one in others if one != run),
    }


def resources(settings: RunConfig) -> dict[str, int]:
    """Return what a cluster should set aside for a run, without measuring anything.

    Reads results/<profile>/plan.csv, to be made on the kind of machine that will run; a run that it
    does not have gets a generous estimate from its operations, see `planning.estimate`. Every
    training is counted, since another run that shares one may start later.

    Returns:
        `mem_mb` (MiB) and `runtime` (minutes).
    """
    row = _planned(settings)
    hours, gibibytes = row["hours_alone"], row["memory_gib"]
    return {
        "mem_mb": round(gibibytes * 1024 * _MARGIN_OF_MEMORY) + _MEBIBYTES,
        "runtime": round(hours * 60 * _MARGIN_OF_TIME) + _MINUTES,
    }


def _planned(settings: RunConfig) -> dict[str, Any]:
    from amint_core.batch.planning.estimate import assumed
    from amint_core.batch.planning.work import work_of, workers_of

    file = results_root() / settings.profile / "plan.csv"
    if file.is_file():
        table = pd.read_csv(file)
        # `workers` is no part of a run's id.
        alike = table.get("workers", 1) == workers_of(settings)
        found = table[(table["run"] == settings.id) & alike]
        if len(found):
            return found.iloc[0].to_dict()
    work, gpu = work_of(settings), bool(reproduce.gpus(settings))
    costs = {case.key: assumed(case, gpu) for case in _cases(work)}
    return _row(work, costs, {}, "to run", 0.0, cores=None)

"""A profile's grid through Snakemake: runs, report, comparison, and what failed.

Snakemake decides what is missing or changed and calls papermill once per run (see `Snakefile`);
this module starts it, survives its failures and names them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from amint_core.batch import driver
from amint_core.batch.grid import grid_file, load_grid, notebook_for
from amint_core.config import RunConfig
from amint_core.errors import SettingsError, unknown_name
from amint_core.extras import require
from amint_core.files import is_full
from amint_core.imports import PACKAGE, reached
from amint_core.locations import project_root, results_root, shown
from amint_core.methods import METHODS
from amint_core.model.zoo import AUDITED
from amint_core.run import reference
from amint_core.run.needs import trained_by, trainings_needed, workers_of

#: Options for Snakemake, one folder each: cores or jobs, GPUs, what to do on failures.
WORKFLOW_PROFILES = "workflow/profiles"
#: Cores for each process of a run that leaves the number to PyTorch, e.g. to feed a GPU.
DEFAULT_THREADS = 4


def profile_folder(profile: str) -> str:
    """Return a profile's results folder as Snakemake should name it.

    Inside the project it is relative, so that a moved project finds its results up to date.
    """
    folder = results_root() / profile
    here = Path.cwd().resolve()
    return (folder.relative_to(here) if folder.is_relative_to(here) else folder).as_posix()


def sources(grid: Mapping[str, RunConfig]) -> set[Path]:
    """Return the package's source files, and those elsewhere that its tests and models import."""
    own = {
        path
        for path in Path(PACKAGE).rglob("*.py")
        if not any(part.startswith(".") for part in path.parts)  # such as .ipynb_checkpoints
    }
    # A model that is not registered is timm's, whose version stands for its code.
    models = {settings.model for settings in grid.values()} & {*AUDITED}
    methods = {settings.method for settings in grid.values()}
    roots = {one for name in models for one in AUDITED.roots(name)}
    roots |= {one for name in methods for one in METHODS.roots(name)}
    added = {path for name, path in reached(*roots).items() if name.split(".")[0] != PACKAGE}
    return own | added


def notebook_file(settings: RunConfig) -> str:
    """Return the notebook that runs `settings`, relative to the project."""
    return f"notebooks/{notebook_for(settings)}.ipynb"


def papermill_settings(settings: RunConfig) -> str:
    """Write `settings` as one line of YAML for papermill's `-y`.

    Every setting is given, since a notebook's own defaults are not those of `RunConfig`: what the
    grid leaves open must not depend on the notebook. Runs beside it are the grid's own.
    """
    values = settings.model_dump(mode="json") | {"beside": []}
    return yaml.safe_dump(values, default_flow_style=True, width=float("inf"), sort_keys=False)


def threads(settings: RunConfig, cores: int | None) -> int:
    """Return the cores that a run gets, of `cores` here; None where a cluster has them."""
    wanted = workers_of(settings) * (settings.cpu_threads or DEFAULT_THREADS)
    return min(wanted, cores or wanted)


def gpus(settings: RunConfig) -> int:
    """Return the GPUs that a run takes; one that states its CPU threads is meant for the CPU."""
    return 0 if settings.cpu_threads else 1


def priorities(grid: dict[str, RunConfig]) -> dict[str, int]:
    """Return Snakemake's priority of each run, so that few wait for another's training.

    A run that needs a model which another trains at that moment waits for it with its cores in
    hand. So those that need none go first, before them those that others need, and a run that needs
    several such runs, one after the other, comes late.
    """
    trainings = {run: trainings_needed(settings) for run, settings in grid.items()}
    first = trained_by(trainings)
    depth: dict[str, int] = {}
    needed: set[str] = set()
    for run, own in trainings.items():  # those that it needs stand before it
        others = {first[training] for training in own} - {run}
        depth[run] = 1 + max((depth[other] for other in others), default=-1)
        needed |= others
    deepest = max(depth.values(), default=0)
    return {run: 2 * (deepest - depth[run]) + (run in needed) for run in grid}


def workflow_profile(cluster: str | None) -> str:
    """Return the folder of Snakemake's options for this machine, or for a cluster.

    Raises:
        SettingsError: there are none for that cluster, or its jobs could not find this Python.
    """
    folder = project_root() / WORKFLOW_PROFILES
    known = sorted(path.parent.name for path in folder.glob("*/config.yaml"))
    if (cluster or "default") not in known:
        raise SettingsError(unknown_name("cluster", cluster, known))
    if cluster and " " in sys.executable:
        raise SettingsError(
            f"Jobs of a cluster cannot start {sys.executable!r}: its path has a space, which "
            "Snakemake does not quote. Move the project to a path without spaces."
        )
    return f"{WORKFLOW_PROFILES}/{cluster or 'default'}"


def reproduce(
    profile: str,
    grid_path: Path | None = None,
    extra: Sequence[str] = (),
    cluster: str | None = None,
) -> int:
    """Run what is missing or changed of a profile's grid, report, compare and say where all is.

    Args:
        profile: results go to results/<profile>/.
        grid_path: the grid; by default config/<profile>.yaml.
        extra: further options for Snakemake.
        cluster: the cluster that does the runs, a folder of workflow/profiles; None: this machine.

    Returns: the exit status, 0 where every run and the report succeeded.

    Raises:
        SettingsError: the grid is not valid, or there is no such cluster.
    """
    require("batch", "snakemake", "papermill", "ipykernel", "matplotlib", "jinja2", "tabulate")
    options = ["--workflow-profile", workflow_profile(cluster)]
    if cluster is None:
        import torch  # only here: the Snakefile imports this module, and needs none of it

        # one at least: without any, a run that wants one takes the CPU
        options = ["--resources", f"gpu={max(1, torch.cuda.device_count())}", *options]
    options_file = None if cluster is None else project_root() / workflow_profile(cluster)
    driver.refuse_what_cannot_start(options_file, extra)
    extra = [*options, *extra]
    started = time.monotonic()
    path = (grid_path or grid_file(profile)).resolve()
    grid = load_grid(path, profile)
    folder = results_root() / profile
    print(f"amint: profile {profile}, {len(grid)} runs, into {shown(folder)}", flush=True)
    status = _snakemake(profile, path, "runs", extra)
    if status == driver.INTERRUPTED:
        return _say_interrupted(folder, grid)
    failed = [run for run in grid if not _is_done(folder / "runs" / run)]
    reported = len(failed) < len(grid) and _report(profile, path, extra)
    _say_failures(folder, failed, status)
    if reported:
        print()
        print(reference.compare(profile, list(grid)))
        say_places(profile)
    elif len(failed) < len(grid):
        print(f"\namint: the report failed; see {shown(folder / 'logs' / 'report.log')}")
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    in_place = f"{len(grid) - len(failed)} of {len(grid)} runs in place"
    print(f"\namint: {in_place}, {minutes} min {seconds} s")
    return int(bool(status or failed or not reported))


def _report(profile: str, path: Path, extra: Sequence[str]) -> bool:
    # Only this rule: runs that failed are not tried a second time.
    options = [*extra, "--allowed-rules", "report"]
    return _snakemake(profile, path, "report", options, "partial=true") == 0


def _snakemake(profile: str, path: Path, target: str, extra: Sequence[str], *config: str) -> int:
    # Snakemake's own lock outlives a killed process; this one ends with it, and a Snakemake that
    # outlived a killed call is waited for.
    lock = results_root() / profile / "logs" / "snakemake.lock"
    command = [sys.executable, "-m", "amint_core.batch.lock", str(lock), "snakemake", "--nolock"]
    command += [target, "--quiet", "host", "reason", *extra]
    # In quotes, as Snakemake takes 2026_01 for a number; in blanks, as it strips quotes.
    named = {"profile": profile, "grid": str(path)}
    texts = [f"{name}= {json.dumps(text, ensure_ascii=False)} " for name, text in named.items()]
    return driver.run([*command, "--config", *texts, *config])


def _say_interrupted(folder: Path, grid: dict[str, RunConfig]) -> int:
    done = sum(_is_done(folder / "runs" / run) for run in grid)
    print(
        f"\namint: interrupted; {done} of {len(grid)} runs in place. The same command goes on: "
        "what is done stays, and a training that was cut off continues from its last state kept.",
        flush=True,
    )
    return driver.INTERRUPTED


def _is_done(run: Path) -> bool:
    return (run / "metrics.json").is_file() and (run / "scores.parquet").is_file()


def _say_failures(folder: Path, failed: list[str], status: int) -> None:
    if not failed and status:
        print(f"\namint: Snakemake ended with status {status}; its messages stand above.")
    ran = [run for run in failed if (folder / "runs" / run / "papermill.log").is_file()]
    if len(failed) > len(ran):
        print(
            f"\namint: {len(failed) - len(ran)} of the runs were not started; Snakemake's messages "
            "above say why."
        )
    if ran:
        print(f"\namint: {len(ran)} of the runs failed:")
    for run in ran:
        place = folder / "runs" / run
        print(f"  {run}\n    {last_error(place)}\n    log: {shown(place / 'papermill.log')}")
    if failed and is_full(folder):
        print(f"\namint: the disk of {shown(folder)} is full. Free some space; nothing is lost.")


def last_error(run: Path) -> str:
    """Return the error that ended a run, in one line: from its notebook, or else from its log."""
    notebook, cells = run / "notebook.ipynb", []
    with suppress(OSError, ValueError, KeyError):
        if notebook.is_file():  # a named pipe would hang
            cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = (output for cell in cells for output in cell.get("outputs", ()))
    errors = [output for output in outputs if output["output_type"] == "error"]
    if errors:
        return f"{errors[-1]['ename']}: {errors[-1]['evalue']}".replace("\n", " ")
    log = run / "papermill.log"
    if not log.is_file():
        return "It left no log: it was not started."
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "Its log is empty.")


def say_places(profile: str) -> None:
    """Print where a profile's results are."""
    folder = results_root() / profile
    places = {
        "table": folder / "tables" / "table1.md",
        "comparison": folder / "tables" / "comparison.md",
        "figures": folder / "figures",
        "tables and figures": folder / "aMINTResults.ipynb",
        "runs": folder / "runs",
    }
    print("\namint: where everything is")
    for name, place in places.items():
        if place.exists():
            print(f"  {name + ':':20}{shown(place)}")

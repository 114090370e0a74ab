"""The command line: `amint` or `python -m amint_core`.

Each command imports what it needs when it is called: `--help` and `list` must not wait for PyTorch.
"""

from __future__ import annotations

import _thread
import argparse
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

import yaml

from amint_core.audit import commands as audits
from amint_core.errors import AmintError, DataError, SettingsError, unknown_name
from amint_core.extras import require
from amint_core.locations import given_path, require_checkout


def data(options: argparse.Namespace) -> int:
    """Download what can be downloaded; say what is there and where to put what is not."""
    from amint_core.data import status
    from amint_core.locations import data_root, shown

    _require_datasets(options.names)
    print(f"Datasets in {shown(data_root())} (AMINT_DATA names another folder):")
    failed = False
    for row in status():
        if not options.names or row["dataset"] in options.names:
            failed |= _obtain(row, only_say=options.status)
    return int(failed)


def _require_profile(options: argparse.Namespace) -> None:
    from amint_core.config import require_profile_name

    require_checkout(f"amint {options.command}")
    require_profile_name(options.profile)


def _require_datasets(names: Sequence[str]) -> None:
    from amint_core.data import DATASETS

    if unknown := set(names) - set(DATASETS):
        raise SettingsError(unknown_name("dataset", min(unknown), DATASETS))


def _obtain(row: dict[str, Any], only_say: bool) -> bool:
    """Say or mend what `data.status` tells of a dataset; return whether a download failed."""
    from amint_core.data import DATASETS, download

    title, possible = row["title"], DATASETS[row["dataset"]].download is not None
    if row["found"]:
        print(f"  {title}: there, in {row['where']}")
    elif only_say or not possible:
        print(f"  {title}: not there. {row['detail']}")
    else:
        print(f"  {title}: downloading ...", flush=True)
        try:
            download(row["dataset"])
        except DataError as error:
            print(f"  {title}: {error}")
            return True
        print(f"  {title}: downloaded")
    return False


def run(options: argparse.Namespace) -> int:
    """Run one set of settings without a notebook and print its metrics."""
    from amint_core.settings import create

    settings = create(**parse_settings(options.settings))

    from amint_core.locations import shown
    from amint_core.run.folder import run_folder
    from amint_core.run.steps import run_all
    from amint_core.training.distributed import processes

    metrics = run_all(settings)
    if processes().is_main_process:
        print(yaml.safe_dump(metrics, sort_keys=False, allow_unicode=True))
        print(f"amint: files in {shown(run_folder(settings))}")
    return 0


def parse_settings(pairs: list[str]) -> dict[str, object]:
    """Read KEY=VALUE pairs, values as YAML: `epochs=3`, `defects=[separate_batches]`.

    What can be text alone stays as it is written, unless it is quoted: `profile=2026_01` is no
    number, and `dataset=folder:photos #2` no comment.

    Raises:
        SettingsError: a pair has no "=", its value is not YAML, or a key comes twice.
    """
    from amint_core.config import TEXTS
    from amint_core.values import read_yaml

    settings: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        shown = repr(pair if len(pair) <= 80 else f"{pair[:79]}…")
        if not equals:
            raise SettingsError(f"{shown} is not of the form KEY=VALUE, e.g. model=resnet50.")
        try:
            value = read_yaml(text)
        except ValueError as error:
            raise SettingsError(
                f"{shown}: the value is not YAML ({error}). Quote it for the shell, e.g. "
                "'taps=[a, b]'."
            ) from None
        name = key.strip()
        if name in settings:
            raise SettingsError(f"{name} is given twice. Give each setting once.")
        as_written = name in TEXTS and text.strip()[:1] not in ("'", '"')
        settings[name] = text.strip() if as_written else value
    return settings


def reproduce(options: argparse.Namespace) -> int:
    """Run what is missing or changed of a profile's grid, report and compare."""
    from amint_core.batch import reproduce

    return reproduce.reproduce(options.profile, options.grid, options.snakemake, options.cluster)


def grid(options: argparse.Namespace) -> int:
    """Run as much of a profile's grid as a time limit allows, in one process."""
    require("batch", "psutil")

    import torch

    from amint_core.batch.grid import grid_file, load_grid
    from amint_core.batch.timed.grid import NO_TIME, Clock, Timed
    from amint_core.locations import results_root

    if options.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: PyTorch finds no GPU here. Leave it out.")
    if not options.minutes > 0:  # as is no number, which no time is longer than
        raise SettingsError(f"--minutes {options.minutes:g}: give a number above 0.")
    runs = load_grid(options.grid or grid_file(options.profile), options.profile).values()
    own = {run.dataset for run in runs}  # a folder of images, too
    _require_datasets([name for name in options.datasets or () if name not in own])
    timed = Timed(
        root=results_root() / options.profile,
        device=torch.device(options.device),
        clock=Clock(60 * options.minutes),
        packed=options.packed,
        graph=not options.no_graphs,
        say=lambda line: print(line, flush=True),
    )
    asked = [run for run in runs if not options.datasets or run.dataset in options.datasets]
    left = timed.run(asked, [run for run in runs if run not in asked])
    return int(any(not one["why"].startswith(NO_TIME) for one in left))


def plan(options: argparse.Namespace) -> int:
    """Say what a profile's runs would cost, hours and memory, before anything starts."""
    require("batch", "psutil", "tabulate")

    from amint_core.batch.plan import show

    return show(options.profile, options.grid, options.seconds, options.jobs)


def judge(options: argparse.Namespace) -> int:
    """Judge the saved scores of a timed grid anew; nothing is trained."""
    from amint_core.batch.timed.judging import judge_again
    from amint_core.report.read import profile_folder

    changed = judge_again(profile_folder(options.profile))
    print(f"{len(changed)} runs have other metrics than before. Tables: amint report.")
    return 0


def report(options: argparse.Namespace) -> int:
    """Write a profile's tables and figures anew from its runs."""
    require("batch", "matplotlib", "jinja2", "tabulate")

    from amint_core.batch import reproduce
    from amint_core.report import write

    write(options.profile)
    reproduce.say_places(options.profile)
    return 0


def compare(options: argparse.Namespace) -> int:
    """Compare a profile's runs with its reference values."""
    from amint_core.batch.grid import grid_file, load_grid
    from amint_core.run import reference

    grid = load_grid(options.grid or grid_file(options.profile), options.profile)
    print(reference.compare(options.profile, list(grid)))
    return 0


def bless(options: argparse.Namespace) -> int:
    """Keep a profile's present results as its reference values."""
    from amint_core.batch.grid import grid_file, load_grid
    from amint_core.locations import shown
    from amint_core.run import reference

    grid = load_grid(options.grid or grid_file(options.profile), options.profile)
    target = reference.bless(options.profile, list(grid))
    print(f"amint: reference values kept in {shown(target)}")
    return 0


def export(options: argparse.Namespace) -> int:
    """Write the model of a finished run into a folder that an auditor can be given."""
    from amint_core.audit.export import export
    from amint_core.locations import shown

    print(f"amint: auditable model in {shown(export(options.run, options.folder))}")
    return 0


def show_names(options: argparse.Namespace) -> int:
    """Print the names that settings may take."""
    from amint_core.config import Augmentation, choices
    from amint_core.data import DATASETS
    from amint_core.methods import METHODS
    from amint_core.model.zoo import SETUPS, known_names
    from amint_core.recipes import DEFECTS, RECIPES

    names = {"datasets": DATASETS, "models (or any of timm's)": known_names(), "setups": SETUPS}
    names |= {"recipes": RECIPES, "transformations": choices(Augmentation)}
    for kind, known in names.items():
        print(f"{kind}: {', '.join(known)}")
    print("methods:")
    for name, method in METHODS.items():
        print(f"  {name}: {method.summary}")
    print("defects of the published notebooks:")
    for name, defect in DEFECTS.items():
        print(f"  {name}: {defect.effect}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    top = argparse.ArgumentParser(
        prog="amint", description="Reproduce and try the Active Membership Inference Test (aMINT)."
    )
    commands = top.add_subparsers(
        title="commands", required=True, dest="command", metavar="COMMAND"
    )

    fetch = _command(commands, "data", data)
    fetch.add_argument("names", nargs="*", metavar="DATASET", help="default: all")
    fetch.add_argument("--status", action="store_true", help="only say what is there")

    one = _command(commands, "run", run)
    one.add_argument(
        "settings",
        nargs="+",
        metavar="KEY=VALUE",
        help="e.g. dataset=mnist epochs=3; all settings: amint_core/config.py",
    )

    given = _command(commands, "export", export)
    given.add_argument("run", type=given_path, metavar="RUN_FOLDER", help="results/PROFILE/runs/ID")
    given.add_argument("folder", type=given_path, metavar="FOLDER", help="where the model goes")

    audits.add(commands, _command)

    batch = _command(commands, "reproduce", reproduce, profiled=True)
    batch.add_argument("--cluster", help="what does the runs: slurm; default: this machine")
    batch.add_argument("snakemake", nargs="*", help="options for Snakemake, after --")

    limited = _command(commands, "grid", grid, profiled=True)
    limited.add_argument("--minutes", type=float, required=True, help="from now on")
    limited.add_argument(
        "--device", default="cpu", choices=("cpu", "cuda"), help="(default: %(default)s)"
    )
    limited.add_argument("--packed", type=given_path, help="folder of packed datasets, if any")
    limited.add_argument("--datasets", nargs="*", help="these alone (default: all of the grid)")
    limited.add_argument("--no-graphs", action="store_true", help="capture no CUDA graphs")

    cost = _command(commands, "plan", plan, profiled=True)
    cost.add_argument(
        "--seconds", type=float, default=60, help="for the calibration (default: %(default)s)"
    )
    cost.add_argument("--jobs", type=int, help="runs side by side (default: what fits here)")

    _command(commands, "judge", judge, profiled=True)
    _command(commands, "report", report, profiled=True)
    against = _command(commands, "compare", compare, profiled=True)
    keep = _command(commands, "reference", bless, profiled=True)
    for command in (batch, limited, cost, against, keep):
        command.add_argument(
            "--grid", type=given_path, help="another grid than config/PROFILE.yaml"
        )
    _command(commands, "list", show_names)
    return top


def _command(commands, name, action, *, profiled: bool = False) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=action.__doc__, description=action.__doc__)
    command.set_defaults(action=action)
    if profiled:
        command.add_argument(
            "--profile",
            default="quick",
            help="a grid, config/PROFILE.yaml, and its folder in results/ (default: %(default)s)",
        )
    return command


@contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Interrupt again where Ctrl-C came within a destructor or a weak reference's callback.

    Python prints what is raised there, and goes on as if nothing had been.
    """
    before, timers = sys.unraisablehook, []

    def again(ignored: Any) -> None:
        if isinstance(ignored.exc_value, KeyboardInterrupt):
            # A moment later: what is raised in here is ignored, too.
            timers.append(threading.Timer(0.05, _thread.interrupt_main))
            timers[-1].start()
        else:
            before(ignored)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
        late = [timer for timer in timers if timer.is_alive()]
        for timer in late:
            timer.cancel()
    if late:
        raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status: 2 for an error that the user can mend, 3 for an
    audit that cannot tell."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal or a file may know ASCII only
            stream.reconfigure(errors="backslashreplace")
    try:
        with _no_interrupt_lost():
            options = parser().parse_args(arguments)
            if "profile" in options:
                _require_profile(options)
            status = options.action(options)
            sys.stdout.flush()
            return status
    except AmintError as error:
        print(f"amint: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\namint: interrupted. The same command goes on from there.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes nowhere
        return 141  # as a shell tells of it


if __name__ == "__main__":
    sys.exit(main())

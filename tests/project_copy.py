"""A copy of the project with a grid of its own, and calls of `amint reproduce` in it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from amint_core.batch.grid import load_grid
from amint_core.config import RunConfig
from amint_core.locations import project_root

SMALL = {
    "data": "standin",
    "model": "tiny",
    "dataset": "mnist",
    "members": 40,
    "external": 60,
    "calibration": 40,
    "holdout": 40,
    "test": 40,
    "epochs": 1,
    "batch_size": 20,
    "cpu_threads": 1,
}


class Copy:
    """A copy of the project with a grid of its own, in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("amint_core", "notebooks", "workflow", "config"):
            ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(project_root() / name, folder / name, ignore=ignored)
        shutil.copy(project_root() / "Snakefile", folder)
        self.runs = folder / "results" / "tried" / "runs"
        moved = ("AMINT_RESULTS", "AMINT_CACHE")
        clean = {name: value for name, value in os.environ.items() if name not in moved}
        self.environment = clean | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}

    def write_grid(self, runs: list[dict], **changed) -> dict[str, RunConfig]:
        path = self.folder / "config" / "tried.yaml"
        path.write_text(yaml.safe_dump({"defaults": SMALL | changed, "runs": runs}))
        return load_grid(path)

    def command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "amint_core", "reproduce", "--profile", "tried", *options]

    def reproduce(self, *options: str, seconds: float = 600) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*options),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def planned(self) -> int:
        """Count the runs that Snakemake would do now."""
        dry = subprocess.run(
            [sys.executable, "-m", "snakemake", "runs", "--dry-run", "--config", "profile=tried"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return len(re.findall(r"^Job \d+: mnist-", dry.stdout + dry.stderr, re.M))

    def order(self, cores: int) -> list[str]:
        """Return the runs in the order in which Snakemake starts them; they compute nothing."""
        stub = (
            "import sys, pathlib\n"
            "run = pathlib.Path(next(one for one in sys.argv if one.endswith('.lock'))).parent\n"
            "with open('order.txt', 'a') as file:\n"
            "    print(run.name, file=file)\n"
            "for name in ('metrics.json', 'scores.parquet'):\n"
            "    (run / name).touch()\n"
        )
        (self.folder / "amint_core" / "batch" / "lock.py").write_text(stub)
        options = ["--cores", str(cores), "--config", "profile=tried"]
        subprocess.run(
            [sys.executable, "-m", "snakemake", "runs", *options],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            timeout=120,
            check=True,
        )
        return (self.folder / "order.txt").read_text().split()

    def append(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    def start(self, *options: str) -> subprocess.Popen:
        """Start a call that a test will kill."""
        with (self.folder / "killed.log").open("w") as log:
            return subprocess.Popen(
                self.command(*options),
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def kill(driver: subprocess.Popen) -> None:
    """Kill a call and the Snakemake that it started; runs live on."""
    children = subprocess.run(
        ["pgrep", "-P", str(driver.pid)], capture_output=True, text=True, check=True
    )
    for process in (driver.pid, *map(int, children.stdout.split())):
        os.kill(process, signal.SIGKILL)
    driver.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until a condition holds, or for some seconds."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)

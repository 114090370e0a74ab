"""A small grid through a real Slurm of one node: driver and job die, the same call goes on."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from ports import free_port
from project_copy import Copy, kill, wait_for

from amint_core.locations import project_root

#: A cluster without accounts, and one that answers at once.
OPTIONS = ["--cluster", "slurm", "--", "--slurm-status-command", "squeue"]
OPTIONS += ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"]
GRID = [{"setup": "entry"}, {"setup": "middle"}, {"setup": "output"}]

os.environ["PATH"] += os.pathsep + os.pathsep.join(("/usr/sbin", "/sbin"))
MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sinfo") if not shutil.which(name)]
if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
    MISSING.append("snakemake-executor-plugin-slurm")
pytestmark = [
    pytest.mark.skipif(
        bool(MISSING), reason=f"Slurm is not installed here: no {', '.join(MISSING)}"
    ),
    # Snakemake's plugin hands the interpreter's path to the cluster without quotes.
    pytest.mark.skipif(" " in sys.executable, reason="Slurm jobs need a path without spaces"),
]


def local_slurm(action: str, folder) -> subprocess.CompletedProcess:
    return subprocess.run(
        [project_root() / "workflow" / "local_slurm.sh", action, folder],
        env=os.environ | {"SLURM_PORT": str(free_port())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.fixture
def slurm(tmp_path):
    """The path of a running cluster's settings."""
    folder = tmp_path / "slurm"
    try:
        local_slurm("start", folder)
        yield folder / "slurm.conf"
    finally:
        local_slurm("stop", folder)


@pytest.fixture
def copy(tmp_path, slurm):
    made = Copy(tmp_path / "amint kit")
    made.environment["SLURM_CONF"] = str(slurm)
    made.environment["PATH"] = f"{slurm.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return made


def jobs(copy: Copy, states: str) -> dict[str, str]:
    """Return what the jobs in some states are: comment (names the run), cores, memory, time."""
    listed = subprocess.run(
        ["squeue", "--noheader", f"--states={states}", "--format=%i %k %C %m %l"],
        env=copy.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return dict(line.split(maxsplit=1) for line in listed.stdout.splitlines())


def test_runs_go_on_after_driver_and_job_died(copy):
    grid = copy.write_grid(GRID)
    driver = copy.start(*OPTIONS)
    wait_for(lambda: any((copy.runs / run / "papermill.log").exists() for run in grid), 300)
    wait_for(lambda: len(jobs(copy, "all")) == len(grid), 60)
    kill(driver)
    # One core as `cpu_threads` says; memory and time as `plan.resources` estimates them.
    for described in jobs(copy, "all").values():
        assert re.search(r" 1 [34]\d{3}M (1[5-9]|2\d):00$", described), described
    running = jobs(copy, "running")
    said = (copy.folder / "killed.log").read_text()
    assert running, said
    lost, described = next(iter(running.items()))
    assert any(run in described for run in grid)
    subprocess.run(["scancel", "--signal=KILL", lost], env=copy.environment, check=True)

    again = copy.reproduce(*OPTIONS, seconds=1200)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "3 of 3 runs in place" in again.stdout
    for run in grid:
        assert json.loads((copy.runs / run / "metrics.json").read_text())["run"]["id"] == run
    assert (copy.runs.parent / "tables" / "table1.csv").is_file()
    # Nothing ran beside Slurm: the second call handed in what the first had not finished.
    assert len(jobs(copy, "all")) > len(grid)

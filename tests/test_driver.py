"""Snakemake is waited for when it is told to end, and what cannot start is refused in words."""

import os
import signal
import subprocess
import sys
import time

import pytest
from project_copy import wait_for

from amint_core.batch import driver
from amint_core.errors import SettingsError
from amint_core.locations import project_root

#: Stands for Snakemake: it takes a second to cancel what it has submitted.
STAND_IN = """
import pathlib, sys, time
place = pathlib.Path(sys.argv[1])
try:
    (place / "started").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)
    (place / "cancelled").touch()
    sys.exit(1)
"""
CALL = "import sys; from amint_core.batch import driver; sys.exit(driver.run(sys.argv[1:]))"


def start(folder, ignored=()):
    """Start the driver as in a terminal of its own, whatever signals this process ignores."""

    def as_in_a_terminal():
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, signal.SIG_IGN if sign in ignored else signal.SIG_DFL)

    command = [sys.executable, "-c", CALL, sys.executable, "-c", STAND_IN, str(folder)]
    called = subprocess.Popen(
        command,
        cwd=project_root(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=as_in_a_terminal,
    )
    wait_for((folder / "started").exists)
    return called


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_snakemake_ends_in_its_own_time(tmp_path, sign):
    called = start(tmp_path)
    called.send_signal(sign)
    said, _ = called.communicate(timeout=60)
    assert called.returncode == driver.INTERRUPTED
    assert (tmp_path / "cancelled").exists()
    assert b"asked Snakemake to end" in said
    assert b"Traceback" not in said


def test_a_second_ctrl_c_waits_no_longer(tmp_path):
    called = start(tmp_path)
    called.send_signal(signal.SIGINT)
    assert b"asked Snakemake" in called.stdout.readline() + called.stdout.readline()
    time.sleep(0.1)
    called.send_signal(signal.SIGINT)
    called.communicate(timeout=60)
    assert called.returncode == driver.INTERRUPTED
    assert not (tmp_path / "cancelled").exists()


def test_a_closed_terminal_is_ignored_under_nohup(tmp_path):
    called = start(tmp_path, ignored=[signal.SIGHUP])
    called.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert called.poll() is None
    called.send_signal(signal.SIGINT)
    called.communicate(timeout=60)
    assert (tmp_path / "cancelled").exists()


def test_an_end_of_its_own_is_passed_on():
    assert driver.run([sys.executable, "-c", "raise SystemExit(3)"]) == 3


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "project_root", lambda: tmp_path)
    return tmp_path


def test_a_project_that_cannot_be_written_is_refused(project, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != project)
    with pytest.raises(SettingsError, match=r"cannot be written, and Snakemake keeps its records"):
        driver.refuse_what_cannot_start(None, [])
    (project / ".snakemake").mkdir()
    driver.refuse_what_cannot_start(None, [])


def test_a_home_that_cannot_be_made_is_refused(project, monkeypatch):
    monkeypatch.setenv("HOME", str(project / "nobody" / "home"))
    with pytest.raises(SettingsError, match=r"home folder .*nobody/home does not exist.*HOME="):
        driver.refuse_what_cannot_start(None, [])


@pytest.mark.parametrize(
    ("there", "extra", "missing"),
    [
        (["sbatch", "squeue"], [], "Slurm's sacct cannot be found.*--slurm-status-command squeue"),
        (["sbatch", "squeue"], ["--slurm-status-command", "squeue"], None),
        (["sbatch", "squeue", "sacct"], [], None),
        ([], ["--slurm-status-command=squeue"], "Slurm's sbatch and squeue cannot .*login node"),
    ],
)
def test_a_slurm_that_lacks_a_command_is_refused_at_once(monkeypatch, there, extra, missing):
    monkeypatch.setattr(driver.shutil, "which", lambda name: name if name in there else None)
    profile = project_root() / "workflow" / "profiles" / "slurm"
    if missing is None:
        driver.refuse_what_cannot_start(profile, extra)
        return
    with pytest.raises(SettingsError, match=missing):
        driver.refuse_what_cannot_start(profile, extra)

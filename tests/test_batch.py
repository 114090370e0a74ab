"""A tiny grid through Snakemake and papermill, in a copy of the project."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock
from project_copy import SMALL, Copy, kill, wait_for

from amint_core.batch import lock, reproduce
from amint_core.config import RunConfig
from amint_core.errors import SettingsError
from amint_core.locations import project_root
from amint_core.methods import METHODS
from amint_core.settings import create

GOOD = [{"setup": "entry"}, {"setup": "middle"}]
FAILING = {"setup": "output", "taps": ["no_such_module"]}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return Copy(tmp_path_factory.mktemp("a copy") / "amint kit")


@pytest.fixture(scope="module")
def first(copy):
    """The copy's grid and what the first call said: two runs succeed and one fails."""
    grid = copy.write_grid([FAILING, *GOOD])
    return list(grid), copy.reproduce()


@pytest.fixture
def settled(copy, first):
    """The copy with its two good runs done, put back to that state afterwards."""
    copy.write_grid(GOOD)
    yield copy
    for name in ("amint_core", "notebooks"):
        shutil.copytree(project_root() / name, copy.folder / name, dirs_exist_ok=True)


def test_a_failing_run_is_named_and_stops_no_other(copy, first):
    (failing, *good), said = first
    assert said.returncode == 1
    assert "1 of the runs failed" in said.stdout, said.stdout + said.stderr
    named = said.stdout[said.stdout.index("1 of the runs failed") :]
    assert failing in named
    assert "no_such_module" in named
    assert f"{failing}/papermill.log" in named
    assert "2 of 3 runs in place" in named
    assert not (copy.runs / failing / "metrics.json").exists()
    for run in good:
        assert json.loads((copy.runs / run / "metrics.json").read_text())["run"]["id"] == run
        assert (copy.runs / run / "scores.parquet").is_file()
        assert (copy.runs / run / "notebook.ipynb").is_file()


def test_the_report_is_made_from_the_runs_that_succeeded(copy, first):
    tables = copy.runs.parent / "tables"
    assert {path.name for path in tables.iterdir()} >= {
        f"table1.{form}" for form in ("csv", "md", "tex", "html")
    }, first[1].stdout
    assert (copy.runs.parent / "aMINTResults.ipynb").is_file()


def test_without_a_change_nothing_is_run_again(settled):
    assert settled.planned() == 0


def test_a_changed_setting_runs_again(settled):
    settled.write_grid(GOOD, epochs=2)
    assert settled.planned() == 2


def test_an_edited_notebook_runs_again(settled):
    path = settled.folder / "notebooks" / "aMINTMNIST.ipynb"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["metadata"]["edited"] = True
    path.write_text(json.dumps(content), encoding="utf-8")
    assert settled.planned() == 2


def test_an_edited_source_runs_again(settled):
    settled.append("amint_core/model/mint.py", "\n# Edited.\n")
    assert settled.planned() == 2


def test_files_of_ones_own_that_a_test_imports_count_like_the_packages(tmp_path, monkeypatch):
    (tmp_path / "own_attack.py").write_text("import own_margin\n")
    (tmp_path / "own_margin.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(project_root())
    found = reproduce.sources({"run": create(**SMALL)})
    assert Path("amint_core/cli.py") in found
    monkeypatch.setattr(METHODS, "roots", lambda name: ("amint_core.methods.yeom", "own_attack"))
    added = {tmp_path / "own_attack.py", tmp_path / "own_margin.py"}
    assert reproduce.sources({"run": create(**SMALL)}) - found == added


def test_what_an_editor_saved_beside_a_source_runs_nothing_again(settled):
    folder = settled.folder / "amint_core" / "training" / ".ipynb_checkpoints"
    folder.mkdir()
    (folder / "loop-checkpoint.py").write_text("changed = True\n")
    (folder.parent / "._loop.py").write_bytes(b"\0\5\x16")
    planned = settled.planned()
    shutil.rmtree(folder)
    (folder.parent / "._loop.py").unlink()
    assert planned == 0


def test_missing_scores_run_again(settled):
    run = sorted(settled.runs.glob("*-entry-*"))[0]
    scores = run / "scores.parquet"
    kept = scores.rename(run / "kept.parquet")
    planned = settled.planned()
    kept.rename(scores)
    assert planned == 1


def test_what_others_wait_for_runs_first_and_what_waits_last(settled):
    methods = ["rmia_online", "yeom", "random", "plain", "passive", "lira_online", "active"]
    grid = settled.write_grid([{"method": method, "shadows": 4} for method in methods])
    found = reproduce.priorities(grid)
    by_method = {grid[run].method: priority for run, priority in found.items()}
    # The first trains the plain model and the shadow models; one alone trains for itself.
    assert by_method == {"rmia_online": 3, "active": 2} | dict.fromkeys(
        ["yeom", "random", "plain", "passive", "lira_online"], 0
    )
    order = settled.order(cores=1)
    assert [grid[run].method for run in order[:2]] == ["rmia_online", "active"]
    assert set(order) == set(grid)
    for run in grid:
        shutil.rmtree(settled.runs / run)  # there is nothing in them


def test_the_same_command_works_after_a_kill(copy, first):
    grid = copy.write_grid([{"setup": "entry", "seed": 7}])
    run = copy.runs / next(iter(grid))
    driver = copy.start()
    wait_for((run / "papermill.log").exists)
    # Driver and Snakemake die; the run itself lives on.
    kill(driver)
    assert not (run / "metrics.json").exists()
    again = copy.reproduce()
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((run / "metrics.json").read_text())["run"]["id"] == run.name


def test_a_locked_module_waits_and_then_runs(tmp_path):
    lock = tmp_path / "not yet" / "there.lock"
    lock.parent.mkdir()
    command = [sys.executable, "-m", "amint_core.batch.lock", str(lock), "platform"]
    with FileLock(lock):
        waiting = subprocess.Popen(
            command, cwd=project_root(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert "waiting until it lets go" in waiting.stderr.readline()
        assert waiting.poll() is None
    said, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert said.strip()


@pytest.mark.parametrize(
    "stated",
    [{"setup": "entry", "learning_rate": 1e-5, "taps": ["a", "b"]}, {"protocol": "paper"}],
)
def test_papermill_gets_every_setting(stated):
    settings = create(**SMALL | stated)
    given = yaml.safe_load(reproduce.papermill_settings(settings))
    # A batch computes the one run that it names, and the notebook draws none beside it.
    assert given.pop("beside") == []
    assert set(given) == set(RunConfig.model_fields)
    assert create(**given) == settings
    assert "\n" not in reproduce.papermill_settings(settings).strip()


@pytest.mark.parametrize(
    ("given", "cores", "threads", "gpus"),
    [
        ({"cpu_threads": 1}, 2, 1, 0),
        ({"cpu_threads": 8}, 2, 2, 0),
        ({"cpu_threads": 8}, None, 8, 0),
        ({"cpu_threads": None}, 16, 4, 1),
        ({"cpu_threads": 2, "workers": 3, "method": "lira_online"}, None, 6, 0),
        ({"cpu_threads": 2, "workers": 3, "method": "lira_online"}, 4, 4, 0),
        ({"cpu_threads": None, "workers": 3, "method": "lira_online"}, 16, 12, 1),
        # No more workers than shadow models: Salem reads one, LiRA as many as there are.
        ({"workers": 3, "method": "salem"}, 16, 1, 0),
        ({"workers": 9, "method": "lira_online", "shadows": 4}, 16, 4, 0),
        ({"workers": 3, "method": "active"}, 16, 1, 0),
    ],
)
def test_runs_share_cores_and_gpus(given, cores, threads, gpus):
    settings = create(**SMALL | given)
    assert reproduce.threads(settings, cores) == threads
    assert reproduce.gpus(settings) == gpus


def test_a_run_that_waits_for_several_comes_late():
    methods = ["active", "plain", "lira_online", "rmia_online"]
    runs = [create(**SMALL, method=one) for one in methods]
    found = reproduce.priorities({run.id: run for run in runs})
    # The plain model, for LiRA, whose shadow models RMIA waits for.
    assert list(found.values()) == [4, 5, 3, 0]


def test_each_run_has_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(lock, "_TICK", 0.02)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-7f")
    seen = []

    def run(gpus, then=lambda: None):
        with lock._own_gpu(gpus):
            seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
            then()

    gpus = lock._visible_gpus()
    assert gpus == ["3", "GPU-7f"]
    waiting = threading.Thread(target=run, args=(gpus,))
    run(gpus, lambda: run(gpus, lambda: (waiting.start(), time.sleep(0.2), seen.append("both"))))
    waiting.join(10)
    # The third waited until one of the two was free.
    assert seen[:3] == ["3", "GPU-7f", "both"]
    assert seen[3] in gpus
    # Where there is no choice, nothing is chosen.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    run(lock._visible_gpus())
    assert seen[4] == "5"


def test_snakemake_is_told_how_many_gpus_there_are(monkeypatch):
    calls = []
    monkeypatch.setattr(reproduce.driver, "run", lambda command: calls.append(command) or 1)
    monkeypatch.setattr(reproduce.driver, "refuse_what_cannot_start", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(reproduce.sys, "executable", "/kit/.venv/bin/python")
    reproduce.reproduce("quick")
    reproduce.reproduce("quick", cluster="slurm")
    here, cluster = calls
    assert here[here.index("--resources") + 1] == "gpu=4"
    assert "--resources" not in cluster


def test_a_cluster_is_a_folder_of_options(monkeypatch):
    monkeypatch.setattr(reproduce.sys, "executable", "/kit/.venv/bin/python")
    assert reproduce.workflow_profile(None) == "workflow/profiles/default"
    assert reproduce.workflow_profile("slurm") == "workflow/profiles/slurm"
    with pytest.raises(SettingsError, match="slrum"):
        reproduce.workflow_profile("slrum")
    monkeypatch.setattr(reproduce.sys, "executable", "/my kit/.venv/bin/python")
    assert reproduce.workflow_profile(None) == "workflow/profiles/default"
    with pytest.raises(SettingsError, match="path has a space"):
        reproduce.workflow_profile("slurm")


def test_runs_that_never_began_are_not_said_to_have_failed(tmp_path, capsys):
    for run in ("begun", "other"):
        (tmp_path / "runs" / run).mkdir(parents=True)
    (tmp_path / "runs" / "begun" / "papermill.log").write_text("ValueError: wrong\n")
    os.mkfifo(tmp_path / "runs" / "begun" / "notebook.ipynb")  # a pipe must not hang
    os.mkfifo(tmp_path / "runs" / "begun" / "metrics.json")
    reproduce._say_failures(tmp_path, ["begun", "other", "third"], 1)
    said = capsys.readouterr().out
    assert "2 of the runs were not started; Snakemake's messages above say why" in said
    assert "1 of the runs failed:\n  begun\n    ValueError: wrong" in said
    assert said.count("papermill.log") == 1


def test_a_profile_that_looks_like_a_number_reaches_snakemake_as_text(monkeypatch, tmp_path):
    from snakemake.cli import parse_config

    calls = []
    monkeypatch.setattr(reproduce.driver, "run", lambda command: calls.append(command) or 0)
    reproduce._snakemake("2026_01", tmp_path / "a: b #1.yaml", "runs", [], "partial=true")
    (command,) = calls
    found = parse_config(command[command.index("--config") + 1 :])
    assert found == {
        "profile": "2026_01",
        "grid": str(tmp_path / "a: b #1.yaml"),
        "partial": "true",
    }


def test_last_error_reads_the_notebook_then_the_log(tmp_path):
    assert "not started" in reproduce.last_error(tmp_path)
    (tmp_path / "papermill.log").write_text("first\nValueError: at last\n\n")
    error = {"output_type": "error", "ename": "DataError", "evalue": "no files\nhere"}
    notebook = {"cells": [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": [error]}]}
    (tmp_path / "notebook.ipynb").write_text(json.dumps({"cells": []}))
    assert reproduce.last_error(tmp_path) == "ValueError: at last"
    (tmp_path / "notebook.ipynb").write_text(json.dumps(notebook))
    assert reproduce.last_error(tmp_path) == "DataError: no files here"

"""Several processes train one run together, started by accelerate; on a CPU they talk over gloo."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from ports import free_port
from small_run import SMALL
from torch import nn

from amint_core.config import RunConfig
from amint_core.data.prepare import prepare
from amint_core.errors import SettingsError
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.run import steps
from amint_core.run.folder import run_folder
from amint_core.run.models import batches_of, build
from amint_core.settings import create
from amint_core.training import distributed
from amint_core.training.kinds import ACTIVE

LAUNCH = ["accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
LAUNCH += ["--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]  # 0: a free one
LONE = "accelerate launch was asked for several processes and started one"
#: Enough to tell members far above chance in some seconds.
LEARNT = SMALL | {"members": 200, "external": 300, "image_size": 12, "epochs": 15}


def settings_of(given: dict, **changed) -> RunConfig:
    return create(**{**given, **changed})


def start(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command],
        cwd=project_root(),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def launch(settings: RunConfig) -> subprocess.CompletedProcess:
    """Do a run in two processes, the way the README says."""
    given = settings.model_dump(mode="json", exclude_defaults=True)
    pairs = [f"{name}={json.dumps(value)}" for name, value in given.items()]
    return start("-m", *LAUNCH, "-m", "amint_core", "run", *pairs)


def results(settings: RunConfig) -> dict[str, float]:
    metrics = read_json(run_folder(settings) / "metrics.json")
    auc, audited = metrics["mint"]["auc"], metrics["audited"]["accuracy"]
    return {"auc": auc["value"], "audited": audited["value"]}


def history(settings: RunConfig) -> pd.DataFrame:
    return pd.read_csv(run_folder(settings) / "history.csv").drop(columns="seconds")


def test_without_batch_normalisation_two_processes_take_the_steps_of_one(monkeypatch, tmp_path):
    chosen = settings_of(SMALL, model="vit", image_size=16, head="published", epochs=2)
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "two"))
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "two"))
    done = launch(chosen)
    assert done.returncode == 0, done.stderr[-2000:]
    manifest = read_json(run_folder(chosen) / "manifest.json")
    assert manifest["processes"] == 2
    two = history(chosen)
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "one"))
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "one"))
    steps.run_all(chosen)
    # The first steps of Adam turn rounding in gradients near zero into whole steps.
    one = history(chosen)
    pd.testing.assert_frame_equal(two.drop(columns="state"), one.drop(columns="state"), rtol=0.02)


def test_two_processes_give_the_metrics_of_one_within_seed_noise(monkeypatch, tmp_path):
    chosen = settings_of(LEARNT)
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "two"))
    done = launch(chosen)
    assert done.returncode == 0, done.stderr[-2000:]
    two = results(chosen)
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "one"))
    alone = []
    for seed in range(3):
        steps.run_all(settings_of(LEARNT, seed=seed))
        alone.append(results(settings_of(LEARNT, seed=seed)))
    for name, value in two.items():
        values = np.array([one[name] for one in alone])
        assert abs(value - values.mean()) < 3 * max(values.std(ddof=1), 0.01), (name, value, values)
    assert two["auc"] > 0.75


KINDS = {
    "memorizer": {"method": "memorizer"},
    "shadows": {"method": "lira_online", "shadows": 4},
    "separate_batches": {"defects": ["separate_batches"]},
}


def test_every_kind_of_training_works_in_two_processes(tmp_path):
    chosen = {kind: settings_of(SMALL, **changed) for kind, changed in KINDS.items()}
    given = [
        settings.model_dump(mode="json", exclude_defaults=True) for settings in chosen.values()
    ]
    script = tmp_path / "several.py"
    script.write_text(
        "import json\n"
        "from amint_core.cli import main\n"
        f"for given in {given!r}:\n"
        "    pairs = [f'{key}={json.dumps(value)}' for key, value in given.items()]\n"
        "    assert main(['run', *pairs]) == 0\n"
    )
    done = start("-m", *LAUNCH, str(script))
    assert done.returncode == 0, done.stderr[-2000:]
    for kind, settings in chosen.items():
        metrics = read_json(run_folder(settings) / "metrics.json")
        assert metrics["mint"]["judged"]["members"] == 30, kind
    # One of the two speaks.
    assert done.stdout.count("amint: files in") == len(KINDS)


def test_a_notebook_starts_two_processes_even_after_a_run_of_its_own(tmp_path):
    cell = (
        "import sys, json; sys.path.insert(0, 'tests')\n"
        "from accelerate import notebook_launcher\n"
        "from amint_core.settings import create\n"
        "from amint_core.run.steps import run_all\n"
        "from amint_core.run.folder import Run\n"
        f"settings = create(**json.loads('{json.dumps(SMALL)}'))\n"
        "Run(settings.model_copy(update={'seed': 1}))\n"
        f"notebook_launcher(run_all, (settings,), num_processes=2, use_port='{free_port()}')\n"
    )
    done = start("-c", cell)
    assert done.returncode == 0, done.stderr[-2000:]
    manifest = read_json(run_folder(settings_of(SMALL)) / "manifest.json")
    assert manifest["processes"] == 2


@pytest.mark.parametrize("options", [["--cpu", "--num_processes=2"], ["--num_processes=2"]])
def test_one_process_where_several_were_asked_for_is_refused(options):
    run = ["amint_core", "run", "dataset=mnist", "model=tiny", "data=standin"]
    done = start("-m", "accelerate.commands.launch", *options, "-m", *run)
    assert done.returncode != 0
    assert f"amint: {LONE}" in done.stderr


def test_a_script_that_is_one_process_where_several_were_asked_for_is_refused(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "from amint_core.settings import create\n"
        "from amint_core.run.steps import run_all\n"
        f"run_all(create(**{SMALL}))\n"
    )
    done = start("-m", "accelerate.commands.launch", "--num_processes=2", script)
    assert done.returncode != 0
    assert f"SettingsError: {LONE}" in done.stderr
    assert not run_folder(settings_of(SMALL)).exists()


class Two:
    """Stands for accelerate where two processes share GPUs."""

    num_processes, process_index, device = 2, 0, torch.device("cuda")


def test_on_gpus_statistics_are_of_the_whole_batch():
    model = build(prepare(settings_of(SMALL, dataset="cifar10", model="densenet121")))
    before, weights = str(model), {name: id(value) for name, value in model.named_parameters()}
    distributed.share_batch_statistics(model, Two())
    plain = (nn.BatchNorm1d, nn.BatchNorm2d)
    assert not [name for name, part in model.named_modules() if isinstance(part, plain)]
    assert {name: id(value) for name, value in model.named_parameters()} == weights
    assert "ReLU" in before
    assert before.count("ReLU") == str(model).count("ReLU")


def test_batches_that_processes_cannot_share_are_refused():
    data = prepare(settings_of(SMALL, batch_size=21))
    with pytest.raises(SettingsError, match="2 processes cannot share batches of 21 members"):
        batches_of(ACTIVE, data, data.split.roles["members"], Two())

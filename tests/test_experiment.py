"""A whole run: repeatable, alone in its folder, honest about what it was computed from."""

import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from ports import free_port
from safetensors.torch import load_file, save_file
from short_training import SMALL, settings, stored, train, without_times

from amint_core import provenance
from amint_core.data.prepare import prepare
from amint_core.errors import ProtocolError, ResultsError, SettingsError
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.methods import METHODS
from amint_core.run import steps
from amint_core.run.folder import Run
from amint_core.run.models import build
from amint_core.run.read_back import read_machine
from amint_core.run.trainings import training_of
from amint_core.training.distributed import processes
from amint_core.training.kinds import ACTIVE


def test_a_run_leaves_every_file_and_metrics_say_what_they_are_of():
    metrics = steps.run_all(settings())
    run = Run(settings())
    assert read_json(run.folder / "metrics.json") == metrics
    assert set(run.files()["file"]) == {
        "metrics.json",
        "scores.parquet",
        "judged.parquet",
        "history.csv",
        "config.json",
        "manifest.json",
        "model.safetensors",
    }
    assert not stored(run).checkpoint.exists()
    assert metrics["data"]["source"] == "standin"
    assert "STAND-IN" in metrics["data"]["title"]
    assert metrics["data"]["sizes"]["members"] == 60
    assert metrics["run"]["settings"]["members"] == 60
    assert metrics["mint"]["judged"] == {"members": 30, "non_members": 100, "role": "holdout"}
    assert metrics["mint"]["tpr_at_fpr"]["0.01"]["value"] is not None
    assert metrics["training"]["parameters"]["audited"] > 5_000
    scores = pd.read_parquet(run.folder / "scores.parquet")
    assert len(scores) == 60 + 80 + 40 + 100 + 30
    assert not scores.loc[scores["role"].isin(["external", "calibration", "test"]), "judged"].any()
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert {"versions", "hardware", "git", "seed", "data", "split", "code"} <= set(manifest)


def test_the_manifest_tells_what_trained_the_model_and_not_what_loaded_it(monkeypatch):
    chosen = settings(epochs=1)
    first, folder = steps.run_all(chosen), Run(chosen).folder
    trained_on = read_json(folder / "manifest.json")
    monkeypatch.setattr(provenance, "hardware", lambda device: "another processor")
    assert steps.run_all(chosen)["training"] == first["training"]
    told = read_json(folder / "manifest.json")
    names = ("device", "hardware", "processes")
    assert [told[name] for name in names] == [trained_on[name] for name in names]
    assert trained_on["processes"] == 1
    file = stored(Run(chosen)).weights
    save_file(load_file(file), file)  # as before this was written down
    Run(chosen).keep_training(file, pd.DataFrame())
    assert read_machine(file) == dict.fromkeys(names, "unknown")


@pytest.mark.parametrize("name", ["numpy", "torchvision"])
def test_a_training_depends_on_the_libraries_that_make_its_batches(name, monkeypatch):
    before, versions = training_of(ACTIVE, Run(settings()).data), provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: versions | {name: "0.0"})
    assert training_of(ACTIVE, Run(settings()).data).folder != before.folder
    assert before.identity["device"] == processes().device.type


def test_the_same_settings_give_the_same_bits_whatever_ran_before(monkeypatch, tmp_path):
    first = steps.run_all(settings())
    steps.run_all(settings(seed=5, precision="bf16"))
    torch.rand(17)
    np.random.rand(3)
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "again"))
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "again"))
    assert without_times(steps.run_all(settings())) == without_times(first)


def test_another_seed_gives_another_split_and_other_weights():
    one, two = (prepare(settings(seed=seed)) for seed in (0, 1))
    assert one.split.digest != two.split.digest
    weights = [next(build(data).audited.parameters()) for data in (one, two)]
    assert not torch.equal(*weights)


def test_a_run_leaves_threads_and_random_state_as_they_were():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(settings(cpu_threads=threads + 1, epochs=1))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_paper_protocol_judges_against_the_test_set():
    metrics = steps.run_all(settings(protocol="paper", calibration=0, holdout=0, epochs=1))
    assert metrics["mint"]["judged"] == {"members": 60, "non_members": 30, "role": "test"}
    assert metrics["mint"]["accuracy_calibrated"]["value"] is None


def test_exact_images_are_not_scored_again_beside_transformed_ones(monkeypatch):
    method, scored = METHODS["active"], []

    def score(case):
        scored.append((case.transformation, len(case.images)))
        return method.score(case)

    monkeypatch.setitem(METHODS, "active", dataclasses.replace(method, score=score))
    metrics = steps.run_all(settings(transformations=("flip",)))
    judged = 30 + 100  # half of the members, and holdout
    assert scored == [("exact", 60 + 80 + 40 + 100), ("flip", judged)]
    assert metrics["transformations"]["exact"]["auc"] == metrics["mint"]["auc"]
    folder = Run(settings(transformations=("flip",))).folder
    table = pd.read_parquet(folder / "transformed.parquet")
    exact, flipped = (table[table["transformation"] == name] for name in ("exact", "flip"))
    assert exact["image"].tolist() == flipped["image"].tolist()
    scores = pd.read_parquet(folder / "scores.parquet")
    assert exact["score"].tolist() == scores.loc[scores["judged"], "score"].tolist()


def test_two_processes_cannot_write_one_run(tmp_path):
    writing = Run(settings())
    code = (
        "import json, sys; from amint_core.settings import create; "
        "from amint_core.run.folder import Run; Run(create(**json.loads(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(SMALL)],
        cwd=project_root(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, writing.folder
    assert "Another process is writing" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine can compute in fp16")
def test_fp16_needs_a_gpu():
    with pytest.raises(SettingsError, match="fp16' needs a CUDA device"):
        train(settings(precision="fp16"))


def test_a_step_before_its_time_is_refused():
    run = Run(settings())
    with pytest.raises(ResultsError, match=r"not trained yet: call train\(run\)"):
        steps.score(run)
    steps.train(run)
    with pytest.raises(ResultsError, match=r"no scores yet: call score\(run\)"):
        steps.evaluate(run)


def test_judging_asks_no_model(monkeypatch):
    run = Run(settings(transformations=("flip",)))
    steps.train(run)
    steps.score(run)
    monkeypatch.setattr(type(run.model), "forward", lambda *given: pytest.fail("asked"))
    metrics = steps.evaluate(run)
    assert set(metrics["transformations"]) == {"exact", "flip"}


def test_the_history_has_the_rate_of_each_epoch():
    history, *_ = train(settings())
    assert history["learning_rate"].iloc[0] == settings().learning_rate
    assert history["learning_rate"].is_monotonic_decreasing
    assert history["learning_rate"].iloc[-1] > 0


def test_two_processes_of_torchrun_train_one_run_together():
    arguments = [f"{name}={value}" for name, value in SMALL.items()]
    port = f"--master_port={free_port()}"
    launcher = ["torch.distributed.run", "--nproc_per_node=2", port, "-m"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "amint_core", "run", *arguments],
        cwd=project_root(),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    folder = Run(settings()).folder
    assert read_json(folder / "metrics.json")["mint"]["judged"]["members"] == 30
    assert read_json(folder / "manifest.json")["processes"] == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [([0.0], r"shape \(1,\) for 3 images"), (None, r"shape \(\)"), (list("abc"), "no numbers")],
)
def test_a_test_of_ones_own_gives_every_image_a_number(given, message):
    case = SimpleNamespace(images=pd.DataFrame(index=range(3)))
    odd = SimpleNamespace(name="mine", score=lambda case: given)
    with pytest.raises(ProtocolError, match=message):
        steps._scores_of(odd, case)
    odd.score = lambda case: [0, 1, 2]
    assert steps._scores_of(odd, case).tolist() == [0.0, 1.0, 2.0]

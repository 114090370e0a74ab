"""A whole run: repeatable, resumable, honest about what it was computed from."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import small_run
import torch

from amint_core import experiment, provenance
from amint_core.config import RunConfig
from amint_core.datasets.identity import image_hashes
from amint_core.exceptions import ResultsError, SettingsError, TrainingError
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.methods import METHODS
from amint_core.methods.case import Case, TransformedCase
from amint_core.runs import Run
from amint_core.training import trained
from amint_core.training.loop import Fit
from amint_core.training.trained import training_of

SMALL = {**small_run.SMALL, "epochs": 3}


def settings(**changes):
    return RunConfig.create(**{**SMALL, **changes})


def without_times(metrics):
    copy = json.loads(json.dumps(metrics))
    copy["training"].pop("seconds")
    return copy


def train(run_settings, keep=None):
    run = Run(run_settings)
    data = experiment.prepare(run_settings)
    model = experiment.build(data)
    return experiment.train(run, data, model), model, run, data


def test_a_run_leaves_every_file_and_metrics_say_what_they_are_of():
    metrics = experiment.run_all(settings())
    run = Run(settings())
    assert read_json(run.folder / "metrics.json") == metrics
    assert set(run.files()["file"]) == {
        "metrics.json",
        "scores.parquet",
        "history.csv",
        "config.json",
        "manifest.json",
        "model.safetensors",
    }
    assert not training_of("active", experiment.prepare(settings())).checkpoint.exists()
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


def test_the_same_settings_give_the_same_bits_whatever_ran_before(monkeypatch, tmp_path):
    first = experiment.run_all(settings())
    experiment.run_all(settings(seed=5, precision="bf16"))
    torch.rand(17)
    np.random.rand(3)
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "again"))
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "again"))
    assert without_times(experiment.run_all(settings())) == without_times(first)


def test_another_seed_gives_another_split_and_other_weights():
    one, two = (experiment.prepare(settings(seed=seed)) for seed in (0, 1))
    assert one.split.digest != two.split.digest
    weights = [next(experiment.build(data).audited.parameters()) for data in (one, two)]
    assert not torch.equal(*weights)


def test_a_run_leaves_threads_and_random_state_as_they_were():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(settings(cpu_threads=threads + 1, epochs=1))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_cut_off_training_ends_like_an_undisturbed_one(monkeypatch, tmp_path):
    history, model, *_ = train(settings())
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "cut"))
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "cut"))

    class Cut(Exception):
        pass

    close = Fit._close

    def close_then_stop(self, epoch, *rest):
        close(self, epoch, *rest)
        if epoch == 2:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_close", close_then_stop)
        with pytest.raises(Cut):
            train(settings())
    resumed, again, *_ = train(settings())
    pd.testing.assert_frame_equal(resumed.drop(columns="seconds"), history.drop(columns="seconds"))
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_kill_9_in_mid_training_then_the_same_command(tmp_path):
    """The real thing: another process, killed with no chance to clean up."""
    arguments = [f"{name}={value}" for name, value in SMALL.items()] + ["epochs=12"]
    command = [sys.executable, "-m", "amint_core", "run", *arguments]

    def environment(folder):
        places = dict.fromkeys(("AMINT_RESULTS", "AMINT_CACHE"), str(tmp_path / folder))
        return {**os.environ, **places, "OMP_NUM_THREADS": "1"}

    def metrics(folder):
        found = list((tmp_path / folder).glob("*/runs/*/metrics.json"))
        return without_times(json.loads(found[0].read_text()))

    options = {"cwd": project_root(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, env=environment("whole"), check=True, **options)
    victim = subprocess.Popen(command, env=environment("killed"), **options)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("trainings/*/checkpoint.pt")):
        assert victim.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint after two minutes"
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not list((tmp_path / "killed").glob("*/runs/*/metrics.json"))
    subprocess.run(command, env=environment("killed"), check=True, **options)
    assert metrics("killed") == metrics("whole")


def test_a_finished_training_is_loaded_not_repeated(capsys):
    history, model, *_ = train(settings())
    again, loaded, *_ = train(settings())
    assert "Already trained" in capsys.readouterr().out
    pd.testing.assert_frame_equal(again, history)
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_other_code_trains_again(monkeypatch, capsys):
    train(settings(epochs=1))
    monkeypatch.setattr(provenance, "code_fingerprint", lambda *parts: "other")
    train(settings(epochs=1))
    assert "Already trained" not in capsys.readouterr().out


def test_divergence_stops_and_keeps_the_last_good_checkpoint(monkeypatch):
    from amint_core.training import active

    honest = active.mint_loss
    calls = []

    def breaks_in_epoch_two(*given):
        calls.append(1)
        return honest(*given) * (float("nan") if len(calls) > 5 else 1.0)

    monkeypatch.setattr(active, "mint_loss", breaks_in_epoch_two)
    with pytest.raises(TrainingError, match=r"diverged.*epoch 2, step 2.*after epoch 1 is kept"):
        train(settings())
    training = training_of("active", experiment.prepare(settings()))
    saved = torch.load(training.checkpoint, weights_only=True)
    assert saved["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_patience_stops_early_and_keeps_the_best_epoch(monkeypatch):
    given = iter([0.6, 0.8, 0.7, 0.7, 0.9])
    seen = []

    def monitor(data, model, device):
        def look():
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
            return next(given)

        return look

    monkeypatch.setattr(trained, "_monitor", monitor)
    chosen = settings(epochs=5, patience=2)
    history, model, *_ = train(chosen)
    assert list(history["calibration_auc"]) == [0.6, 0.8, 0.7, 0.7]
    assert experiment.best_epoch(history, chosen) == 2
    for name, value in model.state_dict().items():
        assert torch.equal(value, seen[1][name]), name


def test_early_stopping_never_sees_judged_images(monkeypatch):
    data = experiment.prepare(settings())
    looked = []

    def logits(model, pixels, count, device):
        looked.extend(image_hashes(pixels(np.arange(count))))
        return np.zeros(count)

    monkeypatch.setattr(trained, "membership_logits", logits)
    trained._monitor(data, None, torch.device("cpu"))()
    pool = data.dataset.pool.hashes
    members, holdout = data.split.roles["members"], data.split.roles["holdout"]
    judged = set(pool[members.indices[data.split.members_judged]]) | set(pool[holdout.indices])
    assert looked
    assert not judged & set(looked)


def test_the_frozen_batchnorm_defect_freezes_after_epoch_one(monkeypatch):
    means = []
    close = Fit._close

    def watch(self, *given):
        close(self, *given)
        buffers = dict(self.model.named_buffers())
        means.append([value.clone() for name, value in buffers.items() if "running" in name])

    monkeypatch.setattr(Fit, "_close", watch)
    train(settings(defects=("frozen_batchnorm",)))
    for first, second in zip(means[0], means[2], strict=True):
        assert torch.equal(first, second)
    means.clear()
    train(settings())
    assert any(not torch.equal(a, b) for a, b in zip(means[0], means[2], strict=True))


def test_the_scaled_mint_loss_defect_leaves_the_head_untrained():
    chosen = settings(
        dataset="cifar10", defects=("scaled_mint_loss",), weight_decay=0.0, image_size=16, epochs=1
    )
    before = [p.clone() for p in experiment.build(experiment.prepare(chosen)).head.parameters()]
    _, model, *_ = train(chosen)
    for old, new in zip(before, model.head.parameters(), strict=True):
        assert torch.equal(old, new)


def test_separate_batches_give_other_statistics():
    _, joint, *_ = train(settings(epochs=1))
    _, separate, *_ = train(settings(epochs=1, defects=("separate_batches",)))
    name = "audited.stem.1.running_mean"
    assert not torch.equal(joint.state_dict()[name], separate.state_dict()[name])


def test_xception_has_a_hundred_outputs_with_the_defect():
    chosen = settings(model="xception", image_size=28, defects=("hundred_outputs",))
    model = experiment.build(experiment.prepare(chosen))
    assert model.audited.get_classifier().out_features == 100


def test_the_published_recipe_switches_every_defect_on():
    published = RunConfig.create(dataset="tiny_imagenet", model="vit", recipe="published")
    from amint_core.recipes import DEFECTS

    assert set(published.defects) == set(DEFECTS)
    assert (published.lambda_mint, published.learning_rate) == (10_000.0, 1e-4)
    assert published.head == "published"
    assert published.weight_decay == 0


def test_a_published_run_goes_through():
    metrics = experiment.run_all(settings(recipe="published", epochs=1, batch_size=20))
    assert metrics["audited"]["role"] == "external"


def test_the_paper_protocol_judges_against_the_test_set():
    metrics = experiment.run_all(settings(protocol="paper", calibration=0, holdout=0, epochs=1))
    assert metrics["mint"]["judged"] == {"members": 60, "non_members": 30, "role": "test"}
    assert metrics["mint"]["accuracy_calibrated"]["value"] is None


def test_exact_images_are_not_scored_again_beside_transformed_ones(monkeypatch):
    method, scored = METHODS["active"], []

    def score(case):
        scored.append(type(case))
        return method.score(case)

    monkeypatch.setitem(METHODS, "active", dataclasses.replace(method, score=score))
    metrics = experiment.run_all(settings(transformations=("flip",)))
    assert scored == [Case, TransformedCase]
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
        "import json, sys; from amint_core.config import RunConfig; "
        "from amint_core.runs import Run; Run(RunConfig.create(**json.loads(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(SMALL)],
        cwd=project_root(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, writing.folder
    assert "Another process is writing" in done.stderr


def test_a_damaged_model_file_is_named():
    *_, data = train(settings(epochs=1))
    training_of("active", data).weights.write_bytes(b"half")
    with pytest.raises(ResultsError, match=r"model\.safetensors cannot be read.*Delete it"):
        train(settings(epochs=1))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine can compute in fp16")
def test_fp16_needs_a_gpu():
    with pytest.raises(SettingsError, match="fp16' needs a CUDA device"):
        train(settings(precision="fp16"))


def test_training_starts_anew_whatever_the_model_has_learnt():
    history, model, run, data = train(settings(epochs=1))
    training_of("active", data).weights.unlink()
    again = experiment.train(run, data, model)
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), history.drop(columns="seconds"))


def test_data_of_another_run_is_refused():
    run = Run(settings())
    other = experiment.prepare(settings(members=40))
    with pytest.raises(SettingsError, match="The data were prepared for"):
        experiment.train(run, other, experiment.build(other))


def test_old_numbers_do_not_stay_beside_a_new_training(monkeypatch):
    experiment.run_all(settings(epochs=1))
    monkeypatch.setattr(provenance, "code_fingerprint", lambda *parts: "other")
    _, _, run, _ = train(settings(epochs=1))
    assert not (run.folder / "metrics.json").exists()


def test_weights_that_blow_up_in_the_last_step_are_not_kept():
    with pytest.raises(TrainingError, match="diverged"):
        train(settings(learning_rate=1e38, epochs=1, batch_size=60, external=60))
    chosen = settings(learning_rate=1e38, epochs=1, batch_size=60, external=60)
    training = training_of("active", experiment.prepare(chosen))
    assert training.folder.is_dir()
    assert not training.checkpoint.exists()
    assert not training.weights.exists()


def test_the_history_has_the_rate_of_each_epoch():
    history, *_ = train(settings())
    assert history["learning_rate"].iloc[0] == settings().learning_rate
    assert history["learning_rate"].is_monotonic_decreasing
    assert history["learning_rate"].iloc[-1] > 0


def test_two_processes_train_one_run_together(tmp_path):
    arguments = [f"{name}={value}" for name, value in SMALL.items()]
    launcher = ["torch.distributed.run", "--nproc_per_node=2", "--master_port=29671", "-m"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "amint_core", "run", *arguments],
        cwd=project_root(),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert read_json(Run(settings()).folder / "metrics.json")["mint"]["judged"]["members"] == 30

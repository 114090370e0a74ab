"""Trainings cut off, finished, outdated or damaged: what is resumed, loaded or done anew."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from short_training import SMALL, settings, train, without_times

from amint_core import provenance
from amint_core.errors import ResultsError
from amint_core.locations import project_root
from amint_core.run import steps
from amint_core.training.loop import Fit
from amint_core.training.trained import training_of


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


def test_training_starts_anew_whatever_the_model_has_learnt():
    history, model, run, data = train(settings(epochs=1))
    training_of("active", data).weights.unlink()
    again = steps.train(run, data, model)
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), history.drop(columns="seconds"))


def test_a_damaged_model_file_is_named():
    *_, data = train(settings(epochs=1))
    training_of("active", data).weights.write_bytes(b"half")
    with pytest.raises(ResultsError, match=r"model\.safetensors cannot be read.*Delete it"):
        train(settings(epochs=1))


def test_old_numbers_do_not_stay_beside_a_new_training(monkeypatch):
    steps.run_all(settings(epochs=1))
    monkeypatch.setattr(provenance, "code_fingerprint", lambda *parts: "other")
    _, _, run, _ = train(settings(epochs=1))
    assert not (run.folder / "metrics.json").exists()

"""Trainings cut off, finished, outdated or damaged: what is resumed, loaded or done anew."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from short_training import SMALL, settings, stored, train, without_times

from amint_core import provenance
from amint_core.errors import ResultsError
from amint_core.locations import project_root
from amint_core.run import steps, trainings
from amint_core.run.trainings import Training, training_of
from amint_core.training.kinds import KINDS
from amint_core.training.loop import State


def same(history, other):
    pd.testing.assert_frame_equal(other.drop(columns="seconds"), history.drop(columns="seconds"))


def assert_same_weights(run, other):
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name


class Cut(Exception):
    """Stands for whatever ends a training early."""


def cut_after(monkeypatch, last, **changes):
    """Stop the next training once the state after epoch `last` is kept."""
    keep = Training.keep

    def keep_then_stop(self, state):
        keep(self, state)
        if state.epoch == last:
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(Training, "keep", keep_then_stop)
        with pytest.raises(Cut):
            train(settings(**changes))


def test_a_cut_off_training_ends_like_an_undisturbed_one(monkeypatch, tmp_path, capsys):
    history, run = train(settings())
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "cut"))
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "cut"))
    cut_after(monkeypatch, 2)
    resumed, again = train(settings())
    assert "Going on after epoch 2" in capsys.readouterr().out
    same(history, resumed)
    assert_same_weights(run, again)


#: Two heads, members and copies that move at random: a stage that goes on has to draw as it would.
TWO_STAGES = {
    "recipe": "staged",
    "epochs": 2,
    "head_epochs": 2,
    "head_batch": 20,
    "head_count": 2,
    "augment_members": 1.0,
    "member_transformations": ("flip", "shift"),
}


@pytest.mark.parametrize(
    ("method", "epochs"), [("active", range(1, 7)), ("plain", [1]), ("attached", [3])]
)
def test_two_stages_cut_off_after_each_epoch_end_like_undisturbed_ones(
    method, epochs, monkeypatch, tmp_path, capsys
):
    given = {**TWO_STAGES, "method": method}
    history, run = train(settings(**given))
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "cut"))
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "cut"))
    monkeypatch.setattr(trainings, "KEEP_EVERY", 0.0)
    for last in epochs:
        cut_after(monkeypatch, last, **given)
    resumed, again = train(settings(**given))
    said = capsys.readouterr().out
    assert all(f"Going on after epoch {last}" in said for last in epochs)
    same(history, resumed)
    assert list(history["epoch"]) == list(range(1, len(history) + 1))
    assert_same_weights(run, again)


def test_a_state_of_two_stages_is_kept_once_a_minute_or_where_it_is_due(monkeypatch):
    kept, clock = [], iter([0, 30, 61, 61, 100, 121, 121, 130, 180])
    monkeypatch.setattr(Training, "keep", lambda self, state: kept.append(state.epoch))
    monkeypatch.setattr(trainings, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    # Asked at 30, 61, 100 and 121 seconds; then it is due, at 130; and asked at 180.
    keep = Training({}).seldom(due=lambda state: state.epoch == 5)
    for epoch in range(1, 7):
        keep(State(epoch=epoch))
    assert kept == [2, 4, 5]
    assert next(clock, None) is None


def test_a_state_that_cannot_be_written_is_said_once_and_training_goes_on(
    monkeypatch, tmp_path, capsys
):
    history, run = train(settings(**TWO_STAGES))
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "full"))
    monkeypatch.setattr(trainings, "KEEP_EVERY", 0.0)

    def full(self, state):
        raise ResultsError("the disk is full")

    monkeypatch.setattr(Training, "keep", full)
    again, other = train(settings(**TWO_STAGES))
    assert capsys.readouterr().out.count("training goes on: the disk is full") == 1
    same(history, again)
    assert_same_weights(run, other)


def test_kill_9_in_mid_training_then_the_same_command(tmp_path, monkeypatch):
    """The real thing: another process, killed with no chance to clean up."""
    arguments = [f"{name}={value}" for name, value in {**SMALL, "epochs": 12}.items()]
    command = [sys.executable, "-m", "amint_core", "run", *arguments]

    def environment(folder):
        return dict.fromkeys(("AMINT_RESULTS", "AMINT_CACHE"), str(tmp_path / folder))

    def found(folder):
        (metrics,) = (tmp_path / folder).glob("*/runs/*/metrics.json")
        history = pd.read_csv(metrics.with_name("history.csv")).drop(columns="seconds")
        return without_times(json.loads(metrics.read_text())), history

    with monkeypatch.context() as undisturbed:
        for name, place in environment("whole").items():
            undisturbed.setenv(name, place)
        steps.run_all(settings(epochs=12))
    options = {"cwd": project_root(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options["env"] = {**os.environ, **environment("killed"), "OMP_NUM_THREADS": "1"}
    victim = subprocess.Popen(command, **options)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("trainings/*/checkpoint.pt")):
        assert victim.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline, "no checkpoint after two minutes"
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not list((tmp_path / "killed").glob("*/runs/*/metrics.json"))
    subprocess.run(command, check=True, **options)
    (metrics, history), (again, transcript) = found("whole"), found("killed")
    assert again == metrics
    pd.testing.assert_frame_equal(transcript, history)
    assert len(history) == history["state"].nunique() == 12


def test_a_finished_training_is_loaded_not_repeated(capsys):
    history, run = train(settings())
    again, loaded = train(settings())
    assert "Already trained" in capsys.readouterr().out
    pd.testing.assert_frame_equal(again, history)
    assert_same_weights(run, loaded)


def test_other_code_trains_again(monkeypatch, capsys):
    train(settings(epochs=1))
    monkeypatch.setattr(provenance, "code_fingerprint", lambda *roots: "other")
    train(settings(epochs=1))
    assert "Already trained" not in capsys.readouterr().out


def test_training_starts_anew_whatever_the_model_has_learnt():
    history, run = train(settings(epochs=1))
    stored(run).weights.unlink()
    same(history, steps.train(run))


@pytest.mark.parametrize("method", ["passive", "attached"])
def test_a_head_starts_anew_too_whatever_it_has_learnt(method):
    stages = {"head_epochs": 2, "head_batch": 20} if method == "attached" else {}
    history, run = train(settings(epochs=1, method=method, **stages))
    head = {name: value.clone() for name, value in run.model.head.state_dict().items()}
    training_of(KINDS[method], run.data).weights.unlink()
    same(history, steps.train(run))
    for name, value in run.model.head.state_dict().items():
        assert torch.equal(value, head[name]), name


@pytest.mark.parametrize("file", ["weights", "history"])
def test_a_damaged_training_is_said_set_aside_and_trained_again(file, capsys):
    history, run = train(settings(epochs=1))
    damaged = getattr(stored(run), file)
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-3])
    again, other = train(settings(epochs=1))
    said = capsys.readouterr().out
    assert f"{damaged.name} is damaged" in said
    assert "Already trained" not in said
    assert damaged.with_name(f"{damaged.name}.damaged-1").read_bytes() == content[:-3]
    same(history, again)
    assert_same_weights(run, other)
    train(settings(epochs=1))
    assert "Already trained" in capsys.readouterr().out


def test_a_damaged_checkpoint_is_said_and_training_restarts(monkeypatch, tmp_path, capsys):
    history, run = train(settings())
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "cut"))
    cut_after(monkeypatch, 2)
    checkpoint = stored(run).checkpoint
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    capsys.readouterr()
    again, other = train(settings())
    said = capsys.readouterr().out
    assert "checkpoint.pt is damaged" in said
    assert "Going on" not in said
    same(history, again)
    assert_same_weights(run, other)


def test_old_numbers_do_not_stay_beside_a_new_training(monkeypatch):
    steps.run_all(settings(epochs=1))
    monkeypatch.setattr(provenance, "code_fingerprint", lambda *roots: "other")
    _, run = train(settings(epochs=1))
    assert not (run.folder / "metrics.json").exists()

"""A training is trained again in parts: honest ones match, tampered ones do not."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from made_runs import seal_files
from safetensors.torch import load_file
from short_training import settings, train

from amint_core import provenance
from amint_core.audit import replayed_run
from amint_core.audit.ledger import Ledger
from amint_core.audit.replay import (
    CANNOT_TELL,
    DIFFERS,
    MATCHES,
    drawn,
    probability,
    replay,
)
from amint_core.audit.replayed_run import replay_run, sentences, states_in
from amint_core.audit.statement import (
    hash_of_transcript,
    hash_of_weights,
    public_key_of,
    publish,
)
from amint_core.cli import main
from amint_core.errors import DamagedError, ResultsError, SettingsError
from amint_core.run import steps, trainings
from amint_core.run.folder import Run
from amint_core.store import read_sealed
from amint_core.training.kinds import ACTIVE
from benchmarks import replays


@pytest.fixture(scope="module")
def honest(tmp_path_factory) -> Path:
    """Return a finished run of four epochs that kept the state after each."""
    root = tmp_path_factory.mktemp("honest")
    with pytest.MonkeyPatch.context() as moved:
        moved.setenv("AMINT_CACHE", str(root / "cache"))
        moved.setenv("AMINT_RESULTS", str(root / "results"))
        run = Run(settings(epochs=4, keep_epochs=1, recipe="best"))
        steps.train(run)
        steps.score(run)
        steps.evaluate(run)
    return run.folder


def test_an_honest_run_matches_whichever_epochs_are_drawn(honest, tmp_path) -> None:
    assert sorted(states_in(honest / "epochs")) == [1, 2, 3, 4]
    run = shutil.copytree(honest, tmp_path / "synced")
    shutil.copy(run / "epochs" / "0003.pt", run / "epochs" / "0003 (1).pt")
    assert sorted(states_in(run / "epochs")) == [1, 2, 3, 4]
    found = replay_run(honest, epochs=4)
    assert [each.epoch for each in found.epochs] == [1, 2, 3, 4]
    assert found.outcome == MATCHES
    assert found.weights is True
    assert found.kept == dict.fromkeys((1, 2, 3, 4), True)
    one = replay_run(honest, epochs=1)
    assert (one.outcome, len(one.epochs), one.cost) == (MATCHES, 1, 0.25)


def test_epochs_that_were_not_kept_are_trained_again_from_the_last_one_that_was(
    honest, tmp_path
) -> None:
    run = shutil.copytree(honest, tmp_path / "run")
    (run / "epochs" / "0003.pt").unlink()
    (run / "epochs" / "0001.pt").unlink()
    found = replay_run(run, epochs=4)
    assert [each.epoch for each in found.epochs] == [1, 2, 3, 4]
    assert found.outcome == MATCHES
    shutil.rmtree(run / "epochs")
    found = replay_run(run, epochs=4)  # the initial weights follow from the seed
    assert (found.outcome, found.weights, found.kept) == (MATCHES, True, {})


def test_weights_whose_state_was_not_kept_are_compared_all_the_same(honest, tmp_path) -> None:
    run = shutil.copytree(honest, tmp_path / "run")
    (run / "epochs" / "0004.pt").unlink()
    found = replay_run(run, epochs=1)
    assert 4 in {each.epoch for each in found.epochs}
    assert (found.outcome, found.weights, found.drawn) == (MATCHES, True, 1)
    data, history = Run(settings(epochs=4, recipe="best")).data, pd.read_csv(honest / "history.csv")
    states = states_in(run / "epochs")
    other = replay(ACTIVE, data, history, states, [2], (4, "of a wholly different model"))
    assert (other.outcome, other.weights) == (DIFFERS, False)
    assert all(each.state and each.order for each in other.epochs)


def test_epochs_trained_on_the_way_add_nothing_to_the_chance(honest) -> None:
    data, history = Run(settings(epochs=4, recipe="best")).data, pd.read_csv(honest / "history.csv")
    found = replay(ACTIVE, data, history, {}, [3])
    assert [each.epoch for each in found.epochs] == [1, 2, 3]
    assert found.outcome == MATCHES
    assert (found.drawn, found.caught(), found.cost) == (1, 0.25, 0.75)  # of the fourth, nothing
    assert replay(ACTIVE, data, history, {}, [4]).caught() == 1  # all of them were trained


def test_the_place_in_the_schedule_is_not_the_owners_to_choose(honest) -> None:
    data, history = Run(settings(epochs=4, recipe="best")).data, pd.read_csv(honest / "history.csv")
    kept = states_in(honest / "epochs")[1]()
    moved = dataclasses.replace(kept, scheduler={"last_epoch": 0})
    assert moved.digest() == kept.digest()
    assert replay(ACTIVE, data, history, {1: lambda: moved}, [2]).outcome == MATCHES


@pytest.mark.parametrize(
    ("file", "text", "raised"),
    [
        ("config.json", "[]", "TypeError"),
        ("history.csv", "epoch,order,state\n", "ValueError"),
    ],
)
def test_files_that_no_run_writes_are_named_before_anything_is_trained(
    honest, tmp_path, file, text, raised
) -> None:
    run = shutil.copytree(honest, tmp_path / "run")
    told = read_sealed(run / "manifest.json")
    (run / file).write_text(text)
    seal_files(run, **{name: told[name] for name in ("data", "split", "hardware")})
    with pytest.raises(DamagedError, match=f"holds files that no run writes.*{raised}"):
        replay_run(run)


def test_a_manifest_that_names_no_images_is_told(honest, tmp_path) -> None:
    run = shutil.copytree(honest, tmp_path / "run")
    seal_files(run)
    with pytest.raises(DamagedError, match=r"holds files that no run writes.*KeyError: .'data'"):
        replay_run(run)


def test_a_state_kept_every_other_epoch_and_the_last(tmp_path, monkeypatch) -> None:
    _, run = train(settings(epochs=3, keep_epochs=2))
    assert sorted(states_in(run.folder / "epochs")) == [2, 3]
    _, none = train(settings(epochs=2))
    assert not (none.folder / "epochs").exists()


def test_keeping_epochs_is_no_other_training(capsys) -> None:
    _, run = train(settings())
    history, again = train(settings(keep_epochs=1))
    assert run.settings.id == again.settings.id
    told = capsys.readouterr().out
    assert "Already trained" in told
    assert "asks for were not kept" in told
    assert len(history) == 3
    _, kept = train(settings(seed=1, keep_epochs=2))
    train(settings(seed=1, keep_epochs=2))
    assert "asks for were not kept" not in capsys.readouterr().out
    assert sorted(states_in(kept.folder / "epochs")) == [2, 3]


@pytest.mark.parametrize("change", replays.CHANGES)
def test_one_image_more_less_or_another_is_caught_in_the_epoch_that_saw_it(change) -> None:
    data = Run(settings(epochs=4)).data
    owner = replays.Owner(data)
    owner.train(data.split.roles["members"], 4)
    other = replays.tampered(data, owner, change, at=3)
    assert other.transcript["order"][2] != owner.transcript["order"][2]
    forged = replays.forged(other.transcript, owner.transcript)
    assert (forged["order"] == owner.transcript["order"]).all()
    for transcript in (other.transcript, forged):
        assert replay(ACTIVE, data, transcript, other.reads, [3]).outcome == DIFFERS
        assert replay(ACTIVE, data, transcript, other.reads, [1, 2, 4]).outcome == MATCHES
        assert replay(ACTIVE, data, transcript, {}, [4]).outcome == DIFFERS  # from the seed


def test_a_kept_state_that_says_that_the_training_is_over_is_trained_on_all_the_same() -> None:
    data = Run(settings(epochs=4)).data
    owner = replays.Owner(data)
    owner.train(data.split.roles["members"], 4)
    other = replays.tampered(data, owner, "added", at=3)
    transcript = replays.forged(other.transcript, owner.transcript)
    rows = transcript.to_dict("records")

    def over(read):
        return lambda: dataclasses.replace(read(), epoch=4, history=rows, best=1)

    forged = {epoch: over(read) for epoch, read in other.reads.items()}
    found = replay(ACTIVE, data, transcript, forged, [3, 4])
    assert [each.state for each in found.epochs] == [False, True]
    assert found.outcome == DIFFERS


@pytest.mark.parametrize(
    "odd", [{"scheduler": {}}, {"model": {}}, {"optimizer": {"state": {}, "param_groups": []}}]
)
def test_a_kept_state_of_another_training_is_named(honest, odd) -> None:
    data, history = Run(settings(epochs=4)).data, pd.read_csv(honest / "history.csv")
    kept = dataclasses.replace(states_in(honest / "epochs")[1](), **odd)
    with pytest.raises(DamagedError, match="not go on from the state kept after epoch 1"):
        replay(ACTIVE, data, history, {1: lambda: kept}, [2])


def test_an_early_stop_of_the_training_stops_no_replay() -> None:
    data = Run(settings(epochs=4, patience=1)).data
    owner = replays.Owner(data)
    owner.train(data.split.roles["members"], 4)
    kept = dataclasses.replace(owner.states[1], best=1)  # and the second epoch is better
    found = replay(ACTIVE, data, owner.transcript, {1: lambda: kept}, [4])
    assert [each.epoch for each in found.epochs] == [2, 3, 4]
    assert found.outcome == MATCHES


def test_a_transcript_of_more_epochs_than_the_training_has_is_refused(honest) -> None:
    data, history = Run(settings(epochs=4)).data, pd.read_csv(honest / "history.csv")
    longer = pd.concat([history, history.tail(1).assign(epoch=5)])
    states = states_in(honest / "epochs")
    with pytest.raises(SettingsError, match="lists an epoch 5, but with the settings at hand"):
        replay(ACTIVE, data, longer, states | {5: states[4]}, [5])
    for odd in (history.iloc[1:], pd.concat([history, history])):
        with pytest.raises(SettingsError, match="not numbered from 1, each once"):
            replay(ACTIVE, data, odd, states, [2])


def test_the_experiment_counts_what_is_caught() -> None:
    rows = replays.trial(settings(epochs=3), epochs=2)
    table = replays.summary(pd.DataFrame(rows), total=3, epochs=2)
    assert list(table.index) == ["honest", *replays.CHANGES]
    assert table.loc["honest", "accused"] == 0
    assert (table.loc[list(replays.CHANGES), "caught_when_drawn"] == 1).all()
    assert (table["accused_when_not_drawn"] == 0).all()
    assert (table["caught_by_lot"] == table["drawn"]).all()
    assert table["probability"].unique() == pytest.approx([2 / 3])


def test_a_state_that_is_not_the_transcripts_and_other_weights_are_told(honest, tmp_path) -> None:
    run = shutil.copytree(honest, tmp_path / "run")
    state = states_in(run / "epochs")[2]()
    next(iter(state.model.values())).add_(1e-6)
    torch.save(vars(state), run / "epochs" / "0002.pt")
    found = replay_run(run, epochs=4)
    assert found.kept[2] is False
    assert found.outcome == DIFFERS
    assert "The state kept after epoch 2 is not the transcript's." in sentences(found)
    shutil.copy(run / "epochs" / "0001.pt", run / "epochs" / "0004.pt")
    found = replay_run(run, epochs=4)
    assert found.weights is False
    assert any("not those that the training ended with" in said for said in sentences(found))


def test_elsewhere_a_differing_state_proves_nothing_but_a_differing_order_does(
    honest, monkeypatch
) -> None:
    monkeypatch.setattr(provenance, "hardware", lambda device: "another processor")
    found = replay_run(honest, epochs=1)
    assert found.outcome == MATCHES  # equal is equal
    assert any("another processor" in reason for reason in found.elsewhere)
    epoch = dataclasses.replace(found.epochs[0], state=False)
    differs = dataclasses.replace(found, epochs=(epoch,))
    assert differs.outcome == CANNOT_TELL
    assert any("another processor" in said for said in sentences(differs))
    assert dataclasses.replace(differs, elsewhere=()).outcome == DIFFERS
    order = dataclasses.replace(epoch, order=False)
    assert dataclasses.replace(differs, epochs=(order,)).outcome == DIFFERS


def test_other_images_damaged_states_and_trainings_on_top_are_refused(
    honest, tmp_path, monkeypatch
) -> None:
    run = shutil.copytree(honest, tmp_path / "run")
    for state in (run / "epochs").iterdir():
        state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(DamagedError, match=r"is no state of a training"):
        replay_run(run, epochs=4)
    identity = replayed_run.training_of

    def other(kind, data):
        found = identity(kind, data)
        return dataclasses.replace(found, identity=found.identity | {"data": "other"})

    with monkeypatch.context() as patch:
        patch.setattr(replayed_run, "training_of", other)
        with pytest.raises(ResultsError, match=r"not those that the run in .* lists"):
            replay_run(honest)
    run = Run(settings(method="passive"))
    for step in (steps.train, steps.score, steps.evaluate):
        step(run)
    with pytest.raises(SettingsError, match="starts from a finished plain model"):
        replay_run(run.folder)


def test_a_training_in_two_stages_is_trained_again_as_a_whole(monkeypatch, capsys) -> None:
    monkeypatch.setattr(trainings, "KEEP_EVERY", 0.0)  # what is kept is of no transcript
    run = Run(settings(epochs=2, head_epochs=2, head_batch=20, keep_epochs=1))
    for step in (steps.train, steps.score, steps.evaluate):
        step(run)
    found = replay_run(run.folder, epochs=1)
    assert len(found.epochs) == found.total == 4
    assert (found.outcome, found.weights) == (MATCHES, True)
    assert "In two stages keep_epochs keeps nothing" in capsys.readouterr().out
    history = pd.read_csv(run.folder / "history.csv")
    data = Run(run.settings).data
    with pytest.raises(SettingsError, match=r"ends with epoch 3.*goes on to epoch 4"):
        replay(ACTIVE, data, history[:3], {}, [1])


def test_the_lot_is_fair_and_gives_the_probability() -> None:
    random = np.random.default_rng(0)
    met = [7 in drawn(20, 3, random) for _ in range(4000)]
    assert np.mean(met) == pytest.approx(probability(3, 20), abs=0.02)
    assert probability(3, 20) == pytest.approx(3 / 20)
    assert probability(3, 20, tampered=20) == 1.0
    assert probability(1, 10, tampered=4) == pytest.approx(0.4)
    assert drawn(3, 5) == [1, 2, 3]
    assert len({tuple(drawn(1000, 3)) for _ in range(20)}) == 20  # nobody can foresee it


def test_a_transcript_that_was_signed_before_is_held_to(honest, tmp_path, capsys) -> None:
    key = bytes(range(32))
    history = pd.read_csv(honest / "history.csv")
    weights = hash_of_weights(load_file(honest / "model.safetensors"))
    ledger = Ledger.of(bytes(32), members=[b"one"])
    for name, (of, at) in {
        "good": (weights, history),
        "model": ("0" * 64, history),
        "history": (weights, history.assign(state="0" * 64)),
    }.items():
        said = ledger.statement(of, transcript=hash_of_transcript(at))
        publish(tmp_path / name, said, key)
    publish(tmp_path / "none", ledger.statement(weights), key)
    asked = ["replay", str(honest), "--epochs", "1", "--key", public_key_of(key).hex()]
    assert main([*asked, "--signed", str(tmp_path / "good")]) == 0
    assert main([*asked, "--signed", str(tmp_path / "history")]) == 2
    assert "not the transcript that was signed" in capsys.readouterr().err
    assert main([*asked, "--signed", str(tmp_path / "none")]) == 2
    assert "The statement names no transcript" in capsys.readouterr().err
    assert main([*asked, "--signed", str(tmp_path / "model")]) == 2
    assert "not about this run's" in capsys.readouterr().err
    assert main(asked) == 2
    assert "belong together" in capsys.readouterr().err


def test_the_command_ends_with_0_or_1(honest, tmp_path, capsys) -> None:
    assert main(["replay", str(honest), "--epochs", "2"]) == 0
    told = capsys.readouterr().out
    assert "amint: matches" in told
    assert "2 of 4 epochs were trained again" in told
    assert "with probability 50%" in told
    run = shutil.copytree(honest, tmp_path / "run")
    shutil.copy(run / "epochs" / "0001.pt", run / "epochs" / "0004.pt")
    assert main(["replay", str(run)]) == 1
    assert main(["replay", str(tmp_path)]) == 2
    assert main(["replay", str(honest), "--epochs", "0"]) == 2

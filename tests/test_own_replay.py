"""A training of one's own model is replayed from its folder, the same images given again."""

from __future__ import annotations

import dataclasses
import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from audit_folders import pictures
from torch import nn
from torch.nn import functional

import amint_core as amint
from amint_core import provenance
from amint_core.audit.ledger import Ledger
from amint_core.audit.replay import CANNOT_TELL, DIFFERS, MATCHES
from amint_core.audit.replayed_run import sentences, states_in
from amint_core.audit.statement import (
    LedgerError,
    hash_of_transcript,
    hash_of_weights,
    public_key_of,
    publish,
    read,
)
from amint_core.cli import main
from amint_core.errors import DamagedError, DataError, ModelError, ResultsError, SettingsError

PIXELS, LABELS = pictures(0, 420), np.arange(420) % 3
SIZES = {"members": 100, "external": 120, "calibration": 100, "holdout": 100}
SHORT = {"epochs": 4, "batch_size": 20, "cpu_threads": 1}


class Dropping(nn.Module):
    """Draws random numbers in training, and counts in its batch normalisation."""

    def __init__(self, slope: float = 0.0) -> None:
        super().__init__()
        self.first, self.normal = nn.Conv2d(3, 6, 3, 2, padding=1), nn.BatchNorm2d(6)
        self.second, self.classify = nn.Conv2d(6, 8, 3, 2, padding=1), nn.Linear(8, 3)
        self.slope = slope

    def forward(self, images):
        maps = functional.leaky_relu(self.normal(self.first(images)), self.slope)
        maps = functional.dropout(self.second(maps).relu(), 0.2, self.training)
        return self.classify(maps.mean((2, 3)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def roles():
    return amint.deal(PIXELS, LABELS, **SIZES)


@pytest.fixture(scope="module")
def honest(roles, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("honest") / "my_model"
    torch.manual_seed(0)
    amint.fit(Dropping(), **roles, folder=folder, **SHORT, keep_epochs=1)
    return folder


def replayed(folder, roles, epochs=4, **given):
    return amint.replay(folder, **{**roles, **given}, model=Dropping(), epochs=epochs)


def test_an_honest_training_matches_whichever_epochs_are_drawn(honest, roles):
    assert sorted(states_in(honest / "epochs")) == [0, 1, 2, 3, 4]
    found = replayed(honest, roles)
    assert [each.epoch for each in found.epochs] == [1, 2, 3, 4]
    assert (found.outcome, found.weights) == (MATCHES, True)
    assert found.kept == dict.fromkeys((1, 2, 3, 4), True)
    assert found.elsewhere == ()
    one = replayed(honest, {role: roles[role] for role in ("members", "external")}, epochs=1)
    assert (one.outcome, one.cost) == (MATCHES, 0.25)


def test_keeping_states_changes_no_weight_and_a_folder_without_them_is_trained_again(
    honest, roles, tmp_path, capsys
):
    torch.manual_seed(0)
    given = {**roles, "folder": tmp_path / "a", **SHORT}
    plain = amint.fit(Dropping(), **given)
    weights = amint.load(honest, model=Dropping()).enhanced.state_dict()
    for name, value in plain.enhanced.state_dict().items():
        assert torch.equal(weights[name], value), name
    assert not (tmp_path / "a" / "epochs").exists()
    with pytest.raises(ResultsError, match=r"does not hold the weights .* 0000.pt.*keep_epochs=1"):
        replayed(tmp_path / "a", roles)
    torch.manual_seed(0)
    amint.fit(Dropping(), **given, keep_epochs=2)
    assert sorted(states_in(tmp_path / "a" / "epochs")) == [0, 2, 4]
    assert replayed(tmp_path / "a", roles).outcome == MATCHES
    capsys.readouterr()
    amint.fit(Dropping(), **given, keep_epochs=2)
    assert "Already trained" in capsys.readouterr().out
    torch.manual_seed(0)
    amint.fit(Dropping(), **given, keep_epochs=1)  # of which half the states are there
    assert "Already trained" not in capsys.readouterr().out
    assert sorted(states_in(tmp_path / "a" / "epochs")) == [0, 1, 2, 3, 4]
    with pytest.raises(SettingsError, match=r"there is none. Name one by folder"):
        amint.fit(Dropping(), **roles, **SHORT, keep_epochs=1)


def test_other_images_and_another_model_are_refused(honest, roles):
    members = roles["members"]
    pixels = members.pixels.copy()
    pixels[0] = 255 - pixels[0]
    one_swapped = dataclasses.replace(members, pixels=pixels)
    relabelled = dataclasses.replace(members, labels=(members.labels + 1) % 3)
    for other in (one_swapped, relabelled, members.take(np.arange(99))):
        with pytest.raises(ResultsError, match=r"not those that .* lists"):
            replayed(honest, roles, members=other)
    with pytest.raises(ModelError, match="its code or its settings differ"):
        amint.replay(honest, **roles, model=Dropping(0.1))
    with pytest.raises(ModelError, match=r"own class 'Dropping'.*model=Dropping"):
        amint.replay(honest, **roles)
    how = amint.Preprocessing(16, 16, 3, mean=(0.0,), deviation=(1.0,))
    with pytest.raises(ResultsError, match=r"prepared otherwise .*preprocessing=amint.Prepro"):
        replayed(honest, roles, preprocessing=how)
    with pytest.raises(DataError, match="same image is among members and external"):
        replayed(honest, roles, external=members)
    with pytest.raises(SettingsError, match="epochs = 0: draw 1 or more"):
        replayed(honest, roles, epochs=0)


def test_a_training_on_other_images_than_are_listed_is_caught(honest, roles, tmp_path):
    """The owner hides a swapped member: he forges order and images, and cannot forge states."""
    members = roles["members"]
    pixels = members.pixels.copy()
    pixels[0] = 255 - pixels[0]
    torch.manual_seed(0)
    hidden = {**roles, "members": dataclasses.replace(members, pixels=pixels)}
    amint.fit(Dropping(), **hidden, folder=tmp_path / "m", **SHORT, keep_epochs=1)
    made = amint.load(tmp_path / "m", model=Dropping())
    told = amint.load(honest, model=Dropping()).card["made_of"]
    amint.save(dataclasses.replace(made, card={**made.card, "made_of": told}), tmp_path / "m")
    history = pd.read_csv(tmp_path / "m" / "history.csv")
    listed = pd.read_csv(honest / "history.csv")
    history.assign(order=listed["order"]).to_csv(tmp_path / "m" / "history.csv", index=False)
    found = replayed(tmp_path / "m", roles)
    assert found.outcome == DIFFERS
    assert all(each.order for each in found.epochs)
    # An epoch that takes fewer members than a round has may not have met this one.
    assert sum(not each.state for each in found.epochs) >= 3


def test_states_and_weights_that_are_others_are_told(honest, roles, tmp_path, monkeypatch):
    folder = shutil.copytree(honest, tmp_path / "m")
    shutil.copy(folder / "epochs" / "0001.pt", folder / "epochs" / "0004.pt")
    found = replayed(folder, roles)
    assert (found.outcome, found.weights) == (DIFFERS, False)
    (folder / "epochs" / "0004.pt").write_bytes(b"PK")
    with pytest.raises(DamagedError, match=r"0004.pt is no state of a training"):
        replayed(folder, roles)
    (folder / "history.csv").write_text("epoch\n")
    with pytest.raises(DamagedError, match=r"history.csv is missing, or no history"):
        replayed(folder, roles)
    monkeypatch.setattr(provenance, "hardware", lambda device: "another processor")
    found = replayed(honest, roles, epochs=1)
    assert found.outcome == MATCHES  # equal is equal
    assert any("another processor" in reason for reason in found.elsewhere)
    epoch = dataclasses.replace(found.epochs[0], state=False)
    assert dataclasses.replace(found, epochs=(epoch,)).outcome == CANNOT_TELL


def test_a_transcript_that_was_signed_before_is_held_to(honest, roles, tmp_path):
    key, history = bytes(range(32)), pd.read_csv(honest / "history.csv")
    weights = hash_of_weights(amint.load(honest, model=Dropping()).enhanced.state_dict())
    for name, at in {"good": history, "other": history.assign(state="0" * 64)}.items():
        said = Ledger.of(bytes(32), members=[b"one"]).statement(
            weights, transcript=hash_of_transcript(at)
        )
        publish(tmp_path / name, said, key)
    public = public_key_of(key)
    found = replayed(honest, roles, epochs=1, signed=read(tmp_path / "good", public))
    assert found.outcome == MATCHES
    assert any("The weights handed out are those" in said for said in sentences(found))
    with pytest.raises(LedgerError, match="not the transcript that was signed"):
        replayed(honest, roles, signed=read(tmp_path / "other", public))


def test_folders_that_hold_no_training_of_fit_say_why(honest, roles, tmp_path, capsys):
    amint.attach(
        Dropping(), **roles, folder=tmp_path / "a", head_epochs=1, head_batch=50, cpu_threads=1
    )
    with pytest.raises(SettingsError, match=r"`amint.attach` gave it a head alone.*amint.fit"):
        replayed(tmp_path / "a", roles)
    made = amint.load(honest, model=Dropping())
    amint.save(dataclasses.replace(made, card={}), tmp_path / "b")
    with pytest.raises(ResultsError, match=r"not written by `amint.fit`"):
        replayed(tmp_path / "b", roles)
    assert main(["replay", str(honest)]) == 2
    assert "amint.replay(folder, model=MyNet()" in capsys.readouterr().err


class Half(Dropping):
    """Half of it is frozen, and what it draws comes from Python and numpy."""

    def __init__(self) -> None:
        super().__init__()
        next(self.parameters()).requires_grad_(False)

    def forward(self, images):
        if self.training and random.random() < 0.5:
            images = images.flip(3)
        return super().forward(images + (0.1 * np.random.random() if self.training else 0.0))


def test_frozen_layers_and_other_random_streams_are_replayed(roles, tmp_path):
    torch.manual_seed(0)
    amint.fit(Half(), **roles, folder=tmp_path / "half", **SHORT, keep_epochs=1)
    whole = Half().requires_grad_(True)
    found = amint.replay(tmp_path / "half", **roles, model=whole, epochs=4)
    assert (found.outcome, found.weights) == (MATCHES, True)


def test_other_frozen_layers_are_another_training(roles, tmp_path, capsys):
    given = {**roles, "folder": tmp_path / "a", **SHORT}
    amint.fit(Half(), **given)
    capsys.readouterr()
    amint.fit(Half().requires_grad_(True), **given)
    assert "Already trained" not in capsys.readouterr().out

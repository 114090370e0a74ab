"""Trainings are shared by what they depend on, and by nothing less."""

import dataclasses

import pytest
from small_run import SMALL

from amint_core.data.prepare import prepare
from amint_core.run.needs import training_settings
from amint_core.run.trainings import Training, training_of
from amint_core.settings import create
from amint_core.training import precision
from amint_core.training.kinds import ACTIVE, KINDS, PLAIN
from amint_core.training.losses import MINT


def key(kind="active", **changes):
    settings = create(**{**SMALL, **changes})
    return training_of(KINDS[kind], prepare(settings)).folder.name


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 2},
        {"seed": 1},
        {"learning_rate": 1e-4},
        {"members": 61},
        {"external": 81},
        {"model": "mobilenet"},
        {"image_size": 12},
        {"setup": "entry"},
        {"lambda_mint": 2.0},
        {"augment_external": 0.5, "external_transformations": ("flip",)},
        {"defects": ("frozen_batchnorm",)},
        {"defects": ("first_batch_balance",)},
    ],
    ids=str,
)
def test_whatever_changes_a_training_makes_another(changes):
    assert key(**changes) != key()


@pytest.mark.parametrize(
    "changes",
    [
        {"views": "flips"},
        {"transformations": ("flip",)},
        {"defects": ("threshold_on_judged",)},
        {"defects": ("audited_on_external", "threshold_on_judged")},
        {"profile": "other"},
        {"workers": 2},
    ],
    ids=str,
)
def test_what_only_changes_the_judging_shares_the_training(changes):
    assert key(**changes) == key()


def test_a_plain_model_does_not_depend_on_the_head():
    for changes in (
        {"setup": "entry"},
        {"lambda_mint": 3.0},
        {"defects": ("first_batch_balance",)},
    ):
        assert key("plain", **changes) == key("plain")
    assert key("plain", epochs=2) != key("plain")
    assert key("plain") != key("active")


def test_every_setting_is_sorted_into_training_or_not():
    """A new setting counts as part of the training until somebody says otherwise."""
    settings = create(**SMALL)
    of_kind = {"kind", "trains", "declares", "losses"}
    of_training = set(training_settings(settings, ACTIVE)) - of_kind
    assert of_training == {
        *("dataset", "model", "setup", "seed", "head", "head_width"),
        *("head_count", "low_pass", "taps", "epochs"),
        *("batch_size", "learning_rate", "schedule", "weight_decay"),
        *("lambda_audited", "lambda_mint"),
        *("patience", "augment_members", "augment_external", "member_transformations"),
        *("external_transformations", "defects", "precision", "cpu_threads"),
        *("head_epochs", "head_batch", "head_rate", "head_copies"),
        *("optimizer", "matrix_rate", "label_smoothing"),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"trains": "head"},
        {"losses": (MINT,)},
        {"declares": "not_judged"},
        {"starts_from": PLAIN},
    ],
    ids=["trains", "losses", "declares", "starts_from"],
)
def test_a_kind_of_the_same_name_that_trains_otherwise_is_another_training(changes):
    settings = create(**SMALL)
    other = dataclasses.replace(ACTIVE, **changes)
    assert training_settings(settings, other) != training_settings(settings, ACTIVE)


def test_one_model_of_two_stages_serves_every_head():
    first = key("plain", head_epochs=2)
    assert key("plain", head_epochs=4, head_rate=0.1) == first != key("plain")
    assert key("attached", head_epochs=2) != key("attached", head_epochs=4)


def test_other_code_is_another_training():
    identity = {"code": "a"}
    assert Training(identity).folder != Training({"code": "b"}).folder


def test_a_training_in_use_is_seen_to_be_busy():
    training = Training({"code": "a"})
    assert not training.is_busy()
    with training.alone():
        assert training.is_busy()
    assert not training.is_busy()


def test_a_model_of_another_machines_precision_is_trained_anew(monkeypatch):
    keys = set()
    for gain in (1.0, 4.0):  # a machine without bf16's instructions, and one with them
        monkeypatch.setattr(precision, "_gain_of_bf16", lambda gain=gain: gain)
        keys.add(key(precision="auto"))
    assert len(keys) == 2

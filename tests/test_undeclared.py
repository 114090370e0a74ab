"""Members that a head is not told, or is told are none: what is trained on what."""

import numpy as np
import pytest
import torch
from made_case import made_case
from small_run import SMALL
from torch.nn import functional

from amint_core.errors import SettingsError
from amint_core.evaluation.metrics import auc
from amint_core.methods import METHODS, undeclared
from amint_core.run import models, shadows, steps
from amint_core.run.folder import Run
from amint_core.settings import create
from amint_core.training.declared import declarations, sides
from amint_core.training.kinds import ACTIVE, KINDS, MISDECLARED, PASSIVE_UNSEEN, UNDECLARED
from amint_core.training.losses import mint_accuracy, mint_loss

MEMBERS, EXTERNAL, JUDGED = np.arange(3, 9), np.arange(20, 24), np.array([4, 7])


def batches_of(run, kind):
    accelerator = type("Accelerator", (), {"device": torch.device("cpu")})
    accelerator.process_index, accelerator.num_processes = 0, 1
    return models.batches_of(kind, run.data, run.data.split.roles["members"], accelerator)


def test_who_is_not_told_stands_on_no_side_and_who_is_misdeclared_on_the_other():
    members, external = sides(PASSIVE_UNSEEN, MEMBERS, EXTERNAL, JUDGED)
    assert members.tolist() == [3, 5, 6, 8]
    assert external.tolist() == [20, 21, 22, 23]
    members, external = sides(MISDECLARED, MEMBERS, EXTERNAL, JUDGED)
    assert members.tolist() == [3, 5, 6, 8]
    assert external.tolist() == [20, 21, 22, 23, 4, 7]
    assert sides(ACTIVE, MEMBERS, EXTERNAL, JUDGED) == (MEMBERS, EXTERNAL)


def test_a_declaration_is_one_for_members_and_nan_or_nought_for_the_judged():
    assert declarations(ACTIVE, MEMBERS, JUDGED) is None
    told = declarations(UNDECLARED, MEMBERS, JUDGED)[MEMBERS]
    assert np.isnan(told).tolist() == [False, True, False, False, True, False]
    assert np.nansum(told) == 4
    assert declarations(MISDECLARED, MEMBERS, JUDGED)[MEMBERS].tolist() == [1, 0, 1, 1, 0, 1]


def test_the_loss_leaves_out_who_is_not_told():
    logits = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0], requires_grad=True)  # three members first
    declared = torch.tensor([1.0, float("nan"), 0.0])
    loss = mint_loss(logits, 3, declared)
    told = torch.tensor([0, 2, 3, 4])
    by_hand = functional.binary_cross_entropy_with_logits(
        logits[told], torch.tensor([1.0, 0.0, 0.0, 0.0])
    )
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    assert logits.grad[1] == 0
    assert logits.grad[told].all()
    # Right are the first member and the last external image, of four that are told.
    assert float(mint_accuracy(logits.detach(), 3, declared)) == 0.5


def test_told_all_the_loss_is_the_plain_one():
    logits = torch.tensor([1.0, -2.0, 0.5, 3.0])
    torch.testing.assert_close(mint_loss(logits, 2, torch.ones(2)), mint_loss(logits, 2))
    assert mint_accuracy(logits, 2, torch.ones(2)) == mint_accuracy(logits, 2)


@pytest.mark.parametrize("kind", [UNDECLARED, MISDECLARED])
def test_the_classes_are_learnt_from_all_members_whatever_the_head_is_told(kind):
    run = Run(create(**SMALL, method=kind.name))
    split = run.data.split
    drawn = np.concatenate([members for members, _ in batches_of(run, kind).indices(1)])
    assert set(split.judged_members) <= set(drawn)
    told = np.concatenate([batch.declared for batch in batches_of(run, kind).epoch(1)])
    hidden = np.isnan(told) if kind == UNDECLARED else told == 0
    assert np.array_equal(hidden, np.isin(drawn, split.judged_members))


def test_a_head_alone_never_sees_the_members_that_it_is_not_told():
    run = Run(create(**SMALL, method="passive_unseen"))
    drawn = [np.concatenate(pair) for pair in batches_of(run, PASSIVE_UNSEEN).indices(1)]
    assert not set(np.concatenate(drawn)) & set(run.data.split.judged_members)


@pytest.mark.parametrize(
    ("method", "stages"),
    [("undeclared", 1), ("undeclared", 2), ("misdeclared", 1), ("passive_unseen", 2)],
)
def test_the_head_finds_the_declared_and_not_the_others(method, stages):
    settings = create(
        **{**SMALL, "members": 100, "holdout": 200, "epochs": 20, "learning_rate": 3e-3},
        head_epochs=10 if stages == 2 else 0,
        method=method,
    )
    run = Run(settings)
    steps.train(run)
    scores = steps.score(run)
    holdout = scores.loc[scores["role"] == "holdout", "score"]
    found = {
        judged: auc(of_side["score"], holdout)["value"]
        for judged, of_side in scores[scores["role"] == "members"].groupby("judged")
    }
    print(found)
    assert found[False] > 0.7
    assert found[True] < found[False] - 0.15


def test_another_test_is_turned_on_the_same_model():
    own = Run(create(**SMALL, method="undeclared"))
    attacked = Run(create(**SMALL, method="yeom", target="undeclared"))
    for run in (own, attacked):
        steps.train(run)
    for name, value in own.model.state_dict().items():
        assert torch.equal(value, attacked.model.state_dict()[name]), name
    assert steps.case_of(attacked).outsiders.sum() == SMALL["calibration"]


def test_shadow_models_of_a_liars_model_are_honest():
    run = Run(create(**SMALL, method="lira_online", shadows=4, target="misdeclared"))
    honest = Run(create(**SMALL, method="lira_online", shadows=4, target="active"))
    assert shadows.describe(run.shadows)["kind"] == "active"
    folders = [[one.folder for one in made.shadows.trainings] for made in (run, honest)]
    assert folders[0] == folders[1]


@pytest.mark.parametrize("target", ["undeclared", "misdeclared"])
def test_a_head_that_can_be_told_nobody_is_refused(target):
    nobody = {**SMALL, "calibration": 0}
    with pytest.raises(SettingsError, match="calibration above 0"):
        create(**nobody, method="yeom", target=target)
    with pytest.raises(SettingsError, match="calibration above 0"):
        create(**nobody, method=target)
    with pytest.raises(SettingsError, match="Leave target at 'plain'"):
        create(**SMALL, method="active", target=target)


def test_head_and_loss_count_alike_against_calibration_images():
    case = made_case(
        {"members": 40, "calibration": 40, "holdout": 40}, np.zeros((120, 4, 4, 3), np.uint8)
    )
    random = np.random.default_rng(0)
    case.__dict__["membership"] = 5 + 3 * random.normal(size=120)
    case.__dict__["logits"] = random.normal(size=(120, 3)).astype(np.float32)
    before = undeclared.with_loss(case)
    reference = (case.images["role"] == "calibration").to_numpy()
    assert abs(before[reference].mean()) < 1e-9
    case.__dict__["membership"] = 7 * case.membership - 100  # another scale says the same
    assert np.allclose(undeclared.with_loss(case), before)
    case.__dict__["membership"] = case.membership + 700 * case.member
    assert undeclared.with_loss(case)[:40].min() > before.max()


def test_every_kind_is_the_method_of_its_name():
    assert set(KINDS) <= set(METHODS)

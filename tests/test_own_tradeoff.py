"""λ against cost and gain, and an outsider's scores beside a run's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from small_run import SMALL
from test_own_model import LABELS, PIXELS, SHORT, SIZES, OwnNet, net
from torch.nn.utils import prune

import amint_core as amint
from amint_core.errors import ModelError, ProtocolError, ResultsError, SettingsError
from amint_core.evaluation import metrics, paired
from amint_core.files import read_json
from amint_core.locations import project_root


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("places")
    with pytest.MonkeyPatch.context() as moved:
        moved.setenv("AMINT_CACHE", str(root / "cache"))
        moved.setenv("AMINT_RESULTS", str(root / "results"))
        yield root


def test_each_weight_is_trained_from_the_same_start_and_shown_with_its_figures(places):
    model, roles = net(), amint.deal(PIXELS, LABELS, **SIZES)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = amint.tradeoff(
        model, **roles, lambdas=(1.0, 0.0), folder=places / "lambdas", **{**SHORT, "epochs": 12}
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    table = found.table.set_index(["lambda_mint", "measure"])
    assert table.loc[(1.0, "MINT AUC"), "value"] > 0.7
    assert pd.isna(table.loc[(0.0, "MINT AUC"), "value"])
    told = amint.load(places / "lambdas" / "lambda-1", model=OwnNet()).card
    assert table.loc[(1.0, "audited accuracy"), "value"] == told["audited"]["accuracy"]["value"]
    assert found.wide().index.tolist() == [0.0, 1.0]
    (axes,) = found.figure().axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1"]
    for lambdas in ((), (1.0, 1.0)):
        with pytest.raises(SettingsError, match="different weights"):
            amint.tradeoff(model, **roles, lambdas=lambdas)


def test_a_model_that_cannot_be_copied_is_told_so():
    pruned = net()
    prune.l1_unstructured(pruned.first, "weight", amount=0.5)
    with pytest.raises(ModelError, match=r"cannot be copied.*prune\.remove"):
        amint.tradeoff(pruned, **amint.deal(PIXELS, LABELS, **SIZES))


@pytest.fixture(scope="module")
def run(places):
    run = amint.Run(amint.RunConfig.create(**SMALL))
    amint.train(run)
    amint.score(run)
    amint.evaluate(run)
    return run


@pytest.mark.parametrize(
    ("given", "message"),
    [({"holdout": None}, "give holdout"), ({"lambdas": ["much"]}, "give different weights")],
)
def test_a_tradeoff_that_cannot_be_made_is_refused_before_training(given, message):
    roles = amint.deal(PIXELS, LABELS, **SIZES)
    with pytest.raises(SettingsError, match=message):
        amint.tradeoff(net(), **{**roles, **given})


def test_a_run_that_tests_no_membership_is_refused():
    plain = sorted((project_root() / "results" / "convnet" / "runs").glob("*-plain-*"))[0]
    with pytest.raises(ResultsError, match="plain tests no membership"):
        amint.compare({"mine": np.zeros(len(amint.judged_images(plain)))}, plain)


def test_scores_stand_beside_the_runs_on_the_same_images_paired(run):
    images = amint.judged_images(run)
    member, ours = images["member"].to_numpy(), images["score"].to_numpy(float)
    mine = np.random.default_rng(0).normal(member * 2.0)
    table = amint.compare({"mine": mine, "the same": ours}, run.folder)
    assert table.index.tolist() == ["active (the run)", "mine", "the same"]
    expected = paired.auc_difference(member, mine, ours)
    row = table.loc["mine"]
    assert [row["auc_above"], row["auc_above_low"], row["auc_above_high"]] == [
        expected[key] for key in ("value", "low", "high")
    ]
    assert row["auc"] == metrics.auc(mine[member], mine[~member])["value"]
    assert table.loc["the same", "auc_above"] == table.loc["the same", "tpr_above"] == 0
    own = run.scores[run.scores["judged"]]
    assert table.loc["active (the run)", "auc"] == pytest.approx(
        metrics.auc(*(own.loc[own["member"] == one, "score"] for one in (True, False)))["value"]
    )


def test_scores_by_the_images_numbers_are_put_in_order(run):
    images = amint.judged_images(run)
    mine = pd.Series(np.arange(len(images), dtype=float), index=images["index"])
    table = amint.compare({"mixed": mine.sample(frac=1, random_state=0), "given": mine}, run)
    assert table.loc["mixed"].equals(table.loc["given"])
    everything = pd.Series(np.arange(images["index"].max() + 1, dtype=float))  # of the dataset
    table = amint.compare({"all": everything, "backwards": everything[::-1], "given": mine}, run)
    expected = amint.compare({"given": images["index"].to_numpy(float)}, run).loc["given"]
    for name in ("all", "backwards"):
        assert table.loc[name].equals(expected.rename(name))


def test_scores_stand_beside_a_run_of_table_1_judged_strictly():
    runs = project_root() / "results" / "table1" / "runs"
    (file,) = runs.glob("gtsrb-vit-middle-attached-strict-s0-*")
    strict = read_json(file / "metrics.json")["mint"]
    images = amint.judged_images(file)
    table = amint.compare({"mine": images["member"].astype(float)}, file)
    (ours,) = (name for name in table.index if name.endswith("(the run)"))
    own = table.loc[ours]
    assert ours == "attached (the run)"
    assert own["auc"] == pytest.approx(strict["auc"]["value"])
    assert own["auc_low"] == pytest.approx(strict["auc"]["low"])  # by track
    assert own["tpr_at_1pct_fpr"] == pytest.approx(strict["tpr_at_fpr"]["0.01"]["value"])
    assert table.loc["mine", "auc"] == 1.0


def test_where_there_is_no_run_it_is_said(tmp_path):
    with pytest.raises(ResultsError, match="There is no run in"):
        amint.judged_images(tmp_path / "nothing")


@pytest.mark.parametrize("odd", [lambda n: np.zeros(n - 1), lambda n: np.full(n, np.nan)])
def test_scores_that_are_not_of_these_images_are_refused(run, odd):
    with pytest.raises(ProtocolError, match=r"Scores 'mine'.*judged_images\(run\)"):
        amint.compare({"mine": odd(len(amint.judged_images(run)))}, run)


def test_scores_are_numbers_by_name(run):
    images = amint.judged_images(run)
    with pytest.raises(ProtocolError, match="Give scores by name"):
        amint.compare(np.zeros(len(images)), run)
    with pytest.raises(ProtocolError, match="'mine' are no numbers"):
        amint.compare({"mine": ["high"] * len(images)}, run)
    with pytest.raises(ProtocolError, match=r"'mine' are no numbers .*complex"):
        amint.compare({"mine": np.full(len(images), 1j)}, run)
    with pytest.raises(ProtocolError, match="run's own row"):
        amint.compare({f"{images['method'][0]} (the run)": np.zeros(len(images))}, run)
    learnt = torch.arange(len(images), dtype=torch.float32, requires_grad=True)
    assert "learnt" in amint.compare({"learnt": learnt}, run).index

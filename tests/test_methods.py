"""One contract for every registered method: a run of it ends with finite scores and metrics."""

import numpy as np
import pandas as pd
import pytest
from small_run import SMALL

from amint_core.methods import METHODS
from amint_core.run.folder import Run, run_folder
from amint_core.run.steps import case_of, run_all, train
from amint_core.settings import create


@pytest.fixture
def trained_once(shared_cache, monkeypatch):
    """One cache for all methods: they share the models that they test."""
    monkeypatch.setenv("AMINT_CACHE", str(shared_cache))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("trained_once")
def test_a_run_of_every_method_gives_scores_and_metrics_in_every_precision(method, precision):
    shadows = max(2, METHODS[method].shadows)
    settings = create(**SMALL, method=method, precision=precision, shadows=shadows)
    metrics = run_all(settings)
    scores = pd.read_parquet(run_folder(settings) / "scores.parquet")
    judged = scores[scores["judged"]]
    auc = metrics["mint"]["auc"]["value"]
    if METHODS[method].untested:
        assert auc is None
        assert metrics["mint"]["auc"]["reason"] == METHODS[method].untested
        assert METHODS[method].untested.startswith(f"the {method} ")
        assert judged["score"].isna().all()
    else:
        assert 0 <= auc <= 1
        assert np.isfinite(judged["score"]).all()


@pytest.mark.parametrize(
    "method", [name for name, one in METHODS.items() if one.transformed is not None]
)
@pytest.mark.usefixtures("trained_once")
def test_methods_that_look_at_transformed_images_score_those(method):
    shadows = max(2, METHODS[method].shadows)
    settings = create(**SMALL, method=method, shadows=shadows, transformations=("shift",))
    run_all(settings)
    scores = pd.read_parquet(run_folder(settings) / "transformed.parquet")
    # A list may be asked for the mirror image as well, to which flipping changes nothing.
    exact, shifted = (scores[scores["transformation"] == name] for name in ("exact", "shift"))
    assert exact["image"].tolist() == shifted["image"].tolist()
    assert exact["judged"].all()
    assert np.isfinite(shifted["score"]).all()
    assert (exact["score"].to_numpy() != shifted["score"].to_numpy()).any()


@pytest.mark.usefixtures("trained_once")
def test_only_judged_images_are_transformed_and_all_methods_see_the_same():
    case = case_of(Run(create(**SMALL)))
    judged = case.images["judged"].to_numpy()
    rows = np.arange(len(judged))
    among = case.after("noise", judged_only=False)
    alone = case.after("noise", judged_only=True)
    exact, noisy = case.pixels(rows), among.pixels(rows)
    assert np.array_equal(exact[~judged], noisy[~judged])
    assert (exact[judged] != noisy[judged]).any((1, 2, 3)).all()
    assert np.array_equal(noisy[judged], alone.pixels(np.arange(judged.sum())))
    assert np.array_equal(among.pixels(rows[::-7]), noisy[::-7])  # in any order


@pytest.mark.usefixtures("trained_once")
def test_shadow_models_are_asked_about_the_transformed_images():
    run = Run(create(**SMALL, method="rmia_online", shadows=2))
    train(run)
    case = case_of(run)
    judged = case.images["judged"].to_numpy()
    exact, flipped = case.shadows.logits, case.after("flip", judged_only=False).shadows.logits
    assert np.allclose(exact[:, ~judged], flipped[:, ~judged], atol=1e-4)
    assert not np.allclose(exact[:, judged], flipped[:, judged], atol=1e-2)


#: 1,000 images beside the external ones.
THOUSAND = {**SMALL, "members": 100, "external": 150, "calibration": 100, "holdout": 800}


@pytest.mark.parametrize(
    "changes",
    [
        {"views": "flips"},
        {"head_epochs": 1, "head_rate": 0.0},
        {"method": "yeom"},
        {"method": "watson", "shadows": 2},
    ],
    ids=["active", "in_two_stages", "yeom", "watson"],
)
def test_scores_of_a_model_trained_in_bf16_are_not_rounded_to_it(changes):
    settings = create(**THOUSAND, precision="bf16", transformations=("noise",), **changes)
    run_all(settings)
    scores = pd.read_parquet(run_folder(settings) / "scores.parquet")
    found = scores.loc[~scores["role"].isin(["external", "test"]), "score"]
    assert len(found) == 1000
    assert found.nunique() > 900
    transformed = pd.read_parquet(run_folder(settings) / "transformed.parquet")
    noisy = transformed.loc[transformed["transformation"] == "noise", "score"]
    assert noisy.nunique() > 0.9 * len(noisy)

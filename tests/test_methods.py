"""One contract for every registered method: a run of it ends with finite scores and metrics."""

import numpy as np
import pandas as pd
import pytest
from small_run import SMALL

from amint_core.config import RunConfig
from amint_core.experiment import run_all
from amint_core.methods import METHODS
from amint_core.runs import run_folder


@pytest.fixture
def trained_once(shared_cache, monkeypatch):
    """One cache for all methods: they share the models that they test."""
    monkeypatch.setenv("AMINT_CACHE", str(shared_cache))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("trained_once")
def test_a_run_of_every_method_gives_scores_and_metrics_in_every_precision(method, precision):
    shadows = max(2, METHODS[method].shadows)
    settings = RunConfig.create(**SMALL, method=method, precision=precision, shadows=shadows)
    metrics = run_all(settings)
    scores = pd.read_parquet(run_folder(settings) / "scores.parquet")
    judged = scores[scores["judged"]]
    auc = metrics["mint"]["auc"]["value"]
    if method == "plain":
        assert auc is None
        assert judged["score"].isna().all()
    else:
        assert 0 <= auc <= 1
        assert np.isfinite(judged["score"]).all()

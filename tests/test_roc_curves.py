"""ROC curves and their bands: against counting, and by simulation."""

import numpy as np
import pandas as pd
import pytest
from made_runs import made_scores
from scipy.stats import norm

from amint_core.evaluation import metrics
from amint_core.report import roc
from amint_core.report.figures import panels
from amint_core.report.read import judged


def drawn(seed, count, shift, frames=1):
    """Make judged scores, normal on both sides; frames of a track share most of theirs."""
    random = np.random.default_rng(seed)
    member = np.repeat([True, False], count)
    group = np.arange(2 * count) // frames
    common = random.normal(size=group[-1] + 1)[group]
    share = 0.8 if frames > 1 else 0.0
    own = random.normal(size=2 * count)
    score = share**0.5 * common + (1 - share) ** 0.5 * own + shift * member
    table = pd.DataFrame({"member": member, "score": score})
    return table.assign(group=group) if frames > 1 else table


@pytest.mark.parametrize(("shift", "frames"), [(1.5, 1), (3.0, 1), (1.5, 15)])
def test_bands_cover_the_truth_wherever_they_are_drawn(monkeypatch, shift, frames):
    monkeypatch.setattr(panels, "_POINTS", 12)  # to save time: from 1 in 600 to all
    covered = []
    for seed in range(400):
        rates, _, low, high = panels.band([drawn(seed, 600, shift, frames)])
        truth = norm.sf(norm.isf(rates) - shift)
        covered.append((low <= truth) & (truth <= high))
    found = np.mean(covered, axis=0)
    assert min(found) >= 0.93


def test_a_band_is_the_metrics_interval_at_each_rate():
    table = judged(made_scores(n=120))
    inside, outside = table.loc[table["member"], "score"], table.loc[~table["member"], "score"]
    rates, value, low, high = panels.band([table])
    assert (rates[0], rates[-1]) == (1 / 120, 1)  # none below one non-member
    for place, rate in enumerate(rates[:-1]):
        cut = np.sort(outside)[::-1][int(rate * 120 + 1e-9)]
        assert value[place] == pytest.approx((inside > cut).mean())
        found = metrics.tpr_at_fpr(inside.to_numpy(), outside.to_numpy(), rate)
        assert (low[place], high[place]) == (found["low"], found["high"])
    assert value[-1] == low[-1] == high[-1] == 1


def test_several_seeds_are_averaged_from_the_rate_that_all_resolve():
    one, two = judged(made_scores(0, n=100)), judged(made_scores(1, n=200))
    rates, *parts = panels.band([one, two])
    assert rates[0] == 1 / 100
    at_lowest = [panels.tpr_at(table, 1 / 100) for table in (one, two)]
    for part, name in zip(parts, ("value", "low", "high"), strict=True):
        assert part[0] == pytest.approx(np.mean([found[name] for found in at_lowest]))


def test_one_non_member_has_no_curve():
    table = judged(made_scores(n=50))
    alone = pd.concat([table[table["member"]], table[~table["member"]].iloc[:1]])
    assert [len(part) for part in panels.band([alone])] == [1, 1, 1, 1]


@pytest.mark.parametrize("frames", [1, 15])
def test_a_runs_figure_draws_the_band(frames):
    table = made_scores(n=300)
    table = table.assign(group=np.arange(len(table)) // frames) if frames > 1 else table
    figure = roc(table, "CIFAR-10 [STAND-IN]")
    (shade,) = figure.axes[1].collections
    rates, _, low, high = panels.band([judged(table)])
    corners = shade.get_paths()[0].vertices
    place = np.argmin(abs(rates - 0.05))
    drawn = corners[np.isclose(corners[:, 0], rates[place])][:, 1]
    assert np.isclose(drawn, low[place]).any()
    assert np.isclose(drawn, high[place]).any()

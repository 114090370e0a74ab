"""Figures of the methods beside each other, and of which images and classes are easy."""

import numpy as np
import pytest
from made_runs import SHIFTS, put_methods
from read_back import profile, table, texts

from amint_core.locations import results_root
from amint_core.methods import METHODS
from amint_core.report import style
from amint_core.report.figures import (
    agreement,
    class_difficulty,
    image_difficulty,
    methods,
    roc_by_method,
)
from amint_core.report.names import GROUPS, method_group, method_order
from amint_core.report.tables import differences


@pytest.fixture
def results():
    return results_root()


def test_figures_show_every_method_and_say_what_is_substituted(results):
    put_methods(results, n=120)
    for figure in (
        methods.draw(profile()),
        roc_by_method.draw(profile()),
        agreement.draw(profile()),
        class_difficulty.draw(profile()),
    ):
        text = texts(figure)
        for name in (*SHIFTS, "yeom"):
            assert METHODS[name].title in text
        assert "Yeom (loss threshold) on the active model" in text
        assert "not to be compared" in text.replace("\n", " ")
    assert "no test" in texts(methods.draw(profile()))


def test_dots_stand_at_the_tables_values(results):
    put_methods(results, n=120)
    rows = table()
    figure = methods.draw(profile())
    dots = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(dots, rows["auc"])


def test_kappas_are_those_of_the_verdicts(results):
    put_methods(results, seeds=(0, 1), n=120)
    rows, scores = table(), profile().scores
    grid = agreement.kappas(rows, scores)
    constant = grid.columns[grid.isna().all()]
    assert set(np.diag(grid.drop(index=constant, columns=constant))) == {1}
    np.testing.assert_allclose(grid, grid.T)
    found = table(differences)
    mean = found.query("method == 'memorizer'")["kappa"].mean()
    assert grid.loc["aMINT (active)", "Memorizer"] == pytest.approx(mean)


def test_shares_by_class_are_counted_on_members(results):
    put_methods(results, n=120)
    rows, scores = table(), profile().scores
    grid = class_difficulty.found_by_class(rows, scores)
    own = scores[rows.query("method == 'active'")["runs"].iloc[0]]
    members = own[own["member"] & (own["label"] == 3)]
    assert grid.loc["aMINT (active)", 3] == pytest.approx(members["flagged"].mean())
    assert grid.iloc[0].is_monotonic_increasing


def test_votes_count_methods_but_no_controls(results):
    put_methods(results, seeds=(0, 1), n=120)
    scores = profile().scores
    ((_, rows),) = image_difficulty.comparable(profile()).items()
    counted = image_difficulty.votes(rows, scores)
    assert set(rows["group"]) == {"aMINT", "passive", "attack"}
    assert (counted["methods"] == 6).all()
    assert counted["votes"].between(0, 6).all()
    by_hand = sum(
        scores[one["runs"].split("; ")[0]].set_index("image")["flagged"].astype(int)
        for _, one in rows.iterrows()
        if one["method"] != "plain"
    )
    assert (by_hand.loc[counted.index] == counted["votes"]).all()
    assert "non-members" in texts(image_difficulty.draw(profile()))


def test_every_method_has_a_place_and_a_colour():
    assert {METHODS[name].group for name in METHODS} <= set(GROUPS)
    names = [(name, target) for name in METHODS for target in ("plain", "active")]
    looks = style.method_looks(names)
    of_attacks = {pair: look for pair, look in looks.items() if method_group(pair[0]) == "attack"}
    assert len(set(of_attacks.values())) == len(of_attacks)
    assert sorted(METHODS, key=method_order)[0] == "active"

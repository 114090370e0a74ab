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
from amint_core.report.names import FAMILIES, GROUPS, method_group, method_order
from amint_core.report.tables import differences


@pytest.fixture
def results():
    return results_root()


def test_figures_show_every_method_and_say_what_is_substituted(results):
    put_methods(results, n=120)
    for figure in (methods, roc_by_method, class_difficulty, agreement):
        text = texts(figure.draw(profile()))
        shown = {"memorizer", "yeom"} if figure is agreement else {*SHIFTS, "yeom"}
        for name in shown:
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


def test_methods_that_agree_with_none_have_no_row(results):
    put_methods(results, seeds=(0, 1), n=120)
    grid = agreement.kappas(table(), profile().scores)
    lone = [name for name in grid if grid[name].drop(name).isna().all()]
    assert lone
    rest = agreement.told(grid)
    assert [*rest] == [*rest.index] == [name for name in grid if name not in lone]
    assert f"Not drawn: {len(lone)} that" in texts(agreement.draw(profile()))


def test_a_cell_of_many_methods_has_a_panel_per_family(results, monkeypatch):
    put_methods(results, n=120)
    (axes,) = roc_by_method.draw(profile()).axes
    curves = {line.get_label() for line in axes.lines if line.get_label()[0] != "_"}
    monkeypatch.setattr(roc_by_method, "MOST_CURVES", 3)
    panels = [axes for axes in roc_by_method.draw(profile()).axes if axes.axison]
    titles = [axes.get_title(loc="left").split("\n")[-1] for axes in panels]
    assert titles == list(FAMILIES.values())
    apart = [line.get_label() for axes in panels for line in axes.lines]
    assert curves <= set(apart)
    assert apart.count("Yeom (loss threshold) on the active model") == 1
    (on_active,) = [axes for axes in panels if FAMILIES["on active"] in axes.get_title(loc="left")]
    (name,) = [text.get_text() for text in on_active.get_legend().get_texts()]
    assert name == "Yeom (loss threshold) on the active model"


def test_no_two_curves_of_a_panel_look_alike():
    looks = [tuple(style.curve_look(number).values()) for number in range(21)]
    assert len(set(looks)) == 21


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

"""Figures of a profile, read back through their artists."""

import numpy as np
import pytest
from made_runs import EIGHT, made_metrics, made_scores, put, put_many
from matplotlib import pyplot as plt
from read_back import profile, table, texts

from amint_core import report
from amint_core.locations import results_root
from amint_core.report import paper
from amint_core.report.figures import FIGURES, beside_paper, panels, roc_by_dataset, setup_effect
from amint_core.report.style import RC
from amint_core.report.tables import table1


@pytest.fixture
def results():
    return results_root()


def test_results_stand_beside_the_papers(results):
    put_many(results, EIGHT)
    rows = table(table1)
    figure = beside_paper.draw(profile())
    assert len(figure.axes) == 2 * 5
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    # MNIST: MobileNet and ViT, both middle.
    assert [float(x) for mark in marks for x in mark.get_xdata()] == [0.88, 0.81]
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    ours = rows.query("dataset == 'mnist'")["mint_accuracy"].dropna()
    assert [float(dot.get_xdata()[0]) for dot in dots] == list(ours)


@pytest.mark.parametrize("draw", ["results_beside_paper", "setup_effect"])
def test_every_panel_of_a_standin_says_so(results, draw):
    put_many(results, EIGHT)
    figure = FIGURES[draw].draw(profile())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 10
    assert all("[STAND-IN]" in title for title in titles)
    assert "not to be compared with the paper's values" in texts(figure)


def test_taps_of_ones_own_are_drawn_as_no_setup(results):
    put(results, made_metrics(taps=["blocks.0", "blocks.3"]))
    assert "no active run" in texts(setup_effect.draw(profile()))
    put(results, made_metrics())
    assert "blocks.0 + blocks.3, 95 % interval" in texts(beside_paper.draw(profile()))
    assert len(setup_effect.draw(profile()).axes[0].containers) == 1


def test_setup_effect_draws_ours_and_the_papers_lines(results):
    put_many(results, EIGHT[2:5])
    rows = table(table1)
    figure = setup_effect.draw(profile())
    ours, printed = figure.axes[0].lines[:2]
    np.testing.assert_allclose(ours.get_ydata(orig=False), rows["mint_accuracy"].dropna())
    cells = [paper.TABLE1["cifar10", setup, "mobilenet"] for setup in paper.SETUPS]
    np.testing.assert_allclose(printed.get_ydata(), [cell.mint for cell in cells])


def test_variants_have_lines_of_their_own(results):
    put(results, made_metrics())
    put(results, made_metrics(epochs=40, weight_decay=0.0))
    for draw in (setup_effect.draw, beside_paper.draw):
        text = texts(draw(profile())).replace("\n", " ")
        assert "MobileNet epochs=20" in text
        assert "MobileNet epochs=40" in text


def test_roc_by_dataset_says_whose_scores_are_missing(results):
    put(results, made_metrics(), made_scores())
    put(results, made_metrics(setup="entry"))
    put(results, made_metrics(dataset="mnist"))
    text = texts(roc_by_dataset.draw(profile()))
    assert "2 of 3 runs are not drawn" in text
    assert text.count("no scores here") == 1
    assert "CIFAR-10 [STAND-IN]" in text


def test_many_runs_have_a_panel_per_setup(results):
    cells = [("cifar10", model, setup) for model in paper.MODELS for setup in paper.SETUPS]
    put_many(results, tuple(cells), data="real")
    figure = roc_by_dataset.draw(profile())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["CIFAR-10: entry", "CIFAR-10: middle", "CIFAR-10: output"]
    assert all(len(axes.lines) == 6 + 1 for axes in figure.axes)  # and chance


def test_without_any_scores_a_roc_drawn_before_stays(results):
    folder = put(results, made_metrics(), made_scores())
    drawn = report.write("quick")["roc.png"]
    before = drawn.read_bytes()
    (folder / "judged.parquet").unlink()
    assert report.write("quick")["roc.png"] == drawn
    assert drawn.read_bytes() == before


def test_no_two_curves_of_a_dataset_look_alike(results):
    for model in ("convnet", "tiny", "mobilenet"):
        for recipe in ("best", "fixed"):
            made = made_metrics(model=model, recipe=recipe)
            put(results, made, made_scores())
    (axes,) = roc_by_dataset.draw(profile()).axes[:1]
    looks = [(line.get_color(), line.get_linestyle()) for line in axes.lines]
    assert len(set(looks)) == len(looks) == 6 + 1  # and chance


@pytest.mark.parametrize("draw", [setup_effect.draw, beside_paper.draw])
def test_the_papers_key_stands_where_a_value_of_it_is_drawn(results, draw):
    put(results, made_metrics(model="convnet"))
    labels = [text.get_text() for text in draw(profile()).legends[0].get_texts()]
    assert "paper" not in labels
    put(results, made_metrics())
    labels = [text.get_text() for text in draw(profile()).legends[0].get_texts()]
    assert "paper" in labels


def test_one_name_has_one_look_in_every_panel(results):
    put(results, made_metrics(recipe="best"))
    put(results, made_metrics(recipe="fixed"))
    put(results, made_metrics(dataset="gtsrb", recipe="fixed"))
    figure = setup_effect.draw(profile())
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["MobileNet recipe=best", "MobileNet recipe=fixed", "paper"]
    fills = [
        [bars.lines[0].get_fillstyle() for bars in axes.containers] for axes in figure.axes[:2]
    ]
    assert fills == [["full", "none"], ["none"]]  # GTSRB has the second alone


def test_a_long_title_is_wrapped_into_its_panel():
    names = ["CIFAR-10 · MobileNet · middle · best (external=7500, members=5000)", "short\nlines"]
    with plt.rc_context(RC):
        figure, (first, second) = panels.tiles("title", names, 3, 4.6, 4.2)
        figure.draw_without_rendering()
    assert " ".join(first.get_title("left").split()) == names[0]
    assert second.get_title("left") == names[1]
    assert first._left_title.get_window_extent().x1 < second.get_window_extent().x0
    plt.close(figure)


def test_a_later_curve_leaves_an_earlier_one_visible(results):
    put(results, made_metrics(), made_scores())
    put(results, made_metrics(setup="entry"), made_scores())
    (axes,) = roc_by_dataset.draw(profile()).axes
    below, above, _ = (line.get_linewidth() for line in axes.lines)
    assert below > above + 0.5

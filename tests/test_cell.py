"""One cell of Table 1 closely: which runs there are, its three judgements, its figure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from amint_core.errors import ResultsError, SettingsError
from amint_core.report import cell, sheets

FOLDER = Path(__file__).resolve().parent.parent / "results" / "table1"
CELL = cell.Cell("cifar10", "middle", "resnet50", "attached")


@pytest.fixture(scope="module")
def runs():
    return sheets.read(FOLDER)


@pytest.fixture(scope="module")
def one(runs):
    return cell.read(FOLDER, runs, CELL)


def test_a_notebooks_parameters_name_a_cell_and_a_mistyped_one_is_refused():
    given = {"profile": "table1", "dataset": "cifar10", "setup": "middle", "model": "resnet50"}
    given |= {"method": "attached", "seed": 0}
    assert cell.Cell.of(given | {"In": [], "_i": "x", "np": np}) == CELL
    with pytest.raises(SettingsError, match=r"'datset'. Did you mean 'dataset'\?"):
        cell.Cell.of(given | {"datset": "mnist"})
    with pytest.raises(SettingsError, match=r"method of the table 'yeom'. Valid: active, attached"):
        cell.Cell.of(given | {"method": "yeom"})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dataset": "mnits"}, r"dataset = 'mnits'\. There are: cifar10, gtsrb, mnist"),
        ({"setup": "outptu"}, r"setup = 'outptu' for cifar10\. There are: entry, middle, output"),
        ({"setup": "entry", "method": "active"}, "'active' for cifar10, entry, resnet50"),
        ({"seed": 7}, r"seed = 7 for .*\. There are: 0\."),
        ({"method": "joint"}, "tests no membership"),
    ],
)
def test_a_run_that_is_not_there_is_refused_with_those_that_are(runs, other, message):
    with pytest.raises(ResultsError, match=message):
        cell.read(FOLDER, runs, replace(CELL, **other))


def test_the_three_judgements_are_those_of_the_metrics(one):
    rows = cell.judgements(one)
    assert list(rows.index) == ["the paper's", "calibrated", "strict"]
    mint, paper = one.metrics["mint"], one.metrics["paper"]
    metrics = (paper["accuracy"], paper["accuracy_calibrated"], mint["accuracy_calibrated"])
    for told, metric in zip(rows["MINT accuracy"], metrics, strict=True):
        assert told.startswith(f"{metric['value']:.3f}".removeprefix("0"))


def test_the_figure_draws_what_is_judged(one):
    figure = cell.draw(one)
    scores, accuracy = figure.axes
    assert "10,000" in scores.get_legend().get_texts()[0].get_text()
    calibrated = one.metrics["mint"]["threshold_calibrated"]
    for axes in (scores, accuracy):
        upright = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2]
        assert {0.0, calibrated} <= set(upright)
    curves = {line.get_label(): line for line in accuracy.lines}
    against_test = curves["official test images"]
    at = np.interp(calibrated, *against_test.get_data())
    assert at == pytest.approx(one.metrics["paper"]["accuracy_calibrated"]["value"], abs=2e-3)
    assert curves["the paper's cell (.89)"].get_ydata()[0] == 0.89


def test_an_accuracy_counts_a_score_at_the_threshold_as_no_member():
    found = cell._at_every(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    np.testing.assert_array_equal(found, [0.75, 0.75])

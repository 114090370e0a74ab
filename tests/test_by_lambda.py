"""The curve of λ: its table, its figure, and when it is written."""

import numpy as np
import pandas as pd
import pytest
from made_runs import made_metrics, put
from read_back import profile, table, text_of, texts

from amint_core import report
from amint_core.locations import results_root
from amint_core.report.figures import FIGURES
from amint_core.report.tables import lambda_curves


@pytest.fixture
def results():
    """λ = 1 and 3 with two seeds, 0 with one; the model alone with both; runs that differ more."""
    root = results_root()
    for seed in (0, 1):
        put(root, made_metrics(mint=0.90, audited=0.40 + 0.02 * seed, seed=seed))
        put(root, made_metrics(mint=0.94, audited=0.36, seed=seed, lambda_mint=3.0))
        alone = {"method": "plain", "mint": None, "audited": 0.45}
        put(root, made_metrics(seed=seed, **alone))
    put(root, made_metrics(mint=0.55, audited=0.44, lambda_mint=0.0))
    put(root, made_metrics(mint=0.99, lambda_mint=10.0, epochs=40))  # differs in two
    put(root, made_metrics(mint=0.60, lambda_mint=10.0, method="passive"))
    return root


def curves():
    return table(lambda_curves)


def test_a_row_per_lambda_averaged_over_seeds(results):
    rows = curves()
    assert list(rows["lambda_mint"]) == [0.0, 1.0, 3.0]
    assert list(rows["seeds"]) == [1, 2, 2]
    assert list(rows["curve"]) == [1, 1, 1]
    one = rows.iloc[1]
    assert one["audited_accuracy"] == pytest.approx(0.41)
    assert one["auc"] == pytest.approx(0.94)
    assert one["audited_accuracy_low"] < 0.41 < one["audited_accuracy_high"]


def test_the_model_alone_is_matched_by_seed(results):
    rows = curves()
    assert rows["plain_audited_accuracy"].tolist() == pytest.approx([0.45] * 3)
    assert list(rows["plain_seeds"]) == [2, 2, 2]
    assert list(rows["matched_seeds"]) == [1, 2, 2]
    assert rows["audited_accuracy_difference"].tolist() == pytest.approx([-0.01, -0.04, -0.09])


def test_a_model_alone_of_another_training_is_not_taken(results):
    put(results, made_metrics(method="plain", mint=None, audited=0.90, epochs=40))
    put(results, made_metrics(method="plain", mint=None, audited=0.90, weight_decay=0.0))
    # What only the head depends on does not matter: this is the same training as seed 0's.
    put(results, made_metrics(method="plain", mint=None, audited=0.45, lambda_mint=5.0))
    rows = curves()
    assert rows["plain_audited_accuracy"].tolist() == pytest.approx([0.45] * 3)
    assert list(rows["plain_seeds"]) == [2, 2, 2]


def test_runs_repeated_to_measure_more_count_once(results):
    put(results, made_metrics(mint=0.90, audited=0.40, transformations=("flip",)))
    assert list(curves()["seeds"]) == [1, 2, 2]


def test_curves_of_one_name_are_told_apart(results):
    for weight in (1.0, 10.0):
        put(results, made_metrics(mint=0.9, epochs=40, lambda_mint=weight))
    rows = curves()
    assert list(rows["variant"].unique()) == ["epochs=20", "epochs=40"]
    assert rows[rows["variant"] == "epochs=40"]["plain_audited_accuracy"].isna().all()
    assert "The model alone was not run" in text_of(lambda_curves)


def test_the_text_shows_values_with_intervals_and_the_price(results):
    text = text_of(lambda_curves)
    (line,) = (line for line in text.splitlines() if line.startswith("|") and "(-.090)" in line)
    assert ".980 [" in line  # the AUC at λ = 3
    assert "The model trained alone: .450 [" in text
    assert "[STAND-IN]" in text


def test_the_figure_draws_every_positive_lambda_and_the_model_alone(results):
    figure = FIGURES["lambda"].draw(profile())
    left, right = figure.axes
    assert {axes.get_xscale() for axes in figure.axes} == {"log"}
    (accuracy,) = (line for line in right.lines if line.get_marker() == "o")
    np.testing.assert_allclose(accuracy.get_xdata(), [1.0, 3.0])
    np.testing.assert_allclose(accuracy.get_ydata(), [0.41, 0.36])
    (alone,) = (line for line in right.lines if line.get_linestyle() == "--")
    np.testing.assert_allclose(alone.get_ydata(), 0.45)
    assert len(left.lines) == 2
    assert "STAND-IN" in left.get_title("left")


def test_it_is_written_where_two_lambdas_were_run(results):
    files = report.write("quick")
    for suffix in ("csv", "md", "tex", "html", "png", "svg"):
        assert files[f"lambda.{suffix}"].is_file()
    assert len(pd.read_csv(files["lambda.csv"])) == 3
    assert "λ" not in files["lambda.tex"].read_text(encoding="utf-8")


def test_where_lambda_does_not_differ_it_is_said():
    put(results_root(), made_metrics())
    put(results_root(), made_metrics(epochs=40, lambda_mint=3.0))
    assert table(lambda_curves).empty
    assert "no two active runs differ in λ alone" in text_of(lambda_curves)
    assert "No two active runs" in texts(FIGURES["lambda"].draw(profile()))

"""Figures of one run: training, scores and ROC, read back through their artists."""

import io

import numpy as np
import pytest
from made_runs import made_history, made_scores
from PIL import Image
from read_back import texts
from sklearn.metrics import roc_auc_score

from amint_core import report
from amint_core.errors import ResultsError
from amint_core.report import run_title
from amint_core.report.style import TASKS

TITLE = run_title("CIFAR-10 [STAND-IN]", "mobilenet", "middle")


def test_a_training_of_one_task_draws_that_task():
    history = made_history(5).drop(columns=["mint_loss", "mint_accuracy"])
    figure = report.training_curves(history.assign(calibration_auc=np.nan), TITLE)
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
    history = made_history(5).drop(columns=["audited_loss", "audited_accuracy"])
    assert "MINT (binary)" in texts(report.training_curves(history, TITLE))


def test_a_training_with_a_loss_of_its_own_is_drawn_by_its_name():
    history = made_history(5)[["epoch", "mint_loss"]].rename(columns={"mint_loss": "pull_loss"})
    figure = report.training_curves(history, TITLE)
    assert len(figure.axes) == 1
    assert "pull" in texts(figure)


def test_each_head_of_an_ensemble_has_a_line_of_its_own_and_all_one_label():
    history = made_history(6).assign(calibration_auc=np.nan, head=[np.nan, np.nan, 1, 1, 2, 2])
    losses = report.training_curves(history, TITLE).axes[0]
    drawn = [
        line.get_xdata().tolist() for line in losses.lines if line.get_color() == TASKS["mint"]
    ]
    assert sorted(drawn) == [[1, 2], [3, 4], [5, 6]]
    labels = [text.get_text() for text in losses.get_legend().get_texts()]
    assert sorted(labels) == ["MINT (binary)", "audited (cross-entropy)"]


def test_a_history_without_losses_says_so():
    assert "no losses" in texts(report.training_curves(made_history(5)[["epoch"]], TITLE))


def test_an_attacks_scores_are_no_probabilities():
    text = texts(report.score_distributions(made_scores(method="yeom"), TITLE))
    assert "the method's own (0)" in text
    assert "probability" not in text


def test_a_threshold_that_the_method_does_not_have_is_not_drawn():
    text = texts(report.score_distributions(made_scores(method="lira_offline"), TITLE, 0.31))
    assert "own (0)" not in text
    assert "calibrated (0.31)" in text


def test_training_curves_show_both_tasks_and_the_best_epoch():
    history = made_history(20)
    figure = report.training_curves(history, TITLE)
    assert len(figure.axes) == 3
    losses = {line.get_label(): line.get_ydata(orig=False) for line in figure.axes[0].lines}
    np.testing.assert_allclose(losses["MINT (binary)"], history["mint_loss"])
    np.testing.assert_allclose(losses["audited (cross-entropy)"], history["audited_loss"])
    assert "highest: .879, epoch 20" in texts(figure)


def test_training_curves_without_calibration_have_no_third_panel():
    history = made_history(3).assign(calibration_auc=np.nan)
    figure = report.training_curves(history, TITLE)
    assert len(figure.axes) == 2
    assert TITLE in texts(figure)


def test_score_distributions_take_judged_images_only():
    scores = made_scores(n=300)
    figure = report.score_distributions(scores, TITLE, threshold_calibrated=0.31)
    text = texts(figure)
    for name in (
        "members (300)",
        "non-members (300)",
        "probability .5",
        "calibrated (0.31)",
        TITLE,
    ):
        assert name in text


def test_scores_of_one_side_are_refused():
    members = made_scores().query("member")
    for draw in (report.roc, report.score_distributions):
        with pytest.raises(ResultsError, match="0 judged non-members"):
            draw(members, TITLE)


def test_roc_gives_auc_and_tpr_of_judged_images():
    scores = made_scores(n=500)
    text = texts(report.roc(scores, TITLE))
    own = scores[scores["judged"]]
    area = roc_auc_score(own["member"], own["score"])
    assert f"aMINT (active): AUC {f'{area:.3f}'[1:]}" in text
    threshold = np.sort(own.loc[~own["member"], "score"])[-6]  # 5 of 500 lie above: 1 %
    at_one = (own.loc[own["member"], "score"] > threshold).mean()
    assert f"TPR {f'{at_one:.3f}'[1:]} at 1 % FPR" in text


def test_a_rate_of_zero_does_not_stretch_the_picture():
    scores = made_scores(n=500)
    scores.loc[scores["member"], "score"] = scores["score"].min() - 1.0
    figure = report.roc(scores, TITLE)
    assert "TPR .000 at 1 % FPR" in texts(figure)
    figure.savefig(saved := io.BytesIO(), bbox_inches="tight", dpi=10)  # as notebooks show it
    width, height = Image.open(saved).size
    assert height < width


def test_roc_claims_no_rate_finer_than_its_images():
    assert "at 1 % FPR" not in texts(report.roc(made_scores(n=50), TITLE))

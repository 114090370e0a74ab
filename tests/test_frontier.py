"""The frontier: which recipe recognises exact members, and which transformed ones."""

import numpy as np
import pytest
from made_runs import made_metrics, measure, put
from read_back import profile, texts

from amint_core.locations import results_root
from amint_core.report.figures import frontier


def run(calibrated, seed=0, recipe="fixed", **aucs):
    metrics = made_metrics(transformations=tuple(aucs), seed=seed, recipe=recipe)
    metrics["transformations"] = {
        name: {
            "auc": measure(auc),
            "accuracy_calibrated": measure(calibrated if name == "exact" else 0.5),
            "tpr_at_fpr": {"0.01": measure(0.2)},
        }
        for name, auc in {"exact": 0.99, **aucs}.items()
    }
    put(results_root(), metrics)


@pytest.fixture
def points():
    run(0.90, flip=0.55, jpeg=0.80, blur=0.70)
    run(0.94, seed=1, flip=0.57, jpeg=0.84, blur=0.72)
    run(0.97, recipe="robust", flip=0.90)
    put(results_root(), made_metrics(recipe="best"))  # measured none
    return frontier.points(profile())


def test_a_point_is_exact_accuracy_against_transformed_auc(points):
    found = points.set_index(["entry", "transformation"])[["exact", "auc"]]
    assert sorted(found.index) == [("fixed", "flip"), ("fixed", "jpeg"), ("robust", "flip")]
    assert found.loc[("fixed", "flip")].tolist() == pytest.approx([0.92, 0.56])
    assert found.loc[("fixed", "jpeg")].tolist() == pytest.approx([0.92, 0.82])
    assert found.loc[("robust", "flip")].tolist() == pytest.approx([0.97, 0.90])


def test_dots_stand_at_the_points(points):
    figure = frontier.draw(profile())
    assert [axes.get_ylabel() for axes in figure.axes] == ["AUC after flip", "AUC after jpeg"]
    dots = [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in figure.axes[0].lines
        if line.get_marker() not in ("None", None, "")
    ]
    np.testing.assert_allclose(sorted(dots), [(0.92, 0.56), (0.97, 0.90)])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["fixed", "robust"]
    assert "STAND-IN" in figure.axes[0].get_title("left")


def test_where_no_such_transformation_was_measured_it_is_said():
    run(0.9, blur=0.7)
    assert "No run" in texts(frontier.draw(profile()))


def test_without_a_calibrated_threshold_there_is_no_point():
    run(None, flip=0.9)
    assert frontier.points(profile()).empty

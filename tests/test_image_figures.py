"""Figures of images: roles, and members most and least recognised."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_case import made_case, structured_images
from made_runs import made_scores
from read_back import texts

from amint_core import report
from amint_core.report import run_title

TITLE = run_title("CIFAR-10 [STAND-IN]", "mobilenet", "middle")


@pytest.fixture
def small_dataset():
    rng = np.random.default_rng(0)

    return SimpleNamespace(
        title="MNIST [STAND-IN]",
        source="standin",
        spec=SimpleNamespace(name="mnist"),
        pixels=rng.integers(0, 256, (49, 8, 8, 1), dtype=np.uint8),
        labels=np.arange(49) % 3,
        class_names=("zero", "one", "a very long class name"),
    )


@pytest.fixture
def small_split():
    roles = {
        "members": np.arange(0, 20),
        "external": np.arange(20, 40),
        "calibration": np.arange(0),
        "test": np.arange(40, 43),
    }
    return SimpleNamespace(roles=roles)


def test_images_by_role_show_each_role_that_has_images(small_dataset, small_split):
    figure = report.images_by_role(small_dataset, small_split, columns=5)
    text = texts(figure)
    for name in ("members\n20", "external\n20", "test\n3", "MNIST [STAND-IN]", "a very long c…"):
        assert name in text
    assert "calibration" not in text
    drawn = [image.get_array() for axes in figure.axes for image in axes.images]
    assert len(drawn) == 5 + 5 + 3
    np.testing.assert_array_equal(drawn[5], small_dataset.pixels[20, :, :, 0])
    np.testing.assert_array_equal(drawn[-1], small_dataset.pixels[42, :, :, 0])


def most_recognised_scores():
    scores = made_scores(n=10).iloc[:20].assign(judged=True, index=np.arange(20))
    others = made_scores(n=10).iloc[30:]
    return pd.concat([scores.assign(score=np.arange(20.0), label=1), others])


def test_most_and_least_recognised_are_the_highest_and_lowest_members(small_dataset, small_split):
    scores = most_recognised_scores()
    figure = report.most_and_least_recognised(scores, small_dataset, small_split, columns=3)
    drawn = [image.get_array() for axes in figure.axes for image in axes.images]
    wanted = [19, 18, 17, 0, 1, 2]
    for image, index in zip(drawn, wanted, strict=True):
        np.testing.assert_array_equal(image, small_dataset.pixels[index, :, :, 0])
    assert "one\n19.0" in texts(figure)


def test_faces_are_never_shown(small_dataset, small_split):
    small_dataset.source, small_dataset.spec.name = "real", "casia_webface"
    for figure in (
        report.images_by_role(small_dataset, small_split, columns=3),
        report.most_and_least_recognised(most_recognised_scores(), small_dataset, small_split),
    ):
        drawn = [image.get_array() for axes in figure.axes for image in axes.images]
        assert drawn
        assert all((image == 224).all() for image in drawn)
        assert "faces are not shown" in texts(figure)


def test_standin_of_a_face_dataset_is_shown(small_dataset, small_split):
    small_dataset.spec.name = "casia_webface"
    figure = report.images_by_role(small_dataset, small_split, columns=3)
    np.testing.assert_array_equal(
        figure.axes[0].images[0].get_array(), small_dataset.pixels[0, :, :, 0]
    )


def test_the_plain_models_figures_say_that_it_tests_nothing(small_dataset, small_split):
    scores = made_scores(method="plain").assign(score=np.nan)
    for draw in (report.roc, report.score_distributions):
        assert "no membership test" in texts(draw(scores, TITLE))
    figure = report.most_and_least_recognised(scores, small_dataset, small_split)
    assert "tests nothing" in texts(figure)


def transformed_case():
    """A case of ten members and ten others, and scores that each transformation lowers."""
    case = made_case({"members": 10, "holdout": 10}, structured_images(20, seed=1))
    case.dataset.title, case.dataset.source = "CIFAR-10 [STAND-IN]", "standin"
    case.dataset.spec = SimpleNamespace(name="cifar10")
    scored = case.images.assign(score=np.arange(20.0))
    tables = [
        scored.assign(transformation=name, score=scored["score"] - drop)
        for name, drop in (("exact", 0), ("flip", 10), ("jpeg", 5))
    ]
    return case, pd.concat(tables, ignore_index=True)


def test_members_are_shown_as_they_are_and_transformed_with_their_scores():
    case, transformed = transformed_case()
    figure = report.members_transformed(transformed, case, members=2)
    text = texts(figure)
    for title in ("exact\n9.0", "flip\n-1.0", "jpeg\n4.0", "exact\n5.0", "flip\n-5.0"):
        assert title in text
    drawn = [image.get_array() for axes in figure.axes for image in axes.images]
    np.testing.assert_array_equal(drawn[0], case.dataset.pixels[9])
    np.testing.assert_array_equal(drawn[1], case.dataset.pixels[9, :, ::-1])


def test_a_run_without_transformations_says_so():
    case, _ = transformed_case()
    assert "measures no transformations" in texts(report.members_transformed(None, case))

"""Figures of one run and of a profile, read back through their artists."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_runs import EIGHT, made_history, made_metrics, made_scores, put, put_many
from matplotlib import pyplot as plt
from read_back import texts
from sklearn.metrics import roc_auc_score

from amint_core import report
from amint_core.exceptions import ModelError, ResultsError
from amint_core.locations import results_root
from amint_core.report import paper, profile_figures, style
from amint_core.report.collect import read_runs, scores_of
from amint_core.report.tables import table1

TITLE = style.run_title("CIFAR-10 [STAND-IN]", "mobilenet", "middle")
STAGES = [
    {"layer": "stem", "output": "8×32×32", "parameters": 100, "tap": False, "shared": True},
    {"layer": "norm", "output": "8×32×32", "parameters": 16, "tap": False, "shared": True},
    {"layer": "low", "output": "16×16×16", "parameters": 1000, "tap": True, "shared": True},
    {"layer": "high", "output": "16×16×16", "parameters": 1000, "tap": True, "shared": True},
    {"layer": "classifier", "output": "10", "parameters": 170, "tap": False, "shared": False},
]


@pytest.fixture
def results():
    return results_root()


@pytest.fixture
def small_dataset():
    rng = np.random.default_rng(0)

    def part(n):
        pixels = rng.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
        return SimpleNamespace(pixels=pixels, labels=np.arange(n) % 3)

    return SimpleNamespace(
        title="MNIST [STAND-IN]",
        source="standin",
        spec=SimpleNamespace(name="mnist"),
        pool=part(40),
        test=part(9),
        class_names=("zero", "one", "a very long class name"),
    )


@pytest.fixture
def small_split():
    roles = {
        "members": ("pool", np.arange(0, 20)),
        "external": ("pool", np.arange(20, 40)),
        "calibration": ("pool", np.arange(0)),
        "test": ("test", np.arange(3)),
    }
    return SimpleNamespace(
        roles={name: SimpleNamespace(part=p, indices=i) for name, (p, i) in roles.items()}
    )


def test_images_by_role_show_each_role_that_has_images(small_dataset, small_split):
    figure = report.images_by_role(small_dataset, small_split, columns=5)
    text = texts(figure)
    for name in ("members\n20", "external\n20", "test\n3", "MNIST [STAND-IN]", "a very long c…"):
        assert name in text
    assert "calibration" not in text
    drawn = [image.get_array() for axes in figure.axes for image in axes.images]
    assert len(drawn) == 5 + 5 + 3
    np.testing.assert_array_equal(drawn[5], small_dataset.pool.pixels[20, :, :, 0])
    np.testing.assert_array_equal(drawn[-1], small_dataset.test.pixels[2, :, :, 0])


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
        np.testing.assert_array_equal(image, small_dataset.pool.pixels[index, :, :, 0])
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
        figure.axes[0].images[0].get_array(), small_dataset.pool.pixels[0, :, :, 0]
    )


def test_the_plain_models_figures_say_that_it_tests_nothing(small_dataset, small_split):
    scores = made_scores(method="plain").assign(score=np.nan)
    for draw in (report.roc, report.score_distributions):
        assert "no membership test" in texts(draw(scores, TITLE))
    figure = report.most_and_least_recognised(scores, small_dataset, small_split)
    assert "tests nothing" in texts(figure)


def test_a_training_of_one_task_draws_that_task(small_dataset):
    history = made_history(5).drop(columns=["mint_loss", "mint_accuracy"])
    figure = report.training_curves(history.assign(calibration_auc=np.nan), TITLE)
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
    history = made_history(5).drop(columns=["audited_loss", "audited_accuracy"])
    assert "MINT (binary)" in texts(report.training_curves(history, TITLE))


def test_an_attacks_scores_are_no_probabilities():
    text = texts(report.score_distributions(made_scores(method="yeom"), TITLE))
    assert "the method's own (0)" in text
    assert "probability" not in text


@pytest.mark.parametrize("form", [list, pd.DataFrame])
def test_tap_diagram_names_stages_and_folds_those_of_one_shape(form):
    text = texts(report.tap_diagram(form(STAGES), TITLE))
    for name in ("stem\nto norm", "low", "high", "classifier", "16×16×16", "MINT head", TITLE):
        assert name in text
    assert text.count("tap\n") == 2


def test_tap_diagram_without_taps_is_refused():
    with pytest.raises(ModelError, match="no stage as a tap"):
        report.tap_diagram([stage | {"tap": False} for stage in STAGES], TITLE)


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


def test_roc_claims_no_rate_finer_than_its_images():
    assert "at 1 % FPR" not in texts(report.roc(made_scores(n=50), TITLE))


def test_figures_stay_out_of_pyplot():
    report.roc(made_scores(), TITLE)
    assert not plt.get_fignums()


def test_figures_leave_the_callers_style_alone():
    before = dict(plt.rcParams)
    report.training_curves(made_history(), TITLE)
    assert dict(plt.rcParams) == before


def test_results_stand_beside_the_papers(results):
    put_many(results, EIGHT)
    table = table1(read_runs("quick"))
    figure = profile_figures.results_beside_paper(table, "quick")
    assert len(figure.axes) == 2 * 5
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    # MNIST: MobileNet and ViT, both middle.
    assert [float(mark.get_xdata()[0]) for mark in marks] == [0.88, 0.81]
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    ours = table.query("dataset == 'mnist'")["mint_accuracy"].dropna()
    assert [float(dot.get_xdata()[0]) for dot in dots] == list(ours)


@pytest.mark.parametrize("draw", ["results_beside_paper", "setup_effect"])
def test_every_panel_of_a_standin_says_so(results, draw):
    put_many(results, EIGHT)
    figure = getattr(profile_figures, draw)(table1(read_runs("quick")), "quick")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 10
    assert all("[STAND-IN]" in title for title in titles)
    assert "not to be compared with the paper's values" in texts(figure)


def test_setup_effect_draws_ours_and_the_papers_lines(results):
    put_many(results, EIGHT[2:5])
    table = table1(read_runs("quick"))
    figure = profile_figures.setup_effect(table, "quick")
    ours, printed = figure.axes[0].lines[:2]
    np.testing.assert_allclose(ours.get_ydata(orig=False), table["mint_accuracy"].dropna())
    cells = [paper.cell("cifar10", setup, "mobilenet") for setup in paper.SETUPS]
    np.testing.assert_allclose(printed.get_ydata(), [cell.mint for cell in cells])


def test_variants_have_lines_of_their_own(results):
    put(results, made_metrics())
    put(results, made_metrics(epochs=40, weight_decay=0.0))
    table = table1(read_runs("quick"))
    for draw in (profile_figures.setup_effect, profile_figures.results_beside_paper):
        text = texts(draw(table, "quick")).replace("\n", " ")
        assert "MobileNet epochs=20" in text
        assert "MobileNet epochs=40" in text


def test_roc_by_dataset_says_whose_scores_are_missing(results):
    put(results, made_metrics(), made_scores())
    put(results, made_metrics(setup="entry"))
    put(results, made_metrics(dataset="mnist"))
    runs = read_runs("quick")
    scores = scores_of(runs)
    text = texts(profile_figures.roc_by_dataset(runs, scores, "quick"))
    assert "2 of 3 runs are not drawn" in text
    assert text.count("no scores.parquet here") == 1
    assert "CIFAR-10 [STAND-IN]" in text


def test_many_runs_have_a_panel_per_setup(results):
    cells = [("cifar10", model, setup) for model in paper.MODELS for setup in paper.SETUPS]
    put_many(results, tuple(cells), data="real")
    runs = read_runs("quick")
    figure = profile_figures.roc_by_dataset(runs, scores_of(runs), "quick")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["CIFAR-10: entry", "CIFAR-10: middle", "CIFAR-10: output"]
    assert all(len(axes.lines) == 6 + 1 for axes in figure.axes)  # and chance


def test_without_any_scores_a_roc_drawn_before_stays(results):
    folder = put(results, made_metrics(), made_scores())
    drawn = report.write("quick")["roc.png"]
    before = drawn.read_bytes()
    (folder / "scores.parquet").unlink()
    files = report.write("quick")
    assert "roc.png" not in files
    assert drawn.read_bytes() == before


def test_saved_figures_hold_no_date_and_120_dpi(tmp_path):
    figure = report.training_curves(made_history(), TITLE)
    png, svg = style.save(figure, tmp_path / "curves")
    assert "<dc:date>" not in svg.read_text(encoding="utf-8")
    height, width = plt.imread(png).shape[:2]
    assert (width, height) == (1440, 384)  # 12 × 3.2 inches


def test_each_role_and_setup_has_a_colour_of_its_own():
    for look in (style.ROLES, style.SETUPS, style.MODELS, style.MARKERS):
        assert len(set(look.values())) == len(look)
    assert set(style.SETUPS) == set(style.SETUP_LINES) == set(paper.SETUPS)

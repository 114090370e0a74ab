"""One look for all figures, and files that never differ."""

from made_runs import made_history, made_scores
from matplotlib import pyplot as plt

from amint_core import report
from amint_core.report import paper, run_title, style
from amint_core.report.names import TARGETS

TITLE = run_title("CIFAR-10 [STAND-IN]", "mobilenet", "middle")


def test_figures_stay_out_of_pyplot():
    report.roc(made_scores(), TITLE)
    assert not plt.get_fignums()


def test_figures_leave_the_callers_style_alone():
    before = dict(plt.rcParams)
    report.training_curves(made_history(), TITLE)
    assert dict(plt.rcParams) == before


def test_the_same_methods_have_the_same_colours_in_whichever_order_they_come():
    targets = ("undeclared", "plain", "misdeclared", "active", None)
    names = [(name, target) for name in ("yeom", "salem") for target in targets]
    drawn = list(style.method_looks(names))
    for name in ("yeom", "salem"):
        own = [target for method, target in drawn if method == name and target in TARGETS]
        assert own == sorted(own)


def test_saved_figures_hold_no_date_and_120_dpi(tmp_path):
    figure = report.training_curves(made_history(), TITLE)
    png, svg = style.save(figure, tmp_path / "curves")
    assert "<dc:date>" not in svg.read_text(encoding="utf-8")
    height, width = plt.imread(png).shape[:2]
    assert (width, height) == (1440, 384)  # 12 × 3.2 inches


def test_each_role_and_setup_has_a_colour_of_its_own():
    for look in (style.ROLES, style.SETUPS, style.MODELS, style.MARKERS):
        assert len(set(look.values())) == len(look)
    assert set(style.SETUPS) == set(paper.SETUPS)

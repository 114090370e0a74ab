"""The table of one run's metrics, beside the paper's values."""

import pytest
from made_runs import made_metrics, put_methods

from amint_core import report
from amint_core.locations import results_root
from amint_core.report.read import read_metrics, read_runs


@pytest.fixture
def results():
    return results_root()


def test_metrics_beside_the_paper():
    table = report.metrics_table(made_metrics(data="real"))
    assert table.columns.name == "CIFAR-10 · MobileNet · middle"
    accuracy = table.loc["MINT accuracy (probability .5)"]
    assert list(accuracy[["ours", "95 % interval", "paper"]]) == [".913", ".896 to .931", ".91"]
    assert table.loc["Audited accuracy", "paper"] == ".41"
    assert table.loc["MINT AUC", "paper"] == ""
    assert table.loc["TPR at 0.1 % FPR", "ours"] == "–"
    assert table.loc["TPR at 0.1 % FPR", "note"] == "too few non-members"


def test_metrics_of_other_methods(results):
    put_methods(results, n=100, data="real")
    tables = {
        run["method"]: report.metrics_table(read_metrics(run["path"] / "metrics.json"))
        for _, run in read_runs("quick").iterrows()
    }
    assert tables["lira_online"].columns.name.endswith("middle · LiRA (online)")
    assert (tables["lira_online"].drop("TPR at 0.1 % FPR")["ours"] != "–").all()
    plain = tables["plain"]
    assert (plain.loc[plain.index != "Audited accuracy", "ours"] == "–").all()
    assert plain.loc["MINT AUC", "note"] == "the plain model has no membership test"
    assert plain.loc["Audited accuracy", "ours"] == ".447"


def test_metrics_of_a_cell_that_the_paper_lacks():
    table = report.metrics_table(made_metrics(dataset="casia_webface", model="densenet121"))
    assert "[STAND-IN]" in table.columns.name
    assert (table["paper"] == "").all()


def test_runs_side_by_side_are_named_after_what_differs():
    memorizer = made_metrics(method="memorizer", mint=0.95)
    by_image = made_metrics(defects=("tracks_ignored",), mint=0.97)
    table = report.side_by_side(made_metrics(), memorizer, by_image)
    assert list(table.index) == [
        "aMINT (active)",
        "Memorizer",
        "aMINT (active), defects = tracks_ignored",
    ]
    assert list(table["MINT accuracy at .5"]) == [".913", ".950", ".970"]
    assert "[STAND-IN]" in table.columns.name


def test_a_run_without_a_test_has_dashes_beside_others():
    table = report.side_by_side(made_metrics(), made_metrics(method="plain", mint=None))
    assert table.loc["Audited model alone", "MINT accuracy at .5"] == "–"
    assert table.loc["Audited model alone", "audited accuracy"] == ".447"

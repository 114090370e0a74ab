"""The committed tables follow from the committed runs, and every table and figure is written."""

import io
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import pandas as pd
import pytest
from made_runs import put_methods
from read_back import profile, texts

from amint_core import report
from amint_core.locations import project_root, results_root
from amint_core.report import figures, render, tables
from amint_core.report.read import read
from amint_core.report.tables import TABLES, ablation

#: Those of a timed grid have a test of their own, test_table1_sheets.py.
COMMITTED = sorted(
    path
    for path in project_root().glob("results/*/tables/*.csv")
    if not (path.parents[1] / "splits").is_dir()
)
#: Columns that only the runs' scores tell, of tables that hold others, too.
OF_SCORES = {
    "ablation": [f"{name}_difference_{end}" for name in ablation.PAIRED for end in ("low", "high")]
}


@pytest.fixture(scope="module")
def committed():
    """Read each profile of the project once."""
    found = {}

    def of(name):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AMINT_RESULTS", str(project_root() / "results"))
            return found.setdefault(name, found.get(name) or read(name))

    return of


def of(path: Path) -> str:
    return f"{path.parent.parent.name}-{path.stem}"


def assert_equal(found: pd.DataFrame, kept: pd.DataFrame):
    found = pd.read_csv(io.StringIO(render.to_csv(found)))
    assert len(found) == len(kept)
    for name in kept:
        if pd.api.types.is_numeric_dtype(kept[name]):
            values = (table[name].to_numpy(float) for table in (found, kept))
            np.testing.assert_allclose(*values, rtol=1e-12, atol=1e-15, err_msg=name)
        else:
            assert list(found[name].fillna("")) == list(kept[name].fillna("")), name


@pytest.mark.parametrize("path", COMMITTED, ids=of)
def test_committed_tables_follow_from_the_committed_runs(committed, path):
    results = committed(path.parent.parent.name)
    table, kept = TABLES[path.stem], pd.read_csv(path)
    if table.name == "differences" and not results.scores:
        # Made where the scores were at hand: at least they are of these runs.
        assert set(kept["run"]) | set(kept["reference_run"]) <= set(results.runs["run"])
        return
    ends = OF_SCORES.get(table.name, [])
    assert_equal(results.once(table.rows), kept if results.scores else kept.drop(columns=ends))


def test_all_of_these_are_committed():
    assert len(COMMITTED) >= 18


@pytest.mark.parametrize(
    ("package", "constant", "listed"),
    [(tables, "TABLE", tables.TABLES), (figures, "FIGURE", figures.FIGURES)],
)
def test_every_file_with_a_table_or_figure_is_listed(package, constant, listed):
    modules = [
        import_module(f"{package.__name__}.{one.name}") for one in iter_modules(package.__path__)
    ]
    there = {vars(one)[constant].name for one in modules if constant in vars(one)}
    assert there == set(listed)


#: Words that a reader finds in each figure of made-up runs, whatever is not shown there.
SHOWN = {
    "results_beside_paper": "MINT accuracy",
    "setup_effect": "Audited accuracy",
    "roc": "true-positive rate",
    "methods": "TPR at 1 % FPR",
    "roc_by_method": "Yeom (loss threshold)",
    "agreement": "Passive MINT  ",
    "class_difficulty": "class (10)",
    "image_difficulty": "methods that call it a member",
    "transformations": "No run of this profile measured transformed images.",
    "frontier": "No run with a calibrated threshold",
    "lambda": "No two active runs of this profile differ in λ alone.",
}


def test_every_figure_has_a_row_here():
    assert set(SHOWN) == set(figures.FIGURES)


def test_every_figure_shows_its_runs_or_says_why_not():
    put_methods(results_root(), n=120)
    results = profile()
    for name, figure in figures.FIGURES.items():
        assert SHOWN[name] in texts(figure.draw(results)), name


HOSTILE = 'a|b <b>&%$_#{} \\x ^~ *c* `d` [e](f)\n"g"'


def test_names_from_results_are_escaped_in_every_form():
    part = render.Part(f"caption {HOSTILE}", pd.DataFrame({"Method": [HOSTILE], "AUC": [".5"]}))
    document = render.Document("t", "T", "quick", HOSTILE, [part])
    markdown = render.to_markdown(document)
    (line,) = (line for line in markdown.splitlines() if line.startswith("| a"))
    assert line.replace("\\|", "").count("|") == 3
    assert "<b>" not in markdown.replace("\\<", "")
    assert "](" not in markdown
    page = render.to_html(document)
    assert "<b>" not in page
    assert page.count("&lt;b&gt;&amp;%$") == 3
    source = render.to_latex(document)
    assert source.count(r"a\textbar{}b \textless{}b\textgreater{}") == 3
    assert source.count(r"\&\%\$\_\#\{\} \textbackslash{}x \textasciicircum{}") == 3
    table = pd.DataFrame({"name": [HOSTILE], "value": [0.1]})
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(render.to_csv(table))), table)


def test_a_dollar_in_a_name_is_no_formula():
    figure = report.figures.FIGURES["methods"].draw
    put_methods(results_root(), n=120)
    results = profile()
    results.runs["title"] = "$\\frac{$ [STAND-IN]"
    assert "$\\frac{$" in texts(figure(results))

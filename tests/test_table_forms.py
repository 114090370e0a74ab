"""Tables as a reader gets them: Markdown, HTML and LaTeX."""

import shutil
import subprocess

import pytest
from made_runs import EIGHT, made_metrics, put, put_many, put_methods
from read_back import profile

from amint_core import report
from amint_core.locations import results_root
from amint_core.report import paper, render
from amint_core.report.tables import table1


@pytest.fixture
def results():
    return results_root()


def printed():
    """Return Table 1 of the runs that are there, as a reader gets it."""
    return table1.document(profile())


def test_markdown_shows_values_with_intervals(results):
    put(results, made_metrics())
    text = render.to_markdown(printed())
    assert ".913 [.896, .931] |" in text
    assert "Cells run: 1 of the paper's 72, none of them on real data." in text
    assert ".86 / .53" in text  # CIFAR-10, entry, ResNet50: not run, the paper's values
    (row,) = (line for line in text.splitlines() if line.startswith("| CIFAR-10") and "·" in line)
    assert "middle" in row


def test_the_full_grid_leaves_no_second_table(results):
    cells = [(dataset, model, setup) for dataset, setup, model in paper.TABLE1]
    put_many(results, tuple(cells), scores=False, data="real")
    text = render.to_markdown(printed())
    assert "Cells run" not in text
    assert text.count("\n| MNIST ") == 18


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.913, ".913 [.902, .924]"), (1.0, "1.000 [.902, .924]"), (float("nan"), "")],
)
def test_measured(value, shown):
    assert render.measured(value, 0.902, 0.924) == shown


def test_html_is_self_contained(results):
    put(results, made_metrics())
    page = render.to_html(printed())
    assert page.startswith("<!doctype html>")
    assert "http" not in page
    assert "<script" not in page
    assert page.count("<table") == page.count("</table>") == 2


def test_latex_is_balanced_and_escaped(results):
    put(results, made_metrics())
    put(results, made_metrics(epochs=40, batch_size=32))
    put(results, made_metrics(epochs=40, lambda_mint=2.0))
    text = render.to_latex(printed())
    for rule in ("toprule", "midrule", "bottomrule"):
        assert "\\" + rule in text
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 2
    assert r"batch\_size=32" in text
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert not [line for line in body if "%" in line.replace(r"\%", "")]


@pytest.mark.usefixtures("tables_alone")
def test_latex_compiles(results, tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed; the table's LaTeX is only checked by its parts.")
    put_many(results, EIGHT, scores=False)
    put_methods(results, n=100)
    put(results, made_metrics(seed=1))
    put(results, made_metrics(epochs=40))
    files = [path for path in report.write("quick").values() if path.suffix == ".tex"]
    for path in files:
        shutil.copy(path, tmp_path)
    packages = r"\usepackage[utf8]{inputenc}\usepackage{booktabs,longtable}"
    inputs = "".join(rf"\input{{{path.stem}}}" for path in files)
    document = rf"\documentclass[landscape]{{article}}{packages}\begin{{document}}{inputs}"
    (tmp_path / "main.tex").write_text(document + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]

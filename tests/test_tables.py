"""Tables of a profile: from made-up runs to table1 and runs.csv."""

import json
import shutil
import subprocess

import nbformat
import numpy as np
import pandas as pd
import pytest
from made_runs import EIGHT, made_metrics, made_scores, put, put_many, put_methods

from amint_core import report
from amint_core.exceptions import ResultsError, SettingsError
from amint_core.files import write_json
from amint_core.locations import project_root, results_root
from amint_core.report import beside_paper, compact, paper
from amint_core.report.collect import read_metrics, read_runs, unfinished
from amint_core.report.tables import runs_table, table1, was_run

FIRST_COLUMNS = [
    *("dataset", "setup", "model", "mint_accuracy", "audited_accuracy"),
    *("paper_mint_accuracy", "paper_audited_accuracy"),
]


@pytest.fixture
def results():
    return results_root()


def printed():
    """Return Table 1 of the runs that are there, as a reader gets it."""
    return beside_paper.document(table1(read_runs("quick")), "quick")


def one_cell(**others):
    """Return the rows of table1 for CIFAR-10, middle, MobileNet."""
    table = table1(read_runs("quick"))
    cell = {"dataset": "cifar10", "setup": "middle", "model": "mobilenet", **others}
    return table[np.logical_and.reduce([table[name] == value for name, value in cell.items()])]


def test_a_row_per_cell_of_the_paper_and_per_other_run(results):
    put_many(results, EIGHT)
    put(results, made_metrics(model="tiny"))
    table = table1(read_runs("quick"))
    assert list(table.columns[:7]) == FIRST_COLUMNS
    assert len(table) == 72 + 2  # CASIA-WebFace and `tiny` are not in Table 1
    assert was_run(table).sum() == 9
    cells = set(map(tuple, table[["dataset", "setup", "model"]].values))
    assert set(paper.TABLE1) < cells


def test_cells_not_run_are_empty_but_for_the_papers_values(results):
    put(results, made_metrics())
    table = table1(read_runs("quick"))
    left = table[~was_run(table)]
    assert len(left) == 71
    held = left.notna().any()
    assert set(held.index[held]) == {
        *("dataset", "setup", "model", "paper_mint_accuracy", "paper_audited_accuracy")
    }


def test_values_are_exact_and_beside_the_right_cell(results):
    put(results, made_metrics(mint=0.9132000000000001, audited=0.4471))
    files = report.write("quick")
    table = pd.read_csv(files["table1.csv"])
    row = table[table["runs"].notna()].iloc[0]
    assert row["mint_accuracy"] == 0.9132000000000001
    assert row["audited_accuracy"] == 0.4471
    assert (row["paper_mint_accuracy"], row["paper_audited_accuracy"]) == (0.91, 0.41)
    assert row["members"] == 2000
    assert row["judged_non_members"] == 2000
    assert np.isnan(row["tpr_at_01pct_fpr"])  # the run has no value there
    text = files["table1.csv"].read_text()
    assert ",2000,3000,1000,2000," in text  # counts stay whole numbers


def test_seeds_are_averaged_with_their_spread(results):
    for seed, mint in enumerate((0.90, 0.92, 0.97)):
        put(results, made_metrics(mint=mint, seed=seed))
    (row,) = one_cell().to_dict("records")
    assert row["seeds"] == 3
    assert row["mint_accuracy"] == pytest.approx(0.93)
    assert row["mint_accuracy_sd"] == pytest.approx(np.std([0.90, 0.92, 0.97], ddof=1))
    assert row["runs"].count(";") == 2
    assert pd.isna(row["variant"])


def test_other_settings_stand_in_rows_of_their_own(results):
    put(results, made_metrics(mint=0.90))
    put(results, made_metrics(mint=0.95, epochs=40, weight_decay=0.0))
    rows = one_cell()
    variants = ["epochs=20, weight_decay=0.0001", "epochs=40, weight_decay=0.0"]
    assert list(rows["variant"]) == variants
    assert list(rows["mint_accuracy"]) == [0.90, 0.95]
    assert rows["runs"].is_unique


def test_recipes_are_told_apart_by_their_name_alone(results):
    put(results, made_metrics(mint=0.90))
    put(results, made_metrics(mint=0.95, recipe="published"))
    assert list(one_cell()["variant"]) == ["recipe=fixed", "recipe=published"]


def test_table1_leaves_other_methods_and_single_switches_to_other_tables(results):
    put(results, made_metrics(mint=0.90))
    put(results, made_metrics(mint=0.95, epochs=40))
    put(results, made_metrics(mint=0.60, method="passive"))
    put(results, made_metrics(mint=0.58, method="yeom"))
    (row,) = one_cell().to_dict("records")
    assert (row["mint_accuracy"], row["method"]) == (0.90, "active")


def test_a_profile_without_active_runs_has_an_empty_table1(results):
    put(results, made_metrics(method="yeom"))
    assert not was_run(table1(read_runs("quick"))).any()
    files = report.write("quick")
    assert "results_beside_paper.png" not in files
    assert "none of them on real data" in files["table1.md"].read_text()


def test_runs_of_before_a_measure_existed_are_read_as_without_it(results):
    older = made_metrics()
    del older["mint"]["precision_at_prior"]
    put(results, older)
    assert read_runs("quick")["precision_at_1pct_prior"].isna().all()
    assert "Precision where 1 % are members" not in report.metrics_table(older).index


def test_other_data_are_never_averaged(results):
    first, second = made_metrics(mint=0.90), made_metrics(mint=0.95, seed=1)
    second["data"]["fingerprint"] = "e" * 64
    put(results, first)
    put(results, second)
    assert len(one_cell()) == 2


def test_a_seed_without_a_value_leaves_the_mean_empty(results):
    put(results, made_metrics(mint=0.90))
    put(results, made_metrics(mint=None, seed=1))
    assert one_cell()["mint_accuracy"].isna().all()


def test_real_and_standin_are_never_mixed(results):
    put(results, made_metrics(mint=0.90))
    put(results, made_metrics(mint=0.95, data="real", seed=1))
    assert list(one_cell()["data"]) == ["real", "STAND-IN"]


def test_runs_of_before_a_setting_existed_have_its_default(results):
    put(results, made_metrics(mint=0.90))
    older = made_metrics(mint=0.92, seed=1)
    del older["run"]["settings"]["precision"], older["run"]["settings"]["taps"]
    put(results, older)
    (row,) = one_cell().to_dict("records")
    assert row["seeds"] == 2


def test_standin_is_marked_in_every_row_and_caption(results):
    put_many(results, EIGHT, scores=False)
    runs = read_runs("quick")
    for write in compact.FORMS.values():
        text = write(beside_paper.document(table1(runs), "quick"))
        assert text.count("[STAND-IN]") == len(EIGHT) + 1, write
    assert set(runs_table(runs)["data"]) == {"STAND-IN"}


def test_real_data_are_not_called_standin(results):
    put(results, made_metrics(data="real"))
    files = report.write("quick")
    for path in files.values():
        if path.suffix != ".png":
            assert "STAND-IN" not in path.read_text(encoding="utf-8"), path.name


def test_markdown_shows_values_with_intervals(results):
    put(results, made_metrics())
    text = compact.to_markdown(printed())
    assert ".913 [.896, .931] |" in text
    assert "Cells run: 1 of the paper's 72, none of them on real data." in text
    assert ".86 / .53" in text  # CIFAR-10, entry, ResNet50: not run, the paper's values
    (row,) = (line for line in text.splitlines() if line.startswith("| CIFAR-10") and "·" in line)
    assert "middle" in row


def test_the_full_grid_leaves_no_second_table(results):
    cells = [(dataset, model, setup) for dataset, setup, model in paper.TABLE1]
    put_many(results, tuple(cells), scores=False, data="real")
    text = compact.to_markdown(printed())
    assert "Cells run" not in text
    assert text.count("\n| MNIST ") == 18


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.913, ".913 [.902, .924]"), (1.0, "1.000 [.902, .924]"), (float("nan"), "")],
)
def test_measured(value, shown):
    assert compact.measured(value, 0.902, 0.924) == shown


def test_html_is_self_contained(results):
    put(results, made_metrics())
    page = compact.to_html(printed())
    assert page.startswith("<!doctype html>")
    assert "http" not in page
    assert "<script" not in page
    assert page.count("<table") == page.count("</table>") == 2


def test_latex_is_balanced_and_escaped(results):
    put(results, made_metrics())
    put(results, made_metrics(epochs=40, batch_size=32))
    put(results, made_metrics(epochs=40, lambda_mint=2.0))
    text = compact.to_latex(printed())
    for rule in ("toprule", "midrule", "bottomrule"):
        assert "\\" + rule in text
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") == 2
    assert r"batch\_size=32" in text
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert not [line for line in body if "%" in line.replace(r"\%", "")]


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


def test_runs_csv_has_a_row_per_run_with_all_metrics_and_settings(results):
    put_many(results, EIGHT[:2])
    runs = pd.read_csv(report.write("quick")["runs.csv"])
    assert len(runs) == 2
    assert {"auc", "auc_low", "tpr_at_1pct_fpr", "settings.lambda_mint"} <= set(runs)
    assert "path" not in runs  # no place of this machine


def test_files_are_the_same_each_time(results):
    put_many(results, EIGHT[2:4])
    before = {name: path.read_bytes() for name, path in report.write("quick").items()}
    after = {name: path.read_bytes() for name, path in report.write("quick").items()}
    assert before == after
    # Four tables in four forms (no differences: one method alone) and runs.csv; three figures in
    # two forms.
    assert len(before) == 4 * 4 + 1 + 3 * 2


def test_unfinished_runs_are_named_and_left_out(results):
    folder = put(results, made_metrics())
    (folder.parent / "cut-off").mkdir()
    assert unfinished("quick") == ["cut-off"]
    assert len(read_runs("quick")) == 1


def test_a_profile_without_results_names_those_there(results):
    put(results, made_metrics())
    with pytest.raises(ResultsError, match=r"'quikc' has no results.*there: quick.*make reproduce"):
        report.write("quikc")


def test_profile_without_runs_says_what_to_do(results):
    (results / "laptop").mkdir(parents=True)
    with pytest.raises(ResultsError, match="make reproduce PROFILE=laptop"):
        report.write("laptop")


def break_json(folder, metrics):
    (folder / "metrics.json").write_text("{not json")


def drop_auc(folder, metrics):
    del metrics["mint"]["auc"]
    write_json(folder / "metrics.json", metrics)


def text_for_a_number(folder, metrics):
    metrics["audited"]["accuracy"]["value"] = "high"
    write_json(folder / "metrics.json", metrics)


def not_a_number(folder, metrics):
    metrics["mint"]["accuracy"]["value"] = float("nan")
    (folder / "metrics.json").write_text(json.dumps(metrics))


def other_run(folder, metrics):
    folder.rename(folder.with_name("renamed"))


def hide_standin(folder, metrics):
    metrics["data"]["title"] = "CIFAR-10"
    write_json(folder / "metrics.json", metrics)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_json, "not valid JSON"),
        (drop_auc, "lacks mint.auc"),
        (text_for_a_number, "audited.accuracy.value = 'high'"),
        (not_a_number, "mint.accuracy.value = nan"),
        (other_run, "holds another run"),
        (hide_standin, "does not say STAND-IN"),
    ],
)
def test_damaged_metrics_are_refused_by_name(results, damage, says):
    metrics = made_metrics()
    folder = put(results, metrics)
    damage(folder, metrics)
    with pytest.raises(ResultsError, match=r"metrics\.json") as error:
        read_runs("quick")
    assert says in str(error.value)


def test_damaged_scores_are_refused_by_name(results):
    folder = put(results, made_metrics(), made_scores())
    (folder / "scores.parquet").write_text("no parquet")
    with pytest.raises(ResultsError, match=r"scores\.parquet is not a readable score table"):
        report.write("quick")


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


def test_read_metrics_takes_what_a_run_wrote(results):
    metrics = made_metrics()
    assert read_metrics(put(results, metrics) / "metrics.json") == metrics


def test_notebook_has_one_parameter():
    assert report.profile_of({"profile": "quick", "_i": "x", "In": [], "files": {}}) == "quick"
    with pytest.raises(SettingsError, match=r"'profil'. Did you mean 'profile'\?"):
        report.profile_of({"profile": "quick", "profil": "paper"})
    with pytest.raises(SettingsError, match="profil"):
        report.profile_of({"profile": "quick", "profil": None})


def test_notebook_shows_every_table_and_figure():
    path = project_root() / "notebooks" / "aMINTResults.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    tables = ("table1.md", "comparison.md", "differences.md", "ablation.md", "transformations.md")
    tables += ("lambda.md",)
    figures = ("results_beside_paper", "setup_effect", "roc", "methods", "roc_by_method")
    figures += ("agreement", "class_difficulty", "image_difficulty", "transformations")
    figures += ("lambda", "frontier")
    for name in (*tables, *(f"{figure}.png" for figure in figures)):
        assert f'"{name}"' in code

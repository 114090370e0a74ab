"""Tables of a profile: from made-up runs to table1 and runs.csv."""

import json

import numpy as np
import pandas as pd
import pytest
from made_runs import EIGHT, made_metrics, put, put_judged, put_many, seal_files
from read_back import profile, table, texts

from amint_core import report
from amint_core.files import write_json
from amint_core.locations import results_root
from amint_core.methods import METHODS
from amint_core.report import paper, render
from amint_core.report.figures import FIGURES
from amint_core.report.read import read_runs
from amint_core.report.tables import TABLES, table1
from amint_core.report.tables import runs as runs_table

FIRST_COLUMNS = [
    *("dataset", "setup", "model", "mint_accuracy", "audited_accuracy"),
    *("paper_mint_accuracy", "paper_audited_accuracy"),
]


@pytest.fixture
def results():
    return results_root()


def one_cell(**others):
    """Return the rows of table1 for CIFAR-10, middle, MobileNet."""
    rows = table(table1)
    cell = {"dataset": "cifar10", "setup": "middle", "model": "mobilenet", **others}
    return rows[np.logical_and.reduce([rows[name] == value for name, value in cell.items()])]


def test_a_row_per_cell_of_the_paper_and_per_other_run(results):
    put_many(results, EIGHT)
    put(results, made_metrics(model="tiny"))
    rows = table(table1)
    assert list(rows.columns[:7]) == FIRST_COLUMNS
    assert len(rows) == 72 + 2  # CASIA-WebFace and `tiny` are not in Table 1
    assert table1.was_run(rows).sum() == 9
    cells = set(map(tuple, rows[["dataset", "setup", "model"]].values))
    assert set(paper.TABLE1) < cells


def test_cells_not_run_are_empty_but_for_the_papers_values(results):
    put(results, made_metrics())
    rows = table(table1)
    left = rows[~table1.was_run(rows)]
    assert len(left) == 71
    held = left.notna().any()
    assert set(held.index[held]) == {
        *("dataset", "setup", "model", "paper_mint_accuracy", "paper_audited_accuracy")
    }


def test_taps_of_ones_own_stand_under_their_names_and_beside_no_cell_of_the_paper(results):
    put(results, made_metrics(taps=["blocks.0", "blocks.3"]))
    rows = table(table1)
    (row,) = rows[table1.was_run(rows)].to_dict("records")
    assert row["setup"] == "blocks.0 + blocks.3"
    assert np.isnan(row["paper_mint_accuracy"])
    assert not one_cell()["runs"].notna().any()
    shown = report.metrics_table(made_metrics(taps=["blocks.0", "blocks.3"]))
    assert "middle" not in shown.columns.name


@pytest.mark.usefixtures("tables_alone")
def test_values_are_exact_and_beside_the_right_cell(results):
    put(results, made_metrics(mint=0.9132000000000001, audited=0.4471))
    files = report.write("quick")
    rows = pd.read_csv(files["table1.csv"])
    row = rows[rows["runs"].notna()].iloc[0]
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


def test_what_else_a_run_measures_sets_no_row_apart(results):
    put(results, made_metrics(mint=0.90))
    put(results, made_metrics(mint=0.90, transformations=["flip"]))
    put(results, made_metrics(mint=0.95, seed=1))
    (row,) = one_cell().to_dict("records")
    assert row["seeds"] == 2
    assert row["mint_accuracy"] == pytest.approx(0.925)


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
    assert not table1.was_run(table(table1)).any()
    for name in ("results_beside_paper", "setup_effect", "roc"):
        assert "no active run" in texts(FIGURES[name].draw(profile()))
    files = report.write("quick")
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
    for write in render.FORMS.values():
        text = write(table1.document(profile()))
        assert text.count("[STAND-IN]") == len(EIGHT) + 1, write
    assert set(table(runs_table)["data"]) == {"STAND-IN"}


def test_real_data_are_not_called_standin(results):
    put(results, made_metrics(data="real"))
    files = report.write("quick")
    for path in files.values():
        if path.suffix != ".png":
            assert "STAND-IN" not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.usefixtures("tables_alone")
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
    forms = [["csv", *render.FORMS] if table.document else ["csv"] for table in TABLES.values()]
    tables = zip(TABLES, forms, strict=True)
    named = [[f"{name}.{form}" for form in ends] for name, ends in tables]
    drawn = [[f"{figure.name}.{form}" for form in ("png", "svg")] for figure in FIGURES.values()]
    assert set(before) == {name for names in (*named, *drawn) for name in names}


def test_runs_of_a_method_that_is_no_longer_there_are_reported(results, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(METHODS, "gone", METHODS["yeom"])
        for method, target in (("active", "plain"), ("gone", "plain"), ("gone", "active")):
            put_judged(results, method=method, target=target)
    files = report.write("quick")
    assert "gone" in files["comparison.md"].read_text()
    assert "gone" in files["differences.md"].read_text()


@pytest.mark.usefixtures("tables_alone")
def test_every_table_says_that_images_were_read_from_a_lossy_copy():
    folder = put_judged(results_root(), n=50)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert "JPEG" not in report.write("quick")["comparison.md"].read_text()
    metrics["data"]["notes"] = ["pool: 50,000 JPEG files: close to the official pixels, not equal."]
    write_json(folder / "metrics.json", metrics)
    seal_files(folder)
    files = report.write("quick")
    said = f"{metrics['data']['title']} here is a JPEG copy: close to the official pixels"
    for name in ("comparison", "table1", "transformations"):
        assert files[f"{name}.md"].read_text().count(said) == 1

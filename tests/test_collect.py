"""Reading a profile's runs: what is unfinished, missing or damaged is named."""

import json

import pytest
from made_runs import made_metrics, made_scores, put, seal_files

from amint_core import report
from amint_core.errors import ResultsError, SettingsError
from amint_core.files import write_json
from amint_core.locations import results_root
from amint_core.report.read import read_metrics, read_runs, unfinished


@pytest.fixture
def results():
    return results_root()


def test_read_metrics_takes_what_a_run_wrote(results):
    metrics = made_metrics()
    assert read_metrics(put(results, metrics) / "metrics.json") == metrics


def test_unfinished_runs_are_named_and_left_out(results):
    folder = put(results, made_metrics())
    (folder.parent / "cut-off").mkdir()
    assert unfinished("quick") == ["cut-off"]
    assert len(read_runs("quick")) == 1


def test_a_profile_without_results_names_those_there(results):
    put(results, made_metrics())
    with pytest.raises(ResultsError, match=r"'quikc' has no results.*there: quick.*make reproduce"):
        report.write("quikc")
    with pytest.raises(SettingsError, match=r"2026 is no text.*papermill by -r"):
        report.write(2026)


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


def no_list(folder, metrics):
    metrics["run"]["settings"]["defects"] = None
    write_json(folder / "metrics.json", metrics)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_json, "not valid JSON"),
        (drop_auc, "lacks mint.auc"),
        (text_for_a_number, "audited.accuracy.value = 'high'"),
        (not_a_number, "mint.accuracy.value = nan"),
        (other_run, "lies in a folder of another name: it is of the run"),
        (hide_standin, "does not say STAND-IN"),
        (no_list, "the setting 'defects' = None"),
    ],
)
def test_damaged_metrics_are_refused_by_name(results, damage, says):
    metrics = made_metrics()
    folder = put(results, metrics)
    damage(folder, metrics)
    if folder.is_dir():  # which `other_run` renames
        seal_files(folder)
    with pytest.raises(ResultsError, match=r"metrics\.json") as error:
        read_runs("quick")
    assert says in str(error.value)


def test_damaged_scores_are_refused_by_name(results):
    folder = put(results, made_metrics(), made_scores())
    (folder / "judged.parquet").write_text("no parquet")
    seal_files(folder)
    with pytest.raises(ResultsError, match=r"judged\.parquet is not a readable table of scores"):
        report.write("quick")


def test_a_setting_that_begins_as_a_list_does_is_shown_as_it_is(results):
    metrics = made_metrics()
    metrics["run"]["settings"]["head"] = "["
    put(results, metrics)
    assert "[" in str(read_runs("quick")["settings.head"].tolist())
    report.write("quick")

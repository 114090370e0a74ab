"""Comparison with reference values: exact, off by how much, not comparable, missing, extra."""

import copy

import pytest
from made_runs import seal_files

from amint_core.errors import ResultsError
from amint_core.files import read_json, write_json
from amint_core.locations import project_root
from amint_core.run import reference

METRICS = {
    "data": {"fingerprint": "f00d", "split": "5p117"},
    "mint": {
        "accuracy": {"value": 0.75, "low": 0.7, "high": 0.8},
        "accuracy_calibrated": {"value": None, "reason": "no calibration images"},
        "tpr_at_fpr": {"0.01": {"value": 0.5}, "0.001": {"value": None}},
        "auc": {"value": 0.875, "low": 0.8, "high": 0.9},
    },
    "audited": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}},
    "training": {"epochs": 2, "seconds": 1.5},
}
MANIFEST = {"versions": {"torch": "2.15.0", "numpy": "2.4.6"}, "hardware": "A chip, 1 threads"}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder of results with one blessed run, `a`."""
    monkeypatch.setattr(reference, "project_root", lambda: tmp_path / "project")
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "results"))
    runs = tmp_path / "results" / "quick" / "runs"
    put(runs / "a")
    reference.bless("quick", ["a"])
    return runs


def put(run, metrics=METRICS, manifest=MANIFEST):
    write_json(run / "metrics.json", metrics)
    seal_files(run, **manifest)


def changed(path, value, of=METRICS):
    content = copy.deepcopy(of)
    *parents, last = path.split(".")
    part = content
    for name in parents:
        part = part[name]
    part[last] = value
    return content


def only(runs=("a",)):
    (found,) = reference.differences("quick", list(runs))
    return found


def test_the_same_results_match(results):
    assert only().verdict == "matches"
    assert "1 of 1 runs match exactly" in reference.compare("quick", ["a"])


def test_times_do_not_count(results):
    put(results / "a", changed("training.seconds", 99.0))
    assert only().verdict == "matches"


def test_the_last_bit_counts(results):
    put(results / "a", changed("mint.auc.value", 0.875 + 2**-53))
    assert only().verdict == "differs"


def test_the_largest_difference_is_named(results):
    metrics = changed("mint.accuracy.value", 0.76)
    put(results / "a", changed("mint.auc.value", 0.675, of=metrics))
    found = only()
    assert found.verdict == "differs"
    assert "mint_auc is 0.675, reference 0.875, difference 0.2" in found.detail
    assert "(and 1 more differ)" in found.detail


def test_a_metric_that_was_none_differs(results):
    put(results / "a", changed("mint.accuracy_calibrated.value", 0.5))
    assert "mint_accuracy_calibrated is 0.5, reference none" in only().detail


def test_fewer_epochs_differ(results):
    put(results / "a", changed("training.epochs", 1))
    assert "epochs is 1, reference 2" in only().detail


def test_another_machine_is_the_likely_reason(results):
    manifest = changed("versions.torch", "2.11.0", of=MANIFEST) | {"hardware": "B chip, 1 threads"}
    put(results / "a", changed("mint.auc.value", 0.8), manifest)
    detail = only().detail
    assert "torch 2.15.0 → 2.11.0" in detail
    assert "hardware A chip, 1 threads → B chip, 1 threads" in detail
    assert "numpy" not in detail


def test_on_the_same_machine_the_code_is_the_reason(results):
    put(results / "a", changed("mint.auc.value", 0.8))
    assert "code or settings changed" in only().detail


@pytest.mark.parametrize("part", ["fingerprint", "split"])
def test_other_data_is_not_compared(results, part):
    put(results / "a", changed(f"data.{part}", "other"))
    found = only()
    assert found.verdict == "other data"
    assert part in found.detail
    assert "not comparable" in found.detail


def test_missing_and_extra_runs_are_named(results):
    put(results / "b")
    verdicts = {found.run: found.verdict for found in reference.differences("quick", ["b", "c"])}
    assert verdicts == {"a": "missing", "b": "extra", "c": "missing"}


def test_without_reference_values_it_says_how_to_keep_some(results):
    assert "amint reference --profile laptop" in reference.compare("laptop", ["a"])


def test_an_incomplete_run_is_not_blessed(results):
    with pytest.raises(ResultsError, match=r"metrics.json is missing"):
        reference.bless("quick", ["a", "never_run"])
    assert list(read_json(reference.reference_file("quick"))) == ["a"]


def test_metrics_without_a_part_name_it(results):
    put(results / "a", {name: part for name, part in METRICS.items() if name != "audited"})
    with pytest.raises(ResultsError, match=r"holds no audited.accuracy.value. Run a again"):
        reference.differences("quick", ["a"])


def test_whoever_has_the_official_files_learns_what_the_reference_was_computed_from(results):
    copy_of = changed("data.notes", ["pool: 50,000 JPEG files: close to the official pixels."])
    put(results / "a", copy_of)
    reference.bless("quick", ["a"])
    put(results / "a", changed("data.fingerprint", "0ff1c1a1"))
    found = only()
    assert found.verdict == "other data"
    assert "reference values are of other files: pool: 50,000 JPEG files" in found.detail
    assert "Yours: the official ones, as far as is known." in found.detail
    # The same files dealt otherwise are no other files.
    put(results / "a", changed("data.split", "07h3r", of=copy_of))
    assert "other files" not in only().detail


def test_a_run_of_a_timed_grid_is_told_to_have_no_reference_values():
    (run, *_) = (project_root() / "results" / "table1" / "runs").iterdir()
    with pytest.raises(ResultsError, match="made by `amint grid`, whose runs have no reference"):
        reference.key_values(run)


KEPT = sorted(path.parent.name for path in (project_root() / "results").glob("*/reference.json"))


@pytest.mark.parametrize("profile", KEPT)
def test_committed_reference_values_are_those_of_the_committed_runs(profile):
    kept = read_json(reference.reference_file(profile))
    runs = project_root() / "results" / profile / "runs"
    assert kept == {run: reference.key_values(runs / run) for run in kept}
    assert {file.parent.name for file in runs.glob("*/metrics.json")} <= set(kept)

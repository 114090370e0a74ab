"""A grid within a time limit: units, resume, what is left, both judgements, saved files."""

import json
import random
import shutil
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from torch import nn
from torch.nn import functional

from amint_core.batch.grid import load_grid
from amint_core.batch.timed import grid as timed_grid
from amint_core.batch.timed import judging, saving, units
from amint_core.batch.timed.dealt import deal
from amint_core.batch.timed.grid import Clock, Timed
from amint_core.batch.timed.judging import judge_again
from amint_core.batch.timed.saving import is_done
from amint_core.batch.timed.units import that_read_alike, units_of
from amint_core.cli import main
from amint_core.data.prepare import prepare
from amint_core.data.split import ROLES
from amint_core.data.twins import nearest_member
from amint_core.errors import (
    DamagedError,
    ProtocolError,
    ResultsError,
    SettingsError,
    TrainingError,
)
from amint_core.evaluation.both_judgements import judge_twice, read_scores
from amint_core.files import read_json
from amint_core.locations import cache_root
from amint_core.model import zoo
from amint_core.model.mint import parameter_count
from amint_core.model.zoo.architecture import Architecture
from amint_core.run import trainings
from amint_core.run.folder import Run, seal
from amint_core.settings import create
from amint_core.store import read_sealed, run_file, stored, write_sealed
from amint_core.training.activations import outputs
from benchmarks.faults.damage import SCHEMAS, answer_for

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SMALL = {
    "dataset": "mnist",
    "model": "tiny",
    "data": "standin",
    "image_size": 8,
    "members": 60,
    "external": 80,
    "calibration": 40,
    "holdout": 100,
    "test": 30,
    "recipe": "staged",
    "epochs": 1,
    "batch_size": 20,
    "head_epochs": 2,
    "head_batch": 20,
    **({"precision": "bf16"} if DEVICE == "cuda" else {"optimizer": "adam", "head_rate": 0.0}),
}


def grid_of(tmp_path, **changes):
    runs = [
        {"method": "attached", "setup": ["entry", "middle"]},
        {"method": ["yeom", "plain", "joint", "active"]},
    ]
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({"defaults": {**SMALL, **changes}, "runs": runs}))
    return path


def specs(tmp_path, **changes):
    return list(load_grid(grid_of(tmp_path, **changes), "small").values())


def timed(tmp_path, seconds=600.0):
    return Timed(tmp_path / "small", torch.device(DEVICE), Clock(seconds, _now()), say=print)


def _now():
    import time

    return time.time()


def test_runs_that_share_a_trunk_are_one_unit(tmp_path):
    units = units_of(specs(tmp_path))
    assert [[run.method for run in unit.runs] for unit in units] == [
        ["attached", "attached", "yeom", "plain"],
        ["joint"],
        ["active"],
    ]


def test_trunks_trained_beside_heads_of_other_widths_are_units_of_their_own(tmp_path):
    path = tmp_path / "small.yaml"
    runs = [{"method": ["active", "attached"], "head_width": [None, 8]}]
    path.write_text(yaml.safe_dump({"defaults": SMALL, "runs": runs}))
    units = units_of(list(load_grid(path).values()))
    found = [[(run.method, run.head_width) for run in unit.runs] for unit in units]
    expected = [[("active", None)], [("active", 8)], [("attached", None), ("attached", 8)]]
    assert sorted(found, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("odd", [{"views": ["flips"]}, {"transformations": [["flip"]]}])
def test_what_a_timed_grid_would_not_look_at_is_refused(odd, tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump({"defaults": SMALL, "runs": [{"method": "attached", **odd}]}))
    with pytest.raises(SettingsError, match=r"each image once, as it is.*amint reproduce"):
        units_of(list(load_grid(path).values()))


def test_heads_that_read_other_images_are_not_recorded_together(tmp_path):
    path = tmp_path / "small.yaml"
    runs = [
        {"method": "attached", "setup": ["entry", "middle"]},
        {"method": "attached", "low_pass": [True]},
        {"method": "attached", "head_copies": [1]},
        {"method": "attached", "head_width": [16]},
        {"method": "attached", "head_count": [2]},
    ]
    path.write_text(yaml.safe_dump({"defaults": SMALL, "runs": runs}))
    (unit,) = units_of(list(load_grid(path).values()))
    alike = [[unit.runs.index(run) for run in group] for group in that_read_alike(unit.runs)]
    assert alike == [[0, 1, 4, 5], [2], [3]]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    root = tmp_path_factory.mktemp("timed")
    left = timed(root).run(specs(root))
    return root, left


def test_all_runs_of_a_small_grid_are_done_and_saved(done):
    root, left = done
    assert left == []
    folders = sorted((root / "small" / "runs").iterdir())
    assert len(folders) == 6
    for folder in folders:
        names = {file.name for file in folder.iterdir()}
        assert names == {"metrics.json", "manifest.json", "history.csv", "scores.parquet"}
        metrics = read_json(folder / "metrics.json")
        assert 0 <= metrics["audited"]["accuracy"]["value"] <= 1
        assert (metrics["mint"] is None) == (metrics["run"]["settings"]["method"] in NO_TEST)
        manifest = read_json(folder / "manifest.json")
        assert manifest["hardware"]
        assert manifest["versions"]["torch"] == torch.__version__.split("+")[0]
        assert set(manifest["git"]) == {"commit", "changed"}
        stages = pd.read_csv(folder / "history.csv")["stage"].unique().tolist()
        with_head = metrics["run"]["settings"]["method"] in WITH_HEAD
        assert stages == (["trunk", "head"] if with_head else ["trunk"])


NO_TEST, WITH_HEAD = ("plain", "joint"), ("attached", "active")


def test_a_head_is_as_wide_as_asked_in_a_timed_grid_as_in_a_single_run(tmp_path):
    runs = {}
    for width in (None, 8):
        folder = tmp_path / f"width{width}"
        folder.mkdir()
        asked = [run for run in specs(folder, head_width=width) if run.method in WITH_HEAD]
        timed(folder).run(asked)
        for settings in asked:
            metrics = read_json(folder / "small" / "runs" / settings.id / "metrics.json")
            head = parameter_count(Run(settings).model.head)
            assert metrics["training"]["parameters"]["head"] == head
            runs[settings.id] = head
    assert len(runs) == 6  # another width is another run
    assert len(set(runs.values())) == 4  # the taps of two setups differ


def test_metrics_follow_from_the_stored_scores(done):
    root, _ = done
    for folder in (root / "small" / "runs").iterdir():
        metrics = read_json(folder / "metrics.json")
        scores = read_scores(root / "small", folder, metrics["data"]["split_file"])
        again = json.loads(json.dumps(judge_twice(scores)))
        for part in ("mint", "paper", "audited"):
            assert again[part] == metrics[part]


def _of_an_older_version(folder):
    """Take from a run's metrics a number that its version did not have."""
    metrics = read_json(folder / "metrics.json")
    del metrics["paper"]["accuracy_calibrated"]
    seal(folder, metrics, read_sealed(folder / "manifest.json"))


def _with_head(root):
    return next((root / "runs").glob("*-attached-*"))


@pytest.fixture
def older(done, tmp_path):
    """A finished grid, one run of which an older version has judged; and its metrics by ours."""
    root = shutil.copytree(done[0] / "small", tmp_path / "small")
    metrics = read_json(_with_head(root) / "metrics.json")
    _of_an_older_version(_with_head(root))
    return root, metrics


def test_saved_scores_are_judged_anew_and_nothing_else_of_a_run_changes(older):
    root, metrics = older
    run = _with_head(root)
    before = read_sealed(run / "manifest.json")
    assert judge_again(root) == [run.name]
    assert read_json(run_file(run / "metrics.json")) == metrics
    after = read_sealed(run / "manifest.json")
    assert set(after.pop("judged")) == {"finished", "git"}
    changed = {"metrics.json": after["files"]["metrics.json"]}
    assert after == before | {"files": before["files"] | changed}
    assert judge_again(root) == []


def test_a_judging_that_was_cut_off_is_finished_by_the_next(older, monkeypatch):
    root, metrics = older
    with monkeypatch.context() as patched:
        patched.setattr(judging, "write_text", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            judge_again(root)
    with pytest.raises(DamagedError):
        run_file(_with_head(root) / "metrics.json")
    assert judge_again(root) == [_with_head(root).name]
    assert read_json(run_file(_with_head(root) / "metrics.json")) == metrics


def _images(run):
    (images,) = (run.parent.parent / "splits").iterdir()
    return images


def _of_ordinary_runs(run):
    (run / "scores.parquet").unlink()
    seal(run, {"run": {"id": run.name}, "data": {}}, {"run": run.name})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "metrics.json").write_text('{"data": {}}'), "metrics.json"),
        (lambda run: (run / "metrics.json").write_text("{"), "metrics.json"),
        (lambda run: (run / "scores.parquet").write_bytes(b""), "scores.parquet"),
        (lambda run: _images(run).write_bytes(_images(run).read_bytes()[:500]), "is not what"),
        (lambda run: pd.read_parquet(_images(run))[::-1].to_parquet(_images(run)), "is not what"),
        (_of_ordinary_runs, "is not of a timed grid"),
    ],
)
def test_what_a_run_did_not_write_is_not_judged(older, damage, message):
    root, _ = older
    damage(_with_head(root))
    with pytest.raises(ResultsError, match=message):
        judge_again(root)


def test_where_there_is_no_run_nothing_is_judged(tmp_path):
    with pytest.raises(ResultsError, match="holds no finished run"):
        judge_again(tmp_path)


def test_without_the_images_of_a_split_nothing_is_judged(older):
    root, _ = older
    (images,) = (root / "splits").iterdir()
    images.unlink()
    with pytest.raises(ResultsError, match=images.name):
        judge_again(root)


def test_what_is_done_is_not_done_again(done, monkeypatch):
    root, _ = done
    monkeypatch.setattr(timed_grid, "do", lambda *given: pytest.fail("done before"))
    assert timed(root).run(specs(root)) == []


def test_an_ensemble_that_is_done_is_not_done_again(tmp_path, monkeypatch):
    path = tmp_path / "small.yaml"
    runs = [{"method": "attached", "head_count": [1, 2]}]
    path.write_text(yaml.safe_dump({"defaults": SMALL, "runs": runs}))
    runs = list(load_grid(path).values())
    assert timed(tmp_path).run(runs) == []
    monkeypatch.setattr(timed_grid, "do", lambda *given: pytest.fail("done before"))
    assert timed(tmp_path).run(runs) == []


def _of_another_writer(file):
    """The same table, in other bytes."""
    pd.read_parquet(file).to_parquet(file, index=False, compression="gzip")


@pytest.mark.parametrize(
    "damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b""), _of_another_writer]
)
def test_damaged_images_of_a_split_are_written_anew_and_no_run_is(damage, done, monkeypatch):
    root, _ = done
    monkeypatch.setattr(timed_grid, "do", lambda *given: pytest.fail("done before"))
    (images,) = (root / "small" / "splits").glob("*.parquet")
    before = images.read_bytes()
    damage(images)
    assert timed(root).run(specs(root)) == []
    assert images.read_bytes() == before


def test_where_another_version_writes_images_anew_the_runs_know_it(done, monkeypatch, capsys):
    root, _ = done
    monkeypatch.setattr(timed_grid, "do", lambda *given: pytest.fail("done before"))
    (images,) = (root / "small" / "splits").glob("*.parquet")
    before = images.read_bytes()
    table = pd.read_parquet(images)
    _of_another_writer(images)
    other = images.read_bytes()
    images.unlink()
    monkeypatch.setattr(saving, "_write_table", lambda path, table: path.write_bytes(other))
    for _ in range(2):
        assert timed(root).run(specs(root)) == []
    assert capsys.readouterr().out.count("written anew") == 1
    for folder in (root / "small" / "runs").iterdir():
        assert read_scores(root / "small", folder, images.name)[[*table]].equals(table)
    monkeypatch.undo()
    images.write_bytes(b"")
    timed(root).run(specs(root)[:1])  # a part of the runs of this split
    assert images.read_bytes() == before
    for folder in (root / "small" / "runs").iterdir():
        assert read_scores(root / "small", folder, images.name)[[*table]].equals(table)


def test_images_that_other_runs_know_are_not_set_aside(done, monkeypatch):
    root, _ = done
    monkeypatch.setattr(timed_grid, "do", lambda *given: pytest.fail("done before"))
    (images,) = (root / "small" / "splits").glob("*.parquet")
    odd = root / "small" / "runs" / specs(root)[0].id / "manifest.json"
    manifest = read_sealed(odd)
    write_sealed(odd, {**manifest, "split_file": "0" * 64})
    before = sorted(images.parent.iterdir())
    timed(root).run(specs(root))
    assert read_sealed(odd) == manifest
    assert sorted(images.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["metrics.json", "history.csv", "scores.parquet"])
def test_a_run_that_another_version_has_written_is_not_done(name, done, capsys):
    root, _ = done
    run = specs(root)[0]
    folder = root / "small" / "runs" / run.id
    kept = {file: file.read_bytes() for file in (folder / name, folder / "manifest.json")}
    SCHEMAS[(folder / name).suffix](folder / name, random.Random(0))
    answer_for(folder / name)
    assert not is_done(root / "small", run)
    assert "was written by another version: run again" in capsys.readouterr().out
    for file, content in kept.items():
        file.write_bytes(content)
    assert is_done(root / "small", run)


def test_without_time_everything_is_left_and_written_down(tmp_path):
    left = timed(tmp_path, seconds=1.0).run(specs(tmp_path))
    assert len(left) == 6
    assert {one["why"] for one in left} == {"no time"}
    assert read_json(tmp_path / "small" / "left.json") == left


def test_what_was_not_asked_for_stays_in_the_list_of_what_is_left(tmp_path):
    asked, others = specs(tmp_path)[:1], specs(tmp_path)[1:]
    left = timed(tmp_path, seconds=1.0).run(asked, others)
    assert [one["run"] for one in left] == [asked[0].id]
    listed = read_json(tmp_path / "small" / "left.json")
    assert listed[0] == left[0]
    assert {one["run"] for one in listed[1:]} == {one.id for one in others}
    assert {one["why"] for one in listed[1:]} == {"not asked for"}


def test_a_grid_that_is_refused_writes_nothing(tmp_path):
    grid = timed(tmp_path)
    grid.packed = tmp_path / "packde"
    with pytest.raises(SettingsError, match=r"no folder .*packde of packed datasets"):
        grid.run(specs(tmp_path))
    (run,) = (one for one in specs(tmp_path) if one.method == "plain")
    with pytest.raises(SettingsError):
        timed(tmp_path).run([run.model_copy(update={"method": "lira_online"})])
    assert not (tmp_path / "small").exists()


def test_the_limit_is_looked_at_before_each_step(tmp_path):
    grid, looks = timed(tmp_path), iter([100.0] * 3)  # to begin, and for two of four steps

    class Short(Clock):
        @property
        def left(self):
            return next(looks, 0.0)

    grid.clock = Short(600.0)
    (run,) = (one for one in specs(tmp_path) if one.method == "plain")
    (left,) = grid.run([run])
    assert left["why"] == "no time: stopped on the way"
    assert next(looks, None) is None


def test_a_unit_is_stopped_on_the_way_and_a_dear_one_passed_over(tmp_path):
    grid = timed(tmp_path)
    given = specs(tmp_path)
    units = units_of(given)
    grid.costs[units[1].cost_key] = 1e6
    left = grid.run(given)
    assert {one["why"] for one in left} == {"no time: takes about 1000000 s"}
    assert len(left) == 2
    stopped, looks = timed(tmp_path / "other"), iter([100.0])  # enough to begin, then none

    class Short(Clock):
        @property
        def left(self):
            return next(looks, 0.0)

    stopped.clock = Short(600.0)
    left = stopped.run(given)
    assert left[0]["why"] == "no time: stopped on the way"
    assert len(left) == 6


def stopped_after(looks, runs, root):
    """Do runs until the time left has been looked at so often, and return what is kept."""
    grid, seconds = timed(root), iter([100.0] * looks)

    class Short(Clock):
        @property
        def left(self):
            return next(seconds, 0.0)

    grid.clock = Short(600.0)
    assert grid.run(runs)
    return list(cache_root().glob("trainings/*/checkpoint.pt"))


@pytest.mark.parametrize("method", ["plain", "active"])
def test_a_trunk_that_was_stopped_on_the_way_goes_on_in_the_next_call(
    method, tmp_path, monkeypatch, capsys
):
    (run,) = (one for one in specs(tmp_path, epochs=3) if one.method == method)
    assert not timed(tmp_path / "whole").run([run])
    # To begin, and for all four steps of the first epoch: then no other epoch fits.
    (kept,) = stopped_after(5, [run], tmp_path / "cut")
    capsys.readouterr()
    assert not timed(tmp_path / "cut").run([run])
    assert "Going on after epoch 1" in capsys.readouterr().out
    assert not kept.parent.exists()
    folders = [tmp_path / name / "small" / "runs" / run.id for name in ("whole", "cut")]
    one, other = (pd.read_csv(folder / "history.csv") for folder in folders)
    bounds = {"rtol": 0, "atol": 0} if DEVICE == "cpu" else {"rtol": 0.05, "atol": 0.05}
    pd.testing.assert_frame_equal(
        one.drop(columns="seconds"), other.drop(columns="seconds"), **bounds
    )


def test_a_unit_costs_what_both_calls_took(tmp_path):
    (run,) = (one for one in specs(tmp_path, epochs=3) if one.method == "plain")
    (kept,) = stopped_after(5, [run], tmp_path)
    state = torch.load(kept, weights_only=True)
    state["history"][0]["seconds"] = 1000.0
    with stored(kept) as temporary:
        torch.save(state, temporary)
    grid = timed(tmp_path)
    assert not grid.run([run])
    metrics = read_json(tmp_path / "small" / "runs" / run.id / "metrics.json")
    assert metrics["training"]["seconds_trunk"] > 1000
    assert min(grid.costs.values()) > 1000


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"learning_rate": 0.5}, {"batch_size": 30}, {"external": 79}, {}]
)
def test_a_trunk_of_other_settings_images_or_code_does_not_go_on(
    change, tmp_path, monkeypatch, capsys
):
    (run,) = (one for one in specs(tmp_path, epochs=3) if one.method == "plain")
    (kept,) = stopped_after(5, [run], tmp_path)
    (other,) = (one for one in specs(tmp_path, **{"epochs": 3, **change}) if one.method == "plain")
    if not change:
        monkeypatch.setattr(units.provenance, "code_fingerprint", lambda *roots: "other")
    assert not timed(tmp_path).run([other])
    assert "Going on" not in capsys.readouterr().out
    assert kept.is_file()


def test_a_trunk_goes_on_for_the_runs_that_are_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trainings, "KEEP_EVERY", 0.0)
    active = [one for one in specs(tmp_path, head_epochs=[2, 3]) if one.method == "active"]
    assert len(units_of(active)) == 1
    # To begin, to say when a state is due, the trunk's four steps, before the recording; eight
    # steps of the first head; before another recording, and two steps of the second.
    (kept,) = stopped_after(17, active, tmp_path)
    assert [is_done(tmp_path / "small", run) for run in active] == [True, False]
    capsys.readouterr()
    assert not timed(tmp_path).run(active)
    assert "Going on after epoch 1" in capsys.readouterr().out
    assert not kept.parent.exists()


def test_a_trunk_is_kept_until_its_runs_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "KEEP_EVERY", 0.0)
    (run,) = (one for one in specs(tmp_path) if one.method == "plain")

    def refused(*given):
        raise ResultsError("the disk is full")

    with monkeypatch.context() as once:
        once.setattr(saving.Saver, "_write", refused)
        with pytest.raises(ResultsError, match="the disk is full"):
            timed(tmp_path).run([run])
    (kept,) = cache_root().glob("trainings/*/checkpoint.pt")
    assert not timed(tmp_path).run([run])
    assert not kept.parent.exists()


def test_the_command_runs_a_grid(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "results"))
    path = grid_of(tmp_path)
    command = ["grid", "--profile", "small", "--grid", str(path), "--device", DEVICE]
    assert main([*command, "--minutes", "1000"]) == 0
    assert "6 of 6 runs done" in capsys.readouterr().out
    assert main([*command, "--minutes", "1000", "--datasets", "gtsrb"]) == 0
    assert main([*command, "--minutes", "1000", "--datasets", "gtsb"]) == 2
    assert "Did you mean 'gtsrb'" in capsys.readouterr().err
    for minutes in ("nan", "-1", "0"):
        assert main([*command, "--minutes", minutes]) == 2
        assert f"--minutes {minutes}: give a number above 0" in capsys.readouterr().err


def test_a_unit_that_fails_is_left_with_its_error_and_the_command_says_so(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(timed_grid, "do", failing := Failing())
    path = grid_of(tmp_path)
    command = ["grid", "--profile", "small", "--grid", str(path), "--minutes", "1000"]
    assert main(command) == 1
    assert failing.asked == 3
    assert "left: mnist-standin-tiny" in (told := capsys.readouterr().out)
    assert "diverged" in told
    if not torch.cuda.is_available():
        assert main([*command, "--device", "cuda"]) == 2
        assert "finds no GPU" in capsys.readouterr().err


def test_an_error_of_any_kind_costs_its_own_unit_alone(tmp_path, monkeypatch):
    honest, calls = timed_grid.do, []

    def breaks_once(*given):
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("stage9")
        return honest(*given)

    monkeypatch.setattr(timed_grid, "do", breaks_once)
    left = timed(tmp_path).run(specs(tmp_path))
    assert {one["why"] for one in left} == {"KeyError: 'stage9'"}
    assert 0 < len(left) < 6
    assert read_json(tmp_path / "small" / "left.json") == left


def test_what_cannot_be_written_ends_the_grid_before_more_is_trained(tmp_path, monkeypatch):
    honest, calls = timed_grid.do, []

    def counted(*given):
        calls.append(1)
        return honest(*given)

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(timed_grid, "do", counted)
    monkeypatch.setattr(saving.Saver, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        timed(tmp_path).run(specs(tmp_path))
    assert len(calls) < len(units_of(specs(tmp_path)))


@pytest.mark.parametrize("broken", [slice(3, 4), slice(None)])
def test_scores_that_are_no_numbers_are_not_saved(tmp_path, monkeypatch, broken):
    honest = saving.Saver.save

    def breaks(saver, result, dealt):
        result.scores[broken] = torch.nan
        honest(saver, result, dealt)

    monkeypatch.setattr(saving.Saver, "save", breaks)
    given = specs(tmp_path)
    left = timed(tmp_path).run(given)
    assert all("not finite numbers" in one["why"] for one in left)
    # Those that test nothing have no scores at all.
    without = {one.id for one in given if one.method in ("plain", "joint")}
    assert {one.id for one in given if is_done(tmp_path / "small", one)} == without
    assert {one["run"] for one in left} == {one.id for one in given} - without


def test_losses_near_0_are_kept_apart(done):
    root, _ = done
    scores = {
        one.method: pd.read_parquet(root / "small" / "runs" / one.id / "scores.parquet")["score"]
        for one in specs(root)
    }
    for method, whole in (("yeom", False), ("attached", True)):
        thousands = 1000 * scores[method].to_numpy(np.float64)
        assert np.allclose(thousands, thousands.round(), atol=0.01) == whole


@pytest.mark.parametrize(
    ("taps", "said"),
    [(["stem", "stage_1"], "Did you mean 'stage1'"), (["stem", "stem"], "different modules")],
)
def test_taps_that_are_not_in_the_model_leave_their_unit_and_no_other(tmp_path, taps, said):
    path = tmp_path / "small.yaml"
    runs = [{"method": ["plain"]}, {"method": "attached", "taps": [taps]}, {"method": "joint"}]
    path.write_text(yaml.safe_dump({"defaults": SMALL, "runs": runs}))
    left = timed(tmp_path).run(list(load_grid(path, "small").values()))
    assert len(left) == 2
    assert all(said in one["why"] for one in left)


class Last(nn.Module):
    """Gives maps (B, H, W, C), as Swin does, and changes those of its first layer in place."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(6, 5)
        self.classifier = nn.Linear(5, 10)

    def forward(self, images):
        maps = functional.relu_(self.first(images))
        return self.classifier(self.second(maps.permute(0, 2, 3, 1)).amax((1, 2)))


def test_maps_with_channels_last_or_changed_in_place_are_read_as_in_a_single_run(monkeypatch):
    taps = dict.fromkeys(zoo.SETUPS, ("first", "second"))
    own = Architecture("own", "Own", lambda *_: Last(), taps, {})
    monkeypatch.setitem(zoo.AUDITED, "own", own)
    run = create(**SMALL, method="attached").model_copy(update={"model": "own"})
    sizes = {role: getattr(run, role) for role in ROLES}
    dealt = deal(prepare(run).dataset, sizes, run.seed, torch.device(DEVICE))
    model = units._build([run], dealt, half=False)
    images = dealt.images.images(dealt.rows["members"][:4])
    with torch.no_grad():
        read = outputs(model.audited, model.taps, images, half=False)
    assert {name: maps.shape for name, maps in read.items()} == {
        "first": (4, 6, 8, 8),
        "second": (4, 5, 8, 8),
    }
    with torch.no_grad():
        assert torch.equal(read["first"], model.audited.first(images))


def test_a_folder_of_images_can_be_named_and_has_its_split_beside_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 256, (500, 8, 8, 3), np.uint8)
    for number, image in enumerate(pixels):
        place = tmp_path / "photos" / str(number % 2) / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    path = tmp_path / "small.yaml"
    own = {**SMALL, "dataset": f"folder:{tmp_path / 'photos'}", "data": "real", "method": "plain"}
    path.write_text(yaml.safe_dump({"runs": [own]}))
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "results"))
    command = ["grid", "--profile", "small", "--grid", str(path), "--minutes", "1000"]
    assert main([*command, "--datasets", own["dataset"]]) == 0
    (run,) = load_grid(path, "small").values()
    grid = timed(tmp_path / "results")
    assert grid.run([run]) == []
    folder = grid.root / "runs" / run.id
    (images,) = (grid.root / "splits").glob("*.parquet")
    assert len(read_scores(grid.root, folder, images.name)) == len(pd.read_parquet(images))
    assert not saving.lacks_images(grid.root, run)


class Failing:
    asked = 0

    def __call__(self, *given):
        self.asked += 1
        raise TrainingError("diverged")


def test_what_another_way_to_do_a_run_has_left_is_not_sealed_as_the_grids(tmp_path):
    (run,) = (one for one in specs(tmp_path) if one.method == "plain")
    folder = tmp_path / "small" / "runs" / run.id
    folder.mkdir(parents=True)
    (folder / "judged.parquet").write_text("of `amint run`")
    timed(tmp_path).run([run])
    names = {"metrics.json", "manifest.json", "history.csv", "scores.parquet"}
    assert {file.name for file in folder.iterdir()} == names


def test_active_scores_do_not_depend_on_what_ran_before(tmp_path, done):
    root, _ = done
    alone = [spec for spec in specs(tmp_path) if spec.method == "active"]
    timed(tmp_path).run(alone)
    here, there = (
        pd.read_parquet(base / "small" / "runs" / alone[0].id / "scores.parquet")
        for base in (tmp_path, root)
    )
    np.testing.assert_allclose(here["score"], there["score"], atol=2e-3)


def scores(twins=0):
    random = np.random.default_rng(0)
    roles = ["members"] * 200 + ["calibration"] * 100 + ["holdout"] * 100 + ["test"] * 50
    role = np.array(roles)
    member = role == "members"
    values = np.where(member, 2.0, -2.0) + random.standard_normal(len(role))
    twin = np.where(member, 1.0, 0.5)
    near = np.flatnonzero(role == "holdout")[:twins]
    twin[near], values[near] = 0.99, 9.0
    label = random.integers(0, 3, len(role))
    judged = (role == "holdout") | (member & (np.arange(len(role)) % 2 == 0))
    columns = {"role": role, "judged": judged, "label": label, "predicted": label * 0}
    return pd.DataFrame({**columns, "score": values, "twin": twin})


def test_one_training_is_judged_twice():
    table = scores()
    found = judge_twice(table)
    half = table[table["judged"]]
    inside, outside = half[half["role"] == "members"], half[half["role"] == "holdout"]
    strict = ((inside["score"] > 0).mean() + (outside["score"] <= 0).mean()) / 2
    assert found["mint"]["accuracy"]["value"] == pytest.approx(strict)
    members, test = table[table["role"] == "members"], table[table["role"] == "test"]
    paper = ((members["score"] > 0).mean() + (test["score"] <= 0).mean()) / 2
    assert found["paper"]["accuracy"]["value"] == pytest.approx(paper)
    assert found["paper"]["judged"] == {"members": 200, "non_members": 50}
    threshold = found["mint"]["threshold_calibrated"]
    calibrated = ((inside["score"] > threshold).mean() + (test["score"] <= threshold).mean()) / 2
    assert found["paper"]["accuracy_calibrated"]["value"] == pytest.approx(calibrated)
    assert found["paper"]["judged_calibrated"] == {"members": 100, "non_members": 50}
    assert found["mint"]["judged"] == {"members": 100, "non_members": 100}
    assert found["audited"]["accuracy"]["value"] == pytest.approx((test["label"] == 0).mean())


def test_scores_of_which_some_are_no_numbers_are_not_judged():
    table = scores()
    assert judge_twice(table.assign(score=np.nan))["mint"] is None
    for broken in (np.nan, np.inf):
        with pytest.raises(ProtocolError, match="not finite"):
            judge_twice(table.assign(score=table["score"].where(table.index != 3, broken)))


def test_near_twins_are_set_aside_and_counted():
    found = judge_twice(scores(twins=7))["mint"]
    assert found["without_near_twins"]["set_aside"] == 7
    assert found["false_positives"]["value"] >= 0.07
    assert found["without_near_twins"]["false_positives"]["value"] < 0.07
    assert found["without_near_twins"]["auc"]["value"] > found["auc"]["value"]


def test_a_mirrored_member_is_a_near_twin_and_noise_is_none():
    random = np.random.default_rng(0)
    members = torch.from_numpy(random.integers(0, 256, (5, 32, 32, 3), np.uint8))
    others = torch.from_numpy(random.integers(0, 256, (2, 32, 32, 3), np.uint8))
    given = torch.cat([members[:1].flip(2), members[3:4], others])
    found = nearest_member(members, given)
    torch.testing.assert_close(found[:2], torch.ones(2))
    assert (found[2:] < 0.5).all()

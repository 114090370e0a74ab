"""What runs would cost: counted work, who pays, what is done, the written table."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.flop_counter import FlopCounterMode

from amint_core.batch import plan
from amint_core.batch.planning import busy, estimate, made_up, measure
from amint_core.batch.planning.flops import counts_of, step_flops
from amint_core.batch.planning.work import Cost, sizes_of, work_of, workload_of
from amint_core.cli import main
from amint_core.config import RunConfig
from amint_core.data import DATASETS
from amint_core.errors import SettingsError
from amint_core.files import write_json
from amint_core.locations import cache_root, results_root
from amint_core.model.heads import LeanHead
from amint_core.run import recorded
from amint_core.run.folder import run_folder
from amint_core.run.models import build
from amint_core.run.steps import code_of, run_all
from amint_core.settings import create
from amint_core.training import activations
from amint_core.training.kinds import ACTIVE, KINDS, MEMORIZER, PLAIN
from amint_core.training.resident import Resident


def settings(**given) -> RunConfig:
    """Return settings of a tiny model on real CIFAR-10, which is not there."""
    values = {"dataset": "cifar10", "model": "tiny", "profile": "trial"}
    values |= {"members": 200, "external": 300, "calibration": 100, "holdout": 150, "epochs": 4}
    return create(**values | {"batch_size": 50, "cpu_threads": 1} | given)


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    """Leave no dataset anywhere."""
    monkeypatch.setenv("AMINT_DATA", str(tmp_path / "nothing"))


def finish(run: RunConfig, code: str | None = None) -> None:
    """Leave the files of a finished run."""
    folder = run_folder(run)
    write_json(folder / "metrics.json", {})
    write_json(folder / "manifest.json", {"code": code or code_of(run)})
    (folder / "scores.parquet").touch()


@pytest.fixture
def done():
    """Count what tiny models do: steps, and images classified, scored and differentiated."""
    seen: Counter[str] = Counter()

    def look(module: nn.Module, given: tuple, output: torch.Tensor) -> None:
        if isinstance(module, nn.Linear) and module.in_features == 24:  # the classifier
            inferring = torch.is_inference_mode_enabled()
            gradients = not module.training and given[0].requires_grad
            seen["classified"] += len(output) * inferring
            seen["differentiated"] += len(output) * gradients
        elif isinstance(module, LeanHead):
            seen["scored"] += len(output) * torch.is_inference_mode_enabled()

    hooks = [
        register_module_forward_hook(look),
        register_optimizer_step_post_hook(lambda *_: seen.update(["steps"])),
    ]
    yield seen
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"method": "plain"},
        {"method": "passive"},
        {"method": "passive_unseen", "views": "flips"},
        {"method": "memorizer", "calibration": 0},
        {"method": "lira_online", "shadows": 4},
        {"method": "rmia_offline", "shadows": 4, "target": "active", "transformations": ["jpeg"]},
        {"method": "yeom", "transformations": ["flip", "shift"]},
        {"method": "gmint", "transformations": ["flip"]},
        {"views": "flips", "transformations": ["flip", "shift", "jpeg"]},
        {"method": "passive", "protocol": "paper", "test": 0, "transformations": ["blur"]},
        {"members": 210, "external": 90, "batch_size": 64},
    ],
    ids=lambda given: " ".join(f"{value}" for value in given.values()) or "active",
)
def test_the_plan_counts_what_a_run_does(given, done):
    """Hold the counts against a run that is executed."""
    small = {"dataset": "mnist", "data": "standin", "image_size": 16, "test": 80, "epochs": 2}
    small |= {"members": 100, "external": 150, "calibration": 60, "holdout": 90}
    run = settings(**small | given)
    work, metrics = work_of(run), run_all(run)
    assert metrics["data"]["sizes"] == sizes_of(run)
    parts = (*work.trainings, work.scoring)
    assert done["steps"] == work.steps
    assert done["classified"] == sum(part.classified for part in parts)
    assert done["scored"] == sum(part.scored for part in parts)
    assert done["differentiated"] == work.scoring.differentiated
    histories = list((cache_root() / "trainings").rglob("history.csv"))
    assert len(histories) == len(work.trainings)
    assert sum(len(pd.read_csv(one)) for one in histories) == run.epochs * len(work.trainings)


@pytest.mark.parametrize(
    "given",
    [
        {"method": "plain"},
        {"method": "attached"},
        {"method": "attached", "recipe": "staged_ensemble"},
        {"method": "active"},
        {"method": "joint"},
        {"method": "passive_unseen", "head_copies": 1},
        {"method": "misdeclared"},
        {"method": "active", "external_transformations": [], "augment_external": 0},
    ],
    ids=lambda given: " ".join(f"{value}" for value in given.values()),
)
def test_the_plan_counts_what_a_run_in_two_stages_does(given, done, monkeypatch):
    as_it_was = activations.record

    def record(audited, taps, images, parts, *more, **named):
        done["recorded"] += sum(len(part.rows) for part in parts)
        return as_it_was(audited, taps, images, parts, *more, **named)

    for module in (recorded, activations):
        monkeypatch.setattr(module, "record", record)
    small = {"dataset": "mnist", "data": "standin", "image_size": 16, "test": 80, "epochs": 2}
    small |= {"members": 100, "external": 150, "calibration": 60, "holdout": 90}
    small |= {"recipe": "staged", "head_epochs": 3, "head_batch": 40}
    run = settings(**small | given)
    work = work_of(run)
    run_all(run)
    parts = (*work.trainings, work.scoring)
    assert done["steps"] == work.steps
    assert done["recorded"] == sum(part.recorded for part in parts)
    assert done["classified"] == sum(part.classified for part in parts)
    assert done["scored"] == sum(part.scored for part in parts) * run.head_count
    histories = list((cache_root() / "trainings").rglob("history.csv"))
    assert len(histories) == len({part.training for part in work.trainings})


def test_counts_steps_and_images():
    work = work_of(settings(views="flips", transformations=["flip", "blur"]))
    # 300 external images in batches of 50, four times.
    assert work.steps == 4 * 6
    # After each epoch: calibration and the members that choose thresholds.
    assert work.trainings[0].scored == 4 * (100 + 100)
    # All roles and CIFAR-10's whole test set are classified.
    assert work.scoring.classified == 200 + 300 + 100 + 150 + 10_000
    # Two views of all but the test set, and of the judged ones twice transformed.
    assert work.scoring.scored == 2 * (750 + 2 * (100 + 150))


def test_only_attacks_hold_class_logits():
    few, many = ({"dataset": name, "data": "standin"} for name in ("cifar10", "tiny_imagenet"))
    assert work_of(settings(**few)).logits == work_of(settings(**many)).logits == 0
    # 750 images in question, float32, twice.
    assert work_of(settings(method="yeom")).logits == 2 * 750 * 10 * 4


def test_a_dataset_that_does_not_say_its_test_sets_size_asks_for_a_number(monkeypatch):
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], official_sizes={}))
    with pytest.raises(SettingsError, match=r"test = 0 .* MNIST does not say how many"):
        work_of(settings(dataset="mnist", test=0))
    assert sizes_of(settings(dataset="mnist", test=70))["test"] == 70


def test_paper_protocol_judges_the_official_test_set():
    run = settings(dataset="mnist", protocol="paper", calibration=0)
    assert sizes_of(run)["test"] == 10_000
    scoring = work_of(run).scoring
    assert scoring.classified == scoring.scored == 200 + 300 + 10_000


def test_standins_have_their_own_size_and_classes():
    run = settings(dataset="casia_webface", data="standin", model="mobilenet")
    assert workload_of(run, ACTIVE).classes == 50
    assert sizes_of(run)["test"] == 50 * 12


def test_speed_depends_on_the_model_and_not_on_the_seed():
    key = workload_of(settings(), ACTIVE).key
    assert key == workload_of(settings(seed=3, epochs=9, learning_rate=0.1), ACTIVE).key
    for other in ({"setup": "entry"}, {"precision": "bf16"}, {"batch_size": 20}, {"head": "lean"}):
        assert key != workload_of(settings(**other), ACTIVE).key
    plain = workload_of(settings(), PLAIN).key
    assert plain != key
    assert plain == workload_of(settings(setup="entry"), PLAIN).key


def test_shared_trainings_are_paid_once(no_data):
    runs = [settings(method="plain"), settings(method="passive"), settings(method="yeom")]
    runs += [settings(method=name, shadows=4) for name in ("lira_online", "rmia_online")]
    table = plan.make({run.id: run for run in runs}, seconds=0).table.set_index("run")
    plain, _, yeom, lira, rmia = (run.id for run in runs)
    assert table["paid_by"].tolist() == ["", plain, plain, plain, f"{plain} {lira}"]
    assert table["trainings"].tolist() == [1, 2, 1, 5, 5]
    # Both attacks take as long alone; the second finds everything trained.
    assert table.loc[lira, "hours_alone"] == pytest.approx(table.loc[rmia, "hours_alone"])
    assert table.loc[rmia, "hours"] == pytest.approx(table.loc[yeom, "hours"])
    one = table.loc[plain, "hours"] - table.loc[yeom, "hours"]
    assert table.loc[lira, "hours"] > table.loc[yeom, "hours"] + 4 * one > 0


def test_workers_train_shadow_models_side_by_side(no_data, monkeypatch):
    def row(cores, **given):
        monkeypatch.setattr(plan.os, "cpu_count", lambda: cores)
        run = settings(**{"method": "lira_online", "shadows": 8} | given)
        return plan.make({run.id: run}, seconds=0).table.iloc[0]

    alone, four = row(8), row(8, workers=4)
    assert (alone["cores"], four["cores"]) == (1, 4)
    own = row(8, method="yeom")["hours_alone"]
    # The target first, then eight shadow models, four at a time.
    shadows = alone["hours"] - own
    assert four["hours"] - own == pytest.approx(shadows / 4, rel=1e-6)
    # Three times three of eight on enough cores; no quicker than two where there are two.
    assert row(8, workers=3)["hours"] - own == pytest.approx(shadows * 3 / 8, rel=1e-6)
    assert row(2, workers=4)["hours"] - own == pytest.approx(shadows / 2, rel=1e-6)
    assert row(2, workers=4)["cores"] == 2
    assert row(1, workers=4)["hours"] == pytest.approx(alone["hours"])
    # The run itself and four workers, each with a model and the pixels of its own.
    assert four["memory_gib"] > 4 * alone["memory_gib"]


def test_workers_share_one_gpu():
    run = settings(method="lira_online", shadows=4, workers=2)
    work = work_of(run)
    (key,) = {one.key for one in work.workloads}
    costs = {key: Cost(1.0, 0.0, 0.0, 500.0, 300.0, "measured")}
    seconds = estimate.trainings_seconds(work.trainings, run, costs, cores=64)
    assert seconds == 5 * work.trainings[0].steps
    held, gpu = estimate.memory(work, costs)
    assert gpu == 3 * 300
    assert held > 3 * 500


def test_other_images_are_another_training():
    ids = {
        work_of(settings(method="plain", **other)).trainings[0].training
        for other in ({}, {"members": 199}, {"seed": 1}, {"image_size": 16}, {"data": "standin"})
    }
    assert len(ids) == 5


def test_done_runs_are_not_counted(no_data):
    first, second = settings(method="plain"), settings(method="yeom")
    grid = {run.id: run for run in (first, second)}
    finish(first)
    table = plan.make(grid, seconds=0).table.set_index("run")
    assert table["status"].tolist() == ["done", "to run"]
    assert table.loc[first.id, "hours"] == 0 < table.loc[first.id, "hours_alone"]
    # The store does not hold the first one's model: the second trains it.
    assert table.loc[second.id, "paid_by"] == ""
    assert table.loc[second.id, "hours"] == table.loc[second.id, "hours_alone"]


def test_runs_of_other_code_are_counted():
    run = settings()
    assert plan.status(run) == "to run"
    finish(run, code="other")
    assert plan.status(run) == "again"
    (run_folder(run) / "scores.parquet").unlink()
    assert plan.status(run) == "to run"


def test_command_writes_the_table(tmp_path, no_data, capsys):
    grid = tmp_path / "trial.yaml"
    grid.write_text(
        "defaults: {model: tiny, members: 200, external: 300, calibration: 100, holdout: 150}\n"
        "runs:\n- {dataset: [cifar10, mnist], method: [active, plain]}\n"
    )
    arguments = ["plan", "--profile", "trial", "--grid", str(grid), "--seconds", "0"]
    assert main([*arguments, "--jobs", "2"]) == 0
    printed, folder = capsys.readouterr().out, results_root() / "trial"
    table = pd.read_csv(folder / "plan.csv")
    assert len(table) == 4
    assert {"machine", "date", "hours", "memory_gib"} <= set(table)
    assert set(table["estimate"]) == {"assumed rate"}
    assert "4 runs to do, 0 done." in printed
    rough = "ROUGH: of 4 of these runs no case of the same model was measured"
    assert rough in printed
    assert rough in (folder / "plan.md").read_text()
    assert "2 side by side" in printed
    assert all(run in (folder / "plan.md").read_text() for run in table["run"])


@pytest.mark.parametrize("wrong", [["--profile", "papr"], ["--jobs", "0"], ["--seconds", "-1"]])
def test_bad_options_are_clear_errors(wrong, capsys):
    assert main(["plan", *wrong]) == 2
    assert {"papr": "'paper'", "0": "jobs = 0", "-1": "seconds = -1"}[wrong[1]] in (
        capsys.readouterr().err
    )
    for seconds in (math.nan, math.inf, 1e300):
        with pytest.raises(SettingsError, match=r"give 0 to 86,400 seconds"):
            plan.show("quick", seconds=seconds)


def test_a_wider_head_counts_for_more():
    narrow, wide = (
        counts_of(workload_of(settings(head_width=width), ACTIVE)).membership for width in (8, 64)
    )
    assert narrow < wide


def test_counted_operations_are_those_of_the_built_model():
    case = workload_of(settings(), ACTIVE)
    model, images = build(made_up.made_up(case)), torch.zeros(2, 3, 32, 32)
    for call, counted in (
        (lambda: model.audited(images), counts_of(case).classify),
        (lambda: model.membership(images), counts_of(case).membership),
    ):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            call()
        assert counter.get_total_flops() / 2 == counted


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_measures_steps_and_scoring(kind, done):
    with measure.training(workload_of(settings(), kind)) as training:
        before = done["steps"]
        found = training.measure(0)
        assert done["steps"] - before == 2  # one to warm up, and one that is timed
    assert "made-up training" not in {thread.name for thread in threading.enumerate()}
    assert min(found.step, found.classify) > 0
    assert (found.score > 0) if kind.has_head else math.isnan(found.score)
    assert found.memory >= found.idle > 0


@pytest.mark.parametrize("given", [{}, {"recipe": "staged_ensemble"}, {"low_pass": True}])
@pytest.mark.parametrize("method", ["active", "attached", "undeclared", "joint"])
def test_measures_both_stages(method, given, done):
    run = settings(**{"recipe": "staged", "head_batch": 16, "method": method} | given)
    for part in work_of(run).trainings:
        case = part.workload
        with measure.training(case) as training:
            before = done["steps"]
            found = training.measure(0)
            assert done["steps"] - before == 2  # one to warm up, and one that is timed
        assert min(found.step, found.classify) > 0
        assert (found.score > 0) if case.kind.has_head else math.isnan(found.score)
        assert (found.record > 0) if case.stage == "head" else math.isnan(found.record)
        assert found.memory >= found.idle > 0


def test_a_second_stage_costs_its_recording_and_a_pass_of_each_head(no_data):
    plain, one = (settings(recipe="staged", method=name) for name in ("plain", "attached"))
    three = settings(recipe="staged_ensemble", method="attached")
    table = plan.make({run.id: run for run in (plain, one, three)}, seconds=0).table
    assert table["trainings"].tolist() == [1, 2, 2]
    assert table["paid_by"].tolist() == ["", plain.id, plain.id]
    trunk, *_, head = work_of(one).trainings
    assert (trunk.workload.stage, head.workload.stage) == ("trunk", "head")
    steps = [work_of(run).trainings[-1].steps for run in (one, three)]
    assert steps == [head.steps, 3 * head.steps]
    # An ensemble's step trains one of its heads.
    assert step_flops(work_of(three).trainings[-1].workload) == step_flops(head.workload)
    costs = {head.workload.key: Cost(1.0, 0.0, 0.0, 500.0, 0.0, "measured", record=2.0)}
    # Members, external images and two copies of each.
    assert estimate.seconds_of(head, costs[head.workload.key]) == head.steps + 2 * (200 + 3 * 300)


def test_recordings_lie_in_a_gpus_memory():
    work = work_of(settings(recipe="staged", method="attached"))
    costs = {one.key: Cost(1, 0, 0, 500, 300, "measured", record=1) for one in work.workloads}
    (_, gpu), tapped = estimate.memory(work, costs), counts_of(work.scoring.workload).tapped
    # And all of CIFAR-10's images, and one byte a number.
    assert work.pixels == 60_000 * 32 * 32 * 3
    assert gpu == pytest.approx(300 + (2 * 1_100 * tapped + work.pixels) / 2**20)
    model, images = build(made_up.made_up(work.scoring.workload)), torch.zeros(2, 3, 32, 32)
    resident = Resident(images.byte().permute(0, 2, 3, 1), torch.zeros(2, dtype=torch.int64))
    shapes = activations.shapes_of(model.audited, model.taps, resident)
    assert tapped == sum(map(math.prod, shapes.values()))
    on_cpu = {key: replace(one, gpu=0.0) for key, one in costs.items()}
    assert estimate.memory(work, on_cpu)[1] == 0


def test_recordings_on_disk_are_planned_and_refused_beforehand(no_data, monkeypatch):
    run = settings(recipe="staged", method="attached")
    tapped = counts_of(work_of(run).scoring.workload).tapped
    made = plan.make({run.id: run}, seconds=0)
    assert made.table["disk_gib"].tolist() == [pytest.approx(2 * 1_100 * tapped / 2**30)]
    assert "disk GiB" in made.text()
    assert "TOO LARGE" not in made.text()
    monkeypatch.setattr(plan, "DISK_BUDGET", 1_000)
    assert f"TOO LARGE: {run.id} would record more activations" in made.text(markdown=True)
    assert "disk GiB" not in plan.make({"one": settings()}, seconds=0).text()


def test_a_stage_that_was_not_measured_follows_from_another():
    run = settings(recipe="staged")
    trunk, head = (workload_of(run, ACTIVE, stage) for stage in ("trunk", "head"))
    found = Cost(2.0, 0.1, 0.2, 300.0, 0.0, "measured", 100.0, "a machine")
    cost = estimate.cost_of(head, {trunk.key: trunk}, {trunk.key: found})
    assert cost.step == pytest.approx(2 * step_flops(head) / step_flops(trunk))
    counts = counts_of(head)
    assert cost.record == pytest.approx(0.1 * counts.shared / counts.classify)
    assert cost.memory > 100
    again = replace(found, record=0.05)
    assert estimate.cost_of(head, {trunk.key: trunk}, {trunk.key: again}).record == 0.05


def test_measures_in_a_process_of_its_own():
    case = workload_of(settings(), MEMORIZER)
    found = measure.measure_apart(case, 0, limit=600)
    assert found.step > 0
    assert found.memory > found.idle
    assert measure.measure_apart(case, 0, limit=0) is None


def test_unmeasured_cases_follow_from_the_nearest():
    near, far = workload_of(settings(), ACTIVE), workload_of(settings(model="mobilenet"), ACTIVE)
    case = workload_of(settings(batch_size=100), ACTIVE)
    found = Cost(2.0, 0.1, 0.1, 300.0, 0.0, "measured", 100.0, "a machine")
    cases, wrong = {one.key: one for one in (near, far)}, Cost(9e9, 1, 1, 1, 0, "measured", 1)
    cost = estimate.cost_of(case, cases, {far.key: wrong, near.key: found})
    assert cost.source == "from FLOPs"
    assert cost.step == pytest.approx(2 * found.step)
    assert cost.classify == pytest.approx(found.classify)
    # Weights do not grow with the batch, what is kept for the backward pass does.
    assert found.memory < cost.memory < 100 + 2 * 200
    assert estimate.cost_of(near, cases, {near.key: found}).source == "measured"
    assert estimate.cost_of(far, cases, {near.key: found}).source == "from FLOPs, other model"


def test_runs_of_unmeasured_models_are_counted(no_data, monkeypatch):
    measured = workload_of(settings(), ACTIVE)
    found = Cost(2.0, 0.1, 0.1, 300.0, 0.0, "measured", 100.0, "a machine")
    monkeypatch.setattr(estimate, "calibrate", lambda *_: {measured.key: found})
    monkeypatch.setattr(measure, "seconds_to_start", lambda: 0.0)
    shares = iter([0.02, 0.6])
    monkeypatch.setattr(busy, "share", lambda: next(shares))
    runs = [settings(), settings(image_size=64), settings(model="mobilenet")]
    made = plan.make({run.id: run for run in runs}, seconds=1)
    assert made.table["estimate"].tolist() == ["measured", "from FLOPs", "from FLOPs, other model"]
    assert "ROUGH: of 1 of these runs" in made.totals()[-1]
    assert "the machine was BUSY (other work took 60% of it)" in made.text()
    finish(runs[-1])
    shares = iter([0.02, 0.03])
    quiet = plan.make({run.id: run for run in runs}, seconds=1)
    assert "ROUGH" not in quiet.text(markdown=True)
    assert "BUSY" not in quiet.text()


def test_other_work_is_seen():
    burning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert busy.share(0.3) >= 0.5 / os.cpu_count()
    finally:
        burning.kill()
        burning.wait()


def test_calibration_begins_with_one_case_of_each_model():
    given = [
        settings(model=model, image_size=size) for size in (64, 32) for model in ("vit", "tiny")
    ]
    cases = {case.key: case for case in (workload_of(run, ACTIVE) for run in given)}
    order = estimate.in_order(cases, {key: step_flops(case) for key, case in cases.items()})
    first = [(cases[key].settings.model, cases[key].image_size) for key in order]
    # The tiny model, from which little can be told, comes after the real one.
    assert first == [("vit", 32), ("tiny", 32), ("vit", 64), ("tiny", 64)]


def test_runs_side_by_side():
    assert estimate.side_by_side([3, 1, 1, 1], 2) == 3
    assert estimate.side_by_side([3, 1, 1, 1], 1) == 6
    # Each of the first two takes two of three lanes; none is too wide.
    assert estimate.side_by_side([3, 2, 2], 3, [2, 2, 1]) == 5
    assert estimate.side_by_side([3, 2], 2, [9, 1]) == 5


def test_resources_without_a_plan_grow_with_the_work():
    small, large = plan.resources(settings()), plan.resources(settings(epochs=4_000, image_size=64))
    assert small["mem_mb"] > 2_048
    assert large["mem_mb"] > small["mem_mb"]
    assert 15 <= small["runtime"] < large["runtime"]
    assert json.dumps(small)  # whole numbers of Python's own, as Snakemake wants them


def test_resources_follow_the_plan():
    run = settings()
    file = results_root() / "trial" / "plan.csv"
    file.parent.mkdir(parents=True)
    row = {"run": run.id, "workers": 1, "hours_alone": 2.0, "memory_gib": 4.0}
    pd.DataFrame([row]).to_csv(file, index=False)
    assert plan.resources(run) == {"mem_mb": 4 * 1_280 + 1_024, "runtime": 2 * 120 + 15}
    assert plan.resources(settings(seed=9)) != plan.resources(run)


def test_resources_do_not_follow_a_plan_for_other_workers():
    alone, four = (settings(method="lira_online", workers=count) for count in (1, 4))
    assert alone.id == four.id
    file = results_root() / "trial" / "plan.csv"
    file.parent.mkdir(parents=True)
    row = {"run": alone.id, "workers": 1, "hours_alone": 2.0, "memory_gib": 4.0}
    pd.DataFrame([row]).to_csv(file, index=False)
    assert plan.resources(alone)["runtime"] == 2 * 120 + 15
    found = plan.resources(four)
    file.unlink()
    assert found == plan.resources(four)
    assert found["mem_mb"] > 4 * plan.resources(alone)["mem_mb"] / 2
    assert found["runtime"] <= plan.resources(alone)["runtime"]

"""The machinery of the benchmarks, on the tiny model; no time is asserted."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import amint_core as amint
from amint_core.batch.planning.worker import WorkerEndedError
from amint_core.errors import SettingsError
from amint_core.locations import project_root
from amint_core.model.zoo import AUDITED
from amint_core.training.kinds import ACTIVE, PLAIN
from amint_core.training.precision import chosen_precision
from benchmarks import (
    attached,
    chart,
    figures,
    floor,
    growth,
    hidden,
    loading,
    outsiders,
    own_heads,
    several_heads,
    shadows,
    tables,
)
from benchmarks.configurations import Configuration, configurations
from benchmarks.encoded import write_files
from benchmarks.loading import BenchmarkError
from benchmarks.loops import start
from benchmarks.ours import OurLoop, our_model
from benchmarks.pairs import Ratio, interleaved
from benchmarks.published import Files, PublishedLoop, published_model
from benchmarks.resumed import Rows
from benchmarks.steps import counted, measure_steps

TINY = Configuration("tiny", 16, batch=4, classes=5, threads=1, target=2.0)


@pytest.fixture
def files(tmp_path):
    return write_files(tmp_path, TINY.image_size, 16)


@pytest.fixture(scope="module")
def row():
    return measure_steps(TINY, seconds=0.0, throughput=1e9)


def test_every_paper_model_is_measured_and_the_four_at_64_pixels():
    for device in ("cpu", "cuda"):
        sizes = {(case.model, case.image_size) for case in configurations(device)}
        at_32 = {model for model, size in sizes if size == 32}
        assert at_32 == set(AUDITED) - {"tiny", "convnet", "resnet8"}
        at_64 = {model for model, size in sizes if size == 64}
        assert at_64 == {"mobilenet", "resnet50", "densenet121", "xception"}


def test_encoded_files_become_scaled_images(files):
    image, label = Files(files, TINY.image_size, TINY.classes)[16 + 3]
    assert image.shape == (3, 16, 16)
    assert label == 3
    assert -1 <= image.min() < image.max() <= 1


def test_the_published_step_computes_what_its_description_says(files):
    loop = PublishedLoop(TINY, files)
    passes, model = [], loop.model
    model.audited.stem.register_forward_pre_hook(lambda _, given: passes.append(given[0]))
    model.audited.stage4.register_forward_pre_hook(lambda _, given: passes.append(given[0]))
    before = {name: value.clone() for name, value in model.named_parameters()}
    first = loop.step()
    # Members through the whole model, then external images as far as the deepest tap.
    assert [tuple(images.shape) for images in passes] == [
        (4, 3, 16, 16),
        (4, 16, 4, 4),
        (4, 3, 16, 16),
    ]
    assert not torch.equal(passes[0], passes[2])
    assert {images.dtype for images in passes} == {torch.float32}
    # Each loss is divided by its value on the first batch.
    assert float(first) == pytest.approx(2.0)
    assert set(loop.first) == {"audited", "mint"}
    assert all(not torch.equal(before[name], value) for name, value in model.named_parameters())
    (group,) = loop.optimizer.param_groups
    assert (group["lr"], group["weight_decay"], type(loop.optimizer)) == (1e-4, 0, torch.optim.Adam)


def test_the_published_losses_are_those_of_the_paper(files):
    logits, inside, outside = torch.randn(4, 5), torch.randn(4), torch.randn(4)
    labels = torch.tensor([0, 1, 2, 3])
    found = PublishedLoop._losses(logits, labels, inside, outside)
    audited = -torch.log_softmax(logits, 1)[torch.arange(4), labels].mean()
    mint = -torch.cat([inside.sigmoid().log(), (1 - outside.sigmoid()).log()]).mean()
    torch.testing.assert_close(found, {"audited": audited, "mint": mint})


def test_the_published_maps_and_heads_are_the_notebooks():
    taps = {
        "xception": ("block11",),
        "vit": ("blocks.7",),
        "mobilenet": ("blocks.2", "blocks.3"),
    }
    for model, expected in taps.items():
        assert published_model(Configuration(model, 32)).taps == expected


def test_our_loop_trains_through_the_code_of_a_run():
    loop, alone = OurLoop(TINY), OurLoop(TINY, plain=True)
    before = loop.model.head.decide[0].weight.clone()
    assert loop.steps(2) > 0
    assert not torch.equal(before, loop.model.head.decide[0].weight)
    assert alone.steps(1) > 0
    # What `fit` says of the steps once there are no more.
    history, of_plain = loop.steps(0), alone.steps(0)
    assert {"audited_loss", "mint_loss"} <= set(history)
    told = {name for name in of_plain if name.endswith(("_loss", "_accuracy"))}
    assert told == {"audited_loss", "audited_accuracy"}
    assert (loop.step.kind, alone.step.kind) == (ACTIVE, PLAIN)
    # What a loop computes in is its own process's affair: this one is as it was.
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_convolution_is_counted_by_hand_depthwise_too():
    images = torch.randn(2, 8, 6, 6)
    for groups, outputs in ((1, 4), (8, 8)):
        layer = nn.Conv2d(8, outputs, 3, padding=1, groups=groups, bias=False)
        forward = 2 * 2 * outputs * 36 * 9 * 8 // groups  # 2·B·C_out·H·W·K²·C_in/groups
        given = images.clone().requires_grad_()
        assert floor.count(lambda: layer(images)) == forward  # noqa: B023
        assert floor.count(lambda: layer(images).sum().backward()) == 2 * forward  # noqa: B023
        assert floor.count(lambda: layer(given).sum().backward()) == 3 * forward  # noqa: B023


def test_the_floor_is_the_hand_count_of_the_tiny_model():
    least = counted(TINY)
    batch = TINY.batch
    # stem, stage 1 to 4: 3×3 convolutions at 16, 16, 8, 4 and 2 pixels; no gradient to images.
    stem, first, second, third, fourth = (
        2 * batch * 9 * inputs * outputs * side**2
        for inputs, outputs, side in ((3, 8, 16), (8, 8, 16), (8, 12, 8), (12, 16, 4), (16, 24, 2))
    )
    classifier = 2 * batch * 24 * TINY.classes
    shared = 2 * stem + 3 * (first + second + third)
    assert least.plain == shared + 3 * (fourth + classifier)
    assert least.shared == pytest.approx(shared / least.plain)
    # Lean head on (12, 8, 8) and (16, 4, 4): 1×1 to 128, cells to 512, 1024 to 256 to 1.
    head = 128 * (12 * 64 + 16 * 16) + 2 * (128 * 16 * 512) + 1024 * 256 + 256
    assert least.head * least.plain == pytest.approx(3 * 2 * (2 * batch) * head)
    # Our step computes that and no more.
    assert least.active == pytest.approx(least.price * least.plain)


def test_pairs_take_turns_and_give_the_median_of_their_ratios():
    order = []

    def turn(name, seconds):
        return lambda: order.append(name) or next(seconds)

    times = interleaved(
        {"slow": turn("slow", iter([9, 4.0, 6, 8])), "quick": turn("quick", iter([9, 2.0, 2, 2]))},
        seconds=0.0,
    )
    assert order == ["slow", "quick"] * 4
    assert times == {"slow": [4.0, 6, 8], "quick": [2.0, 2, 2]}
    assert Ratio.of(times["slow"], times["quick"]) == Ratio(3.0, 2.0, 4.0)


def test_a_case_has_all_its_ratios(row):
    assert row["model"] == "tiny"
    assert row["rounds"] == 3
    assert row["active_precision"] == row["plain_precision"] == chosen_precision("auto")
    for name in ("speedup", "price", "scoring"):
        assert 0 < row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert row["floor"] == counted(TINY).price
    assert row["price_over_floor"] == row["price"] / row["floor"]
    for kind in ("", "process_"):
        ours, published = (row[f"{loop}_{kind}bytes"] for loop in ("active", "published"))
        assert row[f"{kind}memory"] == ours / published
    assert row["active_bytes"] < row["active_process_bytes"]
    assert row["images_per_second"] == 2 * TINY.batch / row["active_seconds"]


def test_results_carry_machine_ratios_and_targets(row, tmp_path):
    results = {
        **{"machine": {"device": "Some CPU", "cores": 2, "memory_gib": 8.0}},
        **{"matrix": {"fp32": 1e11, "bf16": 2e11}, "others": [0.01, 0.4, 0.02]},
        **{"loading": [], "growth": [], "shadows": []},
        "steps": [
            {
                **row,
                "speedup": 1.5,
                "speedup_low": 1.0,
                "speedup_high": 2.0,
                "price_over_floor": 1.0,
                "memory": 0.75,
            }
        ],
    }
    results["machine"]["versions"] = {"torch": "2"}
    tables.write_all(results, tmp_path, "cpu")
    written = {path.suffix for path in tmp_path.iterdir()}
    assert written == {".json", ".md", ".csv", ".png", ".svg"}
    text = (tmp_path / "cpu.md").read_text()
    assert "Some CPU (2 cores" in text
    assert "1.50" in text
    marked = "the machine was BUSY (other work took 40% of it)"
    assert marked in text
    assert marked in chart.draw(results).legends[0].get_title().get_text()
    results["others"] = [0.01]
    assert "BUSY" not in tables.markdown(results)
    assert json.loads((tmp_path / "cpu.json").read_text())["steps"][0]["speedup"] == 1.5
    assert pd.read_csv(tmp_path / "cpu.csv")["speedup"].tolist() == [1.5]
    outcomes = [one[""] for one in tables.targets(results)]
    assert outcomes == ["missed by 25 %", "met", "missed by 50 %"]


def test_loading_growth_and_shadows_on_little():
    found = loading.measure_loading("cpu", files=256, large=4_096)
    assert found["large"] == 4_096
    assert found["cold_per_second"] > 0
    assert {"warm_over_published", "large_over_warm"} <= set(found)
    small = replace(TINY, image_size=32)
    grown = growth.measure_growth(small, 0.0)
    assert {row["grows"] for row in grown} >= {"image size", "classes"}
    assert [row["ratio"] for row in grown if row["to"] in (32, 10)] == [1.0, 1.0]
    assert shadows.measure_shadows(small, 0.0)["speedup"] > 0


def test_a_loop_that_fails_says_why():
    with (
        start("active", replace(TINY, model="nobody")) as loop,
        pytest.raises(SettingsError, match="Unknown model 'nobody'"),
    ):
        loop.ask("steps", 1)


def test_a_loop_that_was_killed_says_so():
    with start("plain", TINY) as loop:
        assert loop.ask("steps", 1) > 0
        loop.process.kill()
        loop.process.join()
        for _ in range(2):
            with pytest.raises(
                WorkerEndedError,
                match=r"plain loop of tiny 16×16 .* \((killed by SIGKILL|how is not known)\)",
            ):
                loop.ask("steps", 1)


def test_every_figure_has_a_section():
    results = figures.no_results("cpu")
    for figure in figures.figures("cpu", only=[TINY]):
        figures.add(results, figure, {"of": figure.name})
    assert all(results[section] for section in ("steps", "loading", "growth", "shadows"))


def test_the_large_cache_holds_random_images_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(loading.tempfile, "tempdir", str(tmp_path))
    pixels, _ = loading._large_cache(5_000)
    assert not list(tmp_path.iterdir())
    assert pixels.shape == (5_000, 64, 64, 3)
    assert np.array_equal(pixels[0], pixels[4_096])
    assert pixels[1].std() > 50


def test_what_is_written_is_said_and_refused_without_space(monkeypatch, capsys):
    loading.announce(large=1_000)
    assert "a file of 0.0 GB" in capsys.readouterr().out
    monkeypatch.setattr(loading.shutil, "disk_usage", lambda _: SimpleNamespace(free=6e9))
    with pytest.raises(BenchmarkError, match=r"of 5\.5 GB in .*, which has 6\.0 GB left\. Free"):
        loading.announce()


def test_counting_leaves_no_hook_behind():
    model = our_model(TINY).to("meta")
    floor.floor(model, torch.zeros(2, 3, 16, 16, device="meta"), 5)
    assert not model.head._forward_pre_hooks


def test_an_experiment_goes_on_after_the_rows_that_are_there(tmp_path):
    rows = Rows(tmp_path / "t.csv")
    for key in ({"width": "fit", "seed": 1}, {"width": 32, "seed": 1}):
        assert not rows.has(key)
        rows.add(key | {"auc": 1 / 3})
    again = Rows(tmp_path / "t.csv")
    assert again.has({"width": 32, "seed": 1})
    assert not again.has({"width": 32, "seed": 2})
    assert not again.has({"width": 3, "seed": 1})
    assert list(again.table["auc"]) == ["0.3333"] * 2
    assert {"hardware", "commit", "changed"} <= set(again.table)


def test_rows_of_other_settings_count_as_none(tmp_path):
    key = {"change": "four heads", "seed": 1, "settings": {"heads": 4, "batch": 256}}
    Rows(tmp_path / "t.csv").add(key | {"auc": 0.9})
    rows = Rows(tmp_path / "t.csv")
    assert rows.has(key | {"settings": {"batch": 256, "heads": 4}})
    assert not rows.has(key | {"settings": {"heads": 4, "batch": 512}})


@pytest.mark.parametrize("module", [attached, hidden, own_heads])
def test_committed_rows_are_of_the_settings_at_hand(monkeypatch, module):
    def anew(*_, **__):
        raise AssertionError("a row would be computed anew")

    for name in ("trial", "shadow_models", "attached", "fitted", "fitted_then_attached"):
        monkeypatch.setattr(module, name, anew, raising=False)
    monkeypatch.setattr(module, "dealt", lambda *_: {}, raising=False)  # of images not at hand
    monkeypatch.setattr(Rows, "add", anew)  # which writes
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    assert module.main(["--out", str(project_root() / "results" / "audit")]) == 0


def test_a_plain_loop_learns_and_its_models_get_heads():
    torch.manual_seed(0)
    labels = np.arange(60) % 3
    pixels = np.random.default_rng(0).integers(0, 60, (60, 32, 32, 3)).astype(np.uint8)
    pixels[..., 0] += (60 * labels[:, None, None]).astype(np.uint8)  # a class is a shade of red
    net = outsiders.Tutorial()
    outsiders.train(net, pixels, labels, epochs=30)
    assert not net.training
    answers = net(outsiders.HOW.normalise(pixels).contiguous()).argmax(1)
    assert (answers.numpy() == labels).mean() > 0.9
    images = torch.randn(5, 3, 32, 32)
    seen = outsiders.moved(images)
    assert seen.shape == images.shape
    assert not torch.equal(seen, images)
    others = np.random.default_rng(1).integers(0, 256, (400, 32, 32, 3)).astype(np.uint8)
    sizes = {"members": 60, "external": 80, "calibration": 60, "holdout": 160}
    roles = amint.deal(np.concatenate([pixels, others]), np.arange(460) % 3, **sizes)
    row = attached.trial("tutorial", roles, 1, 0, head_epochs=1)
    assert row["weights unchanged"]
    assert row["head share"] > 1


def test_heads_are_judged_alone_and_together(tmp_path, monkeypatch):
    small = {"data": "standin", "model": "tiny", "members": 100, "external": 120, "epochs": 1}
    small |= {"calibration": 1_000, "holdout": 1_000, "head_epochs": 1, "head_batch": 20}
    changes = {"three heads": {"head_count": 3}, "one": {}}
    monkeypatch.setattr(several_heads, "SETTINGS", several_heads.SETTINGS | small)
    monkeypatch.setattr(several_heads, "CHANGES", changes)
    assert several_heads.main(["--seeds", "5", "--out", str(tmp_path)]) == 0
    table = pd.read_csv(tmp_path / "several_heads.csv")
    found = table[table["change"] == "three heads"]
    heads = [("head 1", 1), ("head 2", 1), ("head 3", 1)]
    joined = [("mean", 2), ("lowest", 2), ("mean", 3), ("lowest", 3)]
    assert list(zip(found["joined"], found["heads"], strict=True)) == heads + joined
    # The first of several learns as one alone.
    of = ["auc", "tpr at 0.01", "tpr at 0.001"]
    alone = table.loc[table["change"] == "one", of].to_numpy()
    assert alone.tolist() == found[of].head(1).to_numpy().tolist()
    assert found["auc"].nunique() > 3
    assert several_heads.main(["--seeds", "5", "--out", str(tmp_path)]) == 0
    assert len(pd.read_csv(tmp_path / "several_heads.csv")) == len(table)

"""A trained model goes into a folder and comes out the same; the command line audits with it."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from audit_folders import fill, hazards, pictures
from safetensors.torch import load_file, save_file
from small_run import SMALL
from torch import nn

import amint_core as amint
from amint_core.audit import images, model_folder
from amint_core.audit.auditable import Card
from amint_core.audit.export import export
from amint_core.audit.fingerprints import Published
from amint_core.audit.ledger import Ledger
from amint_core.audit.model_folder import WEIGHTS
from amint_core.audit.statement import LedgerError, hash_of_weights, public_key_of, publish
from amint_core.audit.statement import read as read_statement
from amint_core.cli import main
from amint_core.config import RunConfig
from amint_core.errors import (
    DamagedError,
    ModelError,
    ProtocolError,
    ResultsError,
    SettingsError,
)
from amint_core.evaluation.metrics import auc
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.model.inference import membership_logits
from amint_core.store import hashes, read_sealed, write_sealed

HOW = amint.Preprocessing(16, 16)
MEMBERS, STRANGERS = pictures(1, 60), pictures(3, 400)


class OwnNet(nn.Module):
    """A class that the zoo does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, 2, padding=1), nn.ReLU())
        self.classify = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

    def forward(self, batch):
        return self.classify(self.second(self.first(batch)))


def enhanced(seed: int = 0):
    """An untrained model whose batch statistics are not the initial ones."""
    torch.manual_seed(seed)
    model = amint.enhance(OwnNet(), ("first", "second"), torch.zeros(2, 3, 16, 16))
    model.train()(HOW.normalise(STRANGERS[:64]))
    return model


@pytest.fixture
def own_folder(tmp_path) -> Path:
    made = amint.auditable(enhanced(), HOW, STRANGERS, MEMBERS, views="flips", card={"by": "me"})
    return amint.save(made, tmp_path / "own")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path, dict]:
    """A finished run's folder, the folder exported from it, and some of its images by role."""
    root = tmp_path_factory.mktemp("finished")
    places = {"AMINT_CACHE": str(root / "cache"), "AMINT_RESULTS": str(root / "results")}
    with pytest.MonkeyPatch.context() as moved:
        for name, place in places.items():
            moved.setenv(name, place)
        config = SMALL | {"dataset": "cifar10", "image_size": 16, "members": 200, "external": 300}
        config |= {
            "calibration": 300,
            "holdout": 900,
            # Enough to recognise a third of the members or more at this false-discovery rate.
            "epochs": 24,
            "recipe": "best",
            "batch_size": 25,
        }
        run = amint.Run(amint.RunConfig.create(**config))
        amint.train(run)
        amint.score(run)
        amint.evaluate(run)
        folder = export(run.folder, root / "auditable")
        # Roles are in the order of the dataset, which is that of the classes: in it the first
        # strangers are of another kind than the last.
        roles = dict(run.data.split.roles)
        roles["holdout"] = np.random.default_rng(0).permutation(roles["holdout"])
        pixels = {role: run.data.dataset.pixels[at] for role, at in roles.items()}
        logits = {
            role: membership_logits(run.model, each.__getitem__, len(each), "cpu")
            for role, each in pixels.items()
        }
    return run.folder, folder, {"pixels": pixels, "logits": logits}


@pytest.fixture(scope="module")
def photos(finished, tmp_path_factory) -> Path:
    """Return 50 members and 150 strangers among files that are hazards."""
    pixels = finished[2]["pixels"]
    folder = tmp_path_factory.mktemp("photos")
    hazards(folder)
    images.write(pixels["members"][::4], folder, "member")
    return images.write(pixels["holdout"][:150], folder, "stranger")


# In the folder and out again.


def test_a_model_of_ones_own_class_comes_back_bit_for_bit(own_folder) -> None:
    before = amint.auditable(enhanced(), HOW, STRANGERS, MEMBERS, views="flips")
    after = amint.load(own_folder, model=OwnNet())
    weights = after.enhanced.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in before.enhanced.state_dict().items())
    batch = HOW.normalise(MEMBERS)
    assert torch.equal(after.score(batch), before.score(batch))
    assert np.array_equal(after.calibration.scores, before.calibration.scores)
    assert np.array_equal(after.calibration.statistics, before.calibration.statistics)
    assert after.calibration.hashes == before.calibration.hashes
    assert np.array_equal(after.members, before.members)
    assert (after.preprocessing, after.views, after.card) == (HOW, "flips", {"by": "me"})
    assert not after.enhanced.training
    assert repr(after).startswith("AuditableModel(OwnNet, 16×16×3, ")


def test_a_card_that_is_no_json_leaves_the_folder_as_it_was(own_folder) -> None:
    made = amint.load(own_folder, model=OwnNet())
    before = {file.name: file.read_bytes() for file in own_folder.iterdir()}
    with pytest.raises(ModelError, match=r"cannot be written as JSON.*float\(value\)"):
        amint.save(replace(made, card={"share": np.float32(0.5)}), own_folder)
    assert {file.name: file.read_bytes() for file in own_folder.iterdir()} == before


def test_what_the_head_sees_comes_back_with_the_model(tmp_path) -> None:
    net = enhanced()
    net.low_pass = True
    before = amint.auditable(net, HOW, STRANGERS)
    after = amint.load(amint.save(before, tmp_path / "soft"), model=OwnNet())
    batch = HOW.normalise(MEMBERS)
    assert after.enhanced.low_pass
    assert torch.equal(after.score(batch), before.score(batch))
    assert not torch.equal(
        after.score(batch), amint.auditable(enhanced(), HOW, STRANGERS).score(batch)
    )


def test_loading_leaves_the_callers_random_numbers(own_folder) -> None:
    net, state = OwnNet(), torch.get_rng_state()
    amint.load(own_folder, model=net)
    assert torch.equal(torch.get_rng_state(), state)


def test_files_of_another_origin_are_not_replaced(own_folder, tmp_path) -> None:
    made = amint.load(own_folder, model=OwnNet())
    (tmp_path / "mine").mkdir()
    weights = tmp_path / "mine" / "model.safetensors"
    weights.write_text("precious")
    with pytest.raises(ResultsError, match="is of something else, and would be replaced"):
        amint.save(made, tmp_path / "mine")
    with pytest.raises(ResultsError, match="is a file"):
        amint.save(made, weights)
    assert weights.read_text() == "precious"
    (own_folder / "auditable.json").write_text("{}")  # damaged, but of such a folder
    assert amint.save(made, own_folder) == own_folder


def test_a_folder_that_was_being_written_is_not_whole_and_can_be_written_again(
    own_folder, monkeypatch
) -> None:
    made = amint.load(own_folder, model=OwnNet())
    with monkeypatch.context() as broken:
        # Fails at the last file, which says that the folder is whole.
        broken.setattr(
            model_folder,
            "write_sealed",
            lambda path, values: write_sealed(path, values) if values["model"] is None else 1 / 0,
        )
        with pytest.raises(ZeroDivisionError):
            amint.save(made, own_folder)
    with pytest.raises(ResultsError, match="is not whole"):
        amint.load(own_folder, model=OwnNet())
    amint.save(made, own_folder)
    amint.load(own_folder, model=OwnNet())


@pytest.mark.parametrize("library", ["save_file", "_arrays"])
def test_a_model_that_cannot_be_written_leaves_the_one_before(
    own_folder, monkeypatch, library
) -> None:
    made = amint.load(own_folder, model=OwnNet())
    before = {path.name: path.read_bytes() for path in own_folder.iterdir()}

    def refuse(*_):
        raise RuntimeError("I/O error: No space left on device (os error 28)")  # as safetensors

    with monkeypatch.context() as broken:
        broken.setattr(model_folder, library, refuse)
        with pytest.raises(ResultsError, match="No space left on device"):
            amint.save(made, own_folder)
    assert {path.name: path.read_bytes() for path in own_folder.iterdir()} == before
    amint.load(own_folder, model=OwnNet())


def test_a_class_of_ones_own_is_asked_for_by_name(own_folder) -> None:
    with pytest.raises(ModelError, match=r"'OwnNet'.*load\(folder, model=OwnNet\(\)\)"):
        amint.load(own_folder)


def test_another_class_is_refused(own_folder) -> None:
    class Other(OwnNet):
        def __init__(self) -> None:
            super().__init__()
            self.classify[2] = nn.Linear(8, 7)

    with pytest.raises(ModelError, match="do not fit the model"):
        amint.load(own_folder, model=Other())


@pytest.mark.parametrize("name", ["model.safetensors", "scores.safetensors", "auditable.json"])
def test_a_changed_file_is_named(own_folder, name) -> None:
    content = bytearray((own_folder / name).read_bytes())
    content[-20] ^= 1
    (own_folder / name).write_bytes(content)
    with pytest.raises(DamagedError, match=rf"{name} in .* is damaged.*from its owner again"):
        amint.load(own_folder, model=OwnNet())


def test_a_missing_file_and_a_folder_of_something_else_are_named(own_folder, tmp_path) -> None:
    (own_folder / "scores.safetensors").unlink()
    with pytest.raises(DamagedError, match=r"scores.safetensors in .* damaged or missing"):
        amint.load(own_folder, model=OwnNet())
    with pytest.raises(ResultsError, match=r"holds no auditable model.*amint export"):
        amint.load(tmp_path)


def test_another_format_and_a_file_without_a_hash_are_refused(own_folder) -> None:
    manifest = read_sealed(own_folder / "auditable.json")
    files = {"scores.safetensors": manifest["files"]["scores.safetensors"]}
    write_sealed(own_folder / "auditable.json", {**manifest, "files": files})
    with pytest.raises(DamagedError, match=r"no hash of model.safetensors"):
        amint.load(own_folder, model=OwnNet())
    write_sealed(own_folder / "auditable.json", {**manifest, "format": "amint-auditable-9"})
    with pytest.raises(ResultsError, match=r"another version.*amint-auditable-9"):
        amint.load(own_folder, model=OwnNet())


def test_views_and_parts_of_a_model_that_a_later_version_has_are_refused(own_folder) -> None:
    manifest = read_sealed(own_folder / "auditable.json")
    amint.load(own_folder, model=OwnNet())
    write_sealed(own_folder / "auditable.json", {**manifest, "views": "spirals"})
    with pytest.raises(ResultsError, match="views 'spirals', which this package does not know"):
        amint.load(own_folder, model=OwnNet())
    model = {**manifest["model"], "high_pass": True}
    write_sealed(own_folder / "auditable.json", {**manifest, "model": model})
    with pytest.raises(ResultsError, match="says of its model high_pass, which this version"):
        amint.load(own_folder, model=OwnNet())


def test_preprocessing_that_this_version_does_not_know_is_refused(own_folder) -> None:
    manifest = read_sealed(own_folder / "auditable.json")
    for steps, words in (
        ({"sharpen": 2}, "does not fit this version"),
        ({"filter": "x"}, "filter"),
    ):
        changed = {**manifest, "preprocessing": manifest["preprocessing"] | steps}
        write_sealed(own_folder / "auditable.json", changed)
        with pytest.raises(SettingsError, match=words):
            amint.load(own_folder, model=OwnNet())


def test_swapped_weights_with_their_hash_score_otherwise(own_folder) -> None:
    # What content hashes cannot show; the signed statement is for that.
    weights = load_file(own_folder / "model.safetensors")
    weights["head.decide.2.bias"] += 1
    save_file(weights, own_folder / "model.safetensors")
    manifest = read_sealed(own_folder / "auditable.json")
    manifest["files"] |= hashes([own_folder / "model.safetensors"])
    write_sealed(own_folder / "auditable.json", manifest)
    before = amint.auditable(enhanced(), HOW, STRANGERS, views="flips")
    batch = HOW.normalise(MEMBERS)
    assert not torch.equal(amint.load(own_folder, OwnNet()).score(batch), before.score(batch))


def test_scores_are_fp32_and_in_evaluation_mode_whatever_went_before() -> None:
    model = enhanced()
    made = amint.auditable(model, HOW, STRANGERS)
    batch = HOW.normalise(MEMBERS)
    expected = made.score(batch)
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        found = made.score(batch)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_what_cannot_be_audited_is_refused_when_it_is_made() -> None:
    with pytest.raises(ProtocolError, match="49 calibration images are too few"):
        amint.auditable(enhanced(), HOW, STRANGERS[:49])
    with pytest.raises(ModelError, match=r"torch.bfloat16.*model.float\(\)"):
        amint.auditable(enhanced().bfloat16(), HOW, STRANGERS)
    with pytest.raises(ModelError, match=r"Unknown set of views 'flip'.*'flips'"):
        amint.auditable(enhanced(), HOW, STRANGERS, views="flip")


def test_a_list_is_read_before_it_is_asked(own_folder) -> None:
    made = amint.load(own_folder, model=OwnNet())
    with pytest.raises(SettingsError, match=r"published = 'list.json'.*Published.load"):
        made.audit(np.zeros((60, 16, 16, 3), np.uint8), published="list.json")


@pytest.mark.parametrize("card", [{"notes": 3}, {"notes": "abc"}, {"classes": 5}])
def test_a_card_that_an_audit_cannot_read_is_refused(card, own_folder) -> None:
    with pytest.raises(ModelError, match="give a list of strings"):
        amint.auditable(enhanced(), HOW, STRANGERS, card=card)
    manifest = read_sealed(own_folder / "auditable.json")
    write_sealed(own_folder / "auditable.json", {**manifest, "card": card})
    with pytest.raises(ModelError, match="give a list of strings"):
        amint.load(own_folder, model=OwnNet())


def test_statistics_of_another_form_are_refused(own_folder) -> None:
    manifest, path = read_sealed(own_folder / "auditable.json"), own_folder / "scores.safetensors"
    stored = safetensors.numpy.load_file(path)
    stored["statistics"] = np.ascontiguousarray(stored["statistics"][:, :3])
    safetensors.numpy.save_file(stored, path)
    manifest["files"] = hashes([own_folder / WEIGHTS, path])
    write_sealed(own_folder / "auditable.json", manifest)
    with pytest.raises(ModelError, match="statistics of another form"):
        amint.load(own_folder, model=OwnNet())


def test_statistics_that_are_no_numbers_are_refused(own_folder) -> None:
    manifest, path = read_sealed(own_folder / "auditable.json"), own_folder / "scores.safetensors"
    stored = safetensors.numpy.load_file(path)
    stored["statistics"] = np.full_like(stored["statistics"], np.nan)
    safetensors.numpy.save_file(stored, path)
    manifest["files"] = hashes([own_folder / WEIGHTS, path])
    write_sealed(own_folder / "auditable.json", manifest)
    with pytest.raises(ModelError, match="statistics that are no finite numbers"):
        amint.load(own_folder, model=OwnNet())


ODD_HEADS = [
    *[("low_pass", odd) for odd in ("yes", 0, None, [])],
    *[("head_count", odd) for odd in (0, 17, 10**9, True, "2", None)],
]


@pytest.mark.parametrize(("name", "odd"), ODD_HEADS)
def test_what_a_head_is_built_from_is_refused_where_it_is_odd(name, odd, own_folder) -> None:
    manifest = read_sealed(own_folder / "auditable.json")
    manifest["model"][name] = odd
    write_sealed(own_folder / "auditable.json", manifest)
    with pytest.raises(ModelError, match=f"{name} = "):
        amint.load(own_folder, model=OwnNet())


def test_a_head_of_ones_own_that_has_heads_is_not_taken_for_an_ensemble(tmp_path) -> None:
    class Mean(torch.nn.Module):
        def __init__(self, heads):
            super().__init__()
            self.heads = torch.nn.ModuleList(heads)

        def forward(self, maps):
            return torch.stack([head(maps) for head in self.heads]).mean(0)

    made = amint.enhance(OwnNet(), ("first", "second"), torch.zeros(2, 3, 16, 16), count=2)
    made.head = Mean(made.head.heads)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), np.uint8)
    model = amint.auditable(made, amint.Preprocessing(16, 16), pixels)
    with pytest.raises(ModelError, match="The head is a Mean"):
        amint.save(model, tmp_path / "mean")


@pytest.mark.parametrize("steps", [{"mean": (np.nan,)}, {"deviation": (np.inf,)}])
def test_a_mean_and_a_deviation_are_finite(steps) -> None:
    with pytest.raises(SettingsError, match="finite numbers"):
        amint.Preprocessing(8, 8, **steps)


def test_a_head_of_ones_own_is_not_kept(tmp_path) -> None:
    class Sum(nn.Module):
        def forward(self, maps):
            return maps[0].flatten(1).sum(1)

    model = enhanced()
    model.head = Sum()
    with pytest.raises(ModelError, match=r"a Sum.*LeanHead"):
        amint.save(amint.auditable(model, HOW, STRANGERS), tmp_path)


# From a run.


def test_an_exported_run_scores_as_the_run_does_in_an_empty_folder(finished, tmp_path) -> None:
    _, folder, truth = finished
    shutil.copytree(folder, tmp_path / "handed out")
    np.save(tmp_path / "asked.npy", truth["pixels"]["holdout"])
    code = (
        "import sys\n"
        "sys.modules |= {'jinja2': None, 'matplotlib': None}\n"  # only reports need the extra
        "import numpy as np, amint_core as amint\n"
        "model = amint.load('handed out')\n"
        "batches = np.array_split(np.load('asked.npy'), [256])\n"
        "scores = [model.score(model.preprocessing.normalise(each)).numpy() for each in batches]\n"
        "np.save('scores.npy', np.concatenate(scores))\n"
    )
    nowhere = {name: str(tmp_path / "nowhere") for name in ("AMINT_DATA", "AMINT_CACHE")}
    environment = {**os.environ, **nowhere, "AMINT_RESULTS": str(tmp_path / "nowhere")}
    environment |= {
        "PYTHONPATH": str(project_root()),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    scores = np.load(tmp_path / "scores.npy")
    assert np.array_equal(scores, truth["logits"]["holdout"])
    assert not (tmp_path / "nowhere").exists()


def test_a_run_exports_its_strangers_its_members_and_its_figures(finished) -> None:
    run, folder, truth = finished
    model = amint.load(folder)
    assert np.array_equal(model.calibration.scores, truth["logits"]["calibration"].astype(float))
    assert np.array_equal(model.members, truth["logits"]["members"].astype(float))
    assert auc(model.members, model.calibration.scores)["value"] > 0.8
    metrics = read_json(run / "metrics.json")
    assert model.card["mint"] == metrics["mint"]
    assert model.card["data"]["title"] == metrics["data"]["title"]
    assert any("STAND-IN" in note for note in model.card["notes"])
    assert (model.architecture, model.views) == ("tiny", "one")


def test_a_damaged_run_and_other_images_are_not_exported(finished, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    with open(run / "model.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xaa")  # of no ordinary number
    with pytest.raises(DamagedError, match=r"model.safetensors is not what the run wrote"):
        export(run, tmp_path / "out")
    metrics = read_json(finished[0] / "metrics.json")
    shutil.copytree(finished[0], tmp_path / "other")
    metrics["data"]["fingerprint"] = "0" * 64
    (tmp_path / "other" / "metrics.json").write_text(json.dumps(metrics))
    manifest = read_sealed(tmp_path / "other" / "manifest.json")
    manifest["files"] |= hashes([tmp_path / "other" / "metrics.json"])
    write_sealed(tmp_path / "other" / "manifest.json", manifest)
    with pytest.raises(ResultsError, match="dataset or split have changed since"):
        export(tmp_path / "other", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_no_run_and_one_of_a_timed_grid_are_not_exported(finished, tmp_path) -> None:
    with pytest.raises(ResultsError, match="no folder of a finished run"):
        export(tmp_path, tmp_path / "out")
    run = shutil.copytree(finished[0], tmp_path / "run")
    (run / "config.json").unlink()
    with pytest.raises(ResultsError, match="written by `amint grid`, which keeps no model"):
        export(run, tmp_path / "out")


def test_a_run_without_a_head_is_not_exported(tmp_path) -> None:
    run = amint.Run(amint.RunConfig.create(**SMALL, method="yeom"))
    amint.train(run)
    amint.score(run)
    amint.evaluate(run)
    with pytest.raises(SettingsError, match=r"no MINT head.*'yeom'.*active"):
        export(run.folder, tmp_path / "out")


def test_what_an_audit_must_not_forget_is_noted() -> None:
    from amint_core.audit.export import _card

    class Data:
        class dataset:
            title, groups, official_test = "signs", np.array([0, 0, 1]), np.zeros(3, bool)
            class_names = ("stop", "yield")

    config = RunConfig(dataset="gtsrb", model="tiny", patience=3)
    card = _card(dict.fromkeys(("run", "data", "mint", "audited")), config, Data)
    notes = card["notes"]
    assert card["classes"] == ["stop", "yield"]
    assert [
        "stopped by the calibration" in notes[0],
        "frames of a track or near-twins" in notes[1],
    ] == [True] * 2


# The audit, by function and by command.


def test_the_function_takes_a_folder_or_a_model_and_says_whose_word_it_is(finished, photos) -> None:
    _, folder, truth = finished
    reference = truth["pixels"]["holdout"][150:]
    found = amint.audit(folder, photos, reference=reference, fdr=0.1)
    again = amint.audit(amint.load(folder), photos, reference=reference, fdr=0.1)
    assert np.array_equal(found.verdict.p, again.verdict.p)
    assert found.verdict.references == 750
    assert not any("owner's word" in said for said in found.warnings)
    alone = amint.audit(folder, photos)
    assert alone.verdict.references == 300
    assert any("owner's word" in said for said in alone.warnings)
    assert any("STAND-IN" in said for said in alone.warnings)


def test_the_owners_own_strangers_show_that_images_are_of_another_kind(finished) -> None:
    _, folder, truth = finished
    noise = np.random.default_rng(0).integers(0, 256, (150, 16, 16, 3), dtype=np.uint8)
    bright = (truth["pixels"]["holdout"] * 1.25).clip(0, 255).astype(np.uint8)
    for kind in (noise, bright):
        found = amint.audit(folder, kind)
        assert not found.verdict.fit.holds
        assert found.exit_code == 3
    assert amint.audit(folder, truth["pixels"]["holdout"]).verdict.fit.holds


def test_calibration_images_in_question_leave_the_reference(finished) -> None:
    _, folder, truth = finished
    found = amint.audit(folder, truth["pixels"]["calibration"][:40])
    assert found.verdict.references == 260
    assert any("40 reference images are among" in said for said in found.warnings)


@pytest.fixture(scope="module")
def audited(finished, photos, tmp_path_factory) -> tuple[int, Path]:
    """Audit the folder of hazards by the command line."""
    out = tmp_path_factory.mktemp("report")
    reference = images.write(finished[2]["pixels"]["holdout"][150:], out / "reference")
    asked = ["--model", finished[1], "--images", photos, "--reference", reference, "--out", out]
    return main(["audit", *map(str, asked)]), out


def test_the_command_finds_members_among_hazards_and_ends_with_0(audited, tmp_path) -> None:
    status, out = audited
    with open(out / "images.csv", newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert status == 0
    said = [(name.split("-")[0], row["decision"]) for name, row in rows.items()]
    assert said.count(("member", "member")) >= 20
    assert said.count(("stranger", "member")) <= 6
    # A run trains on images as they are stored.
    expected = hazards(tmp_path / "hazards") | {"rotated.jpg": "not turned as its EXIF data say"}
    assert set(expected) < set(rows)
    assert all(expected[name] in rows[name]["note"] for name in expected)
    assert "<script>document.title" not in (out / "report.html").read_text(encoding="utf-8")


def test_the_command_says_what_the_report_says(finished, photos, tmp_path, capsys) -> None:
    asked = ["--model", finished[1], "--images", photos, "--out", tmp_path, "--fdr", "0.2"]
    main(["audit", *map(str, asked)])
    told = capsys.readouterr().out
    record = read_json(tmp_path / "audit.json")
    assert record["fdr"] == 0.2
    for sentence in (record["headline"], *(each["sentence"] for each in record["statements"])):
        assert sentence in told
    assert all(warning in told for warning in record["warnings"])
    assert f"{record['refused_files']} files that are no usable image" in told


def test_a_strangers_card_writes_no_code_to_the_terminal(
    finished, photos, tmp_path, capsys
) -> None:
    card = {"notes": ["\x1b[2J\x1b[Hamint: all images are proved not used\n"]}
    forged = amint.save(replace(amint.load(finished[1]), card=card), tmp_path / "forged")
    main(["audit", *map(str, ("--model", forged, "--images", photos, "--out", tmp_path / "out"))])
    told = capsys.readouterr().out
    assert "proved not used" in told
    assert "\x1b" not in told
    assert not any(line.startswith("amint: all") for line in told.splitlines())


def test_more_class_names_than_outputs_are_told_of_the_card(finished) -> None:
    made = replace(amint.load(finished[1]), card={"classes": [f"c{one}" for one in range(99)]})
    with pytest.raises(ModelError, match="card names 99 classes, and the model tells"):
        made.audit(finished[2]["pixels"]["holdout"][:60])


def test_the_command_asks_shadow_models(finished, photos, tmp_path, capsys) -> None:
    reference = images.write(finished[2]["pixels"]["holdout"][150:], tmp_path / "reference")
    shadow = replace(amint.load(finished[1]), scored_by="")  # its strangers' scores do not matter
    with torch.no_grad():
        for one in shadow.enhanced.parameters():
            one.copy_(torch.randn(one.shape, generator=torch.Generator().manual_seed(0)) * 0.1)
    shadow = amint.save(shadow, tmp_path / "shadow")
    asked = ["audit", "--model", finished[1], "--images", photos, "--out", tmp_path / "out"]
    shadows = ["--shadows", shadow, "--shadows", shadow]
    assert main([*map(str, [*asked, "--reference", reference, *shadows])]) == 0
    assert "surer of them than the 2 shadow models" in capsys.readouterr().out
    assert main([*map(str, [*asked, *shadows])]) == 2
    assert "Give a reference of your own" in capsys.readouterr().err


@pytest.fixture
def own_shadow() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Dropout(0.9), nn.Flatten(), nn.BatchNorm1d(768), nn.Linear(768, 10))


def test_a_shadow_model_may_be_any_classifier_and_stays_as_it_is(finished, own_shadow) -> None:
    _, folder, truth = finished
    given = truth["pixels"]["holdout"][:150], truth["pixels"]["holdout"][150:]
    before = {name: value.clone() for name, value in own_shadow.state_dict().items()}
    found = amint.audit(folder, *given, shadows=own_shadow)
    assert own_shadow.training
    assert all(torch.equal(before[name], one) for name, one in own_shadow.state_dict().items())

    def function(images):
        with torch.no_grad():
            return own_shadow.eval()(images)

    for same in (function, [function], iter([deepcopy(own_shadow).double()])):
        again = amint.audit(folder, *given, shadows=same).verdict.contradictions
        assert again.p == pytest.approx(found.verdict.contradictions.p, abs=0.01)
    assert found.verdict.contradictions.shadows == 1


@pytest.mark.parametrize(
    ("shadow", "said"),
    [
        (lambda images: {"foo": images}, "TypeError|RuntimeError"),
        (lambda images: torch.zeros(len(images)), r"returned shape \(\d+,\)"),
        (lambda images: torch.full((len(images), 10), torch.nan), "not finite"),
        (nn.Sequential(nn.Flatten(), nn.Linear(5, 10)), r"shape \(3, 16, 16\).*RuntimeError"),
        (7, "is a int, no classifier"),
    ],
    ids=["dictionary", "one axis", "no numbers", "another size", "no model"],
)
def test_what_a_shadow_model_does_wrong_is_said_of_it(shadow, said, finished) -> None:
    _, folder, truth = finished
    given = truth["pixels"]["holdout"][:150], truth["pixels"]["holdout"][150:]
    with pytest.raises(ModelError, match=f"(?s)Shadow model 1.*({said})"):
        amint.audit(folder, *given, shadows=[shadow])


def test_the_model_in_question_is_no_shadow_model_and_others_take_the_same(finished) -> None:
    _, folder, truth = finished
    given = truth["pixels"]["holdout"][:150], truth["pixels"]["holdout"][150:]
    model = amint.load(folder)
    for same in (folder, str(folder), model, model.enhanced.audited):
        with pytest.raises(ModelError, match="has the weights of the model in question"):
            amint.audit(model, *given, shadows=same)
    with pytest.raises(ModelError, match=r"is a str, no classifier\. A folder is read by"):
        model.audit(*given, shadows=str(folder))
    other = amint.auditable(enhanced(), dataclasses.replace(HOW, mean=(0.1,) * 3), STRANGERS)
    with pytest.raises(ModelError, match="Shadow model 2 takes images prepared as"):
        model.audit(*given, shadows=[lambda images: images.flatten(1)[:, :10], other])


def test_the_command_holds_the_model_to_a_signed_list(finished, photos, tmp_path, capsys) -> None:
    weights = hash_of_weights(amint.load(finished[1]).enhanced.state_dict())
    owned, key = Ledger.of(bytes(32), members=[b"one", b"two"]), bytes(range(32))
    listed, others = (Published.of(STRANGERS[part]) for part in (slice(0, 9), slice(9, 12)))
    listed.save(tmp_path / "listed.npz")
    others.save(tmp_path / "others.npz")
    publish(tmp_path / "good", owned.statement(weights, listed.digest), key)
    publish(tmp_path / "bad", owned.statement("0" * 64), key)
    publish(tmp_path / "bare", owned.statement(weights), key)
    asked = ["audit", "--model", finished[1], "--images", photos, "--out", tmp_path / "out"]
    asked = [*map(str, asked), "--key", public_key_of(key).hex()]
    good = [*asked, "--signed", str(tmp_path / "good"), "--published"]
    assert main([*good, str(tmp_path / "listed.npz")]) == 0
    assert "owner's signed list (2 members, 0 external, 0 calibration" in capsys.readouterr().out
    assert "signed list" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    record = read_json(tmp_path / "out" / "audit.json")
    assert (record["signed"]["weights"], record["shadows"]) == (weights, 0)
    bare = [*asked, "--signed", str(tmp_path / "bare"), "--published"]
    assert main([*bare, str(tmp_path / "others.npz")]) == 0
    assert "fingerprints are not signed" in capsys.readouterr().out
    assert main([*good, str(tmp_path / "others.npz")]) == 2
    assert "not those that the owner's statement names" in capsys.readouterr().err
    assert main([*asked, "--signed", str(tmp_path / "bad")]) == 2
    assert "not the model that the list was signed for" in capsys.readouterr().err
    assert main(asked) == 2
    assert "belong together" in capsys.readouterr().err
    assert main([*asked, "--signed", str(photos)]) == 2
    assert "is no published statement" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*asked[:-1], "zz"])
    assert "64 hexadecimal digits" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="is no statement"):
        amint.audit(finished[1], photos, signed="statement.json")


def test_a_statement_may_cover_what_answers_depend_on_beside_the_weights(
    finished, photos, tmp_path
) -> None:
    model = amint.load(finished[1])
    weights = hash_of_weights(model.enhanced.state_dict())
    owned, key = Ledger.of(bytes(32), members=[b"one"]), bytes(range(32))
    publish(tmp_path / "good", owned.statement(weights, answers=model.digest()), key)
    signed = read_statement(tmp_path / "good", public_key_of(key))
    assert not any("may have been changed" in said for said in _warned(model, photos, signed))
    how = dataclasses.replace(model.preprocessing, mean=(0.1,) * model.preprocessing.channels)
    lower = dataclasses.replace(model.calibration, scores=model.calibration.scores - 1)
    card = Card(model.card) | {"classes": list(reversed(model.card["classes"]))}
    for changed in ({"preprocessing": how}, {"calibration": lower}, {"card": card}):
        with pytest.raises(LedgerError, match="not those that the owner's statement names"):
            dataclasses.replace(model, **changed).audit(photos, signed=signed)
    publish(tmp_path / "bare", owned.statement(weights), key)
    bare = read_statement(tmp_path / "bare", public_key_of(key))
    assert any("may have been changed since" in said for said in _warned(model, photos, bare))


def _warned(model, photos, signed):
    return model.audit(photos, signed=signed).warnings


def test_a_model_that_was_trained_on_is_not_handed_out_with_its_old_scores(tmp_path) -> None:
    model = amint.auditable(enhanced(), HOW, STRANGERS)
    before = amint.load(amint.save(model, tmp_path / "before"), model=OwnNet())
    assert before.digest() == model.digest()  # what an owner signs, an auditor computes
    with torch.no_grad():
        next(model.enhanced.parameters()).add_(0.1)
    with pytest.raises(ModelError, match="have changed since its calibration images were scored"):
        amint.save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_owners_notes_are_told_as_his(photos) -> None:
    note = "With 95 % confidence none of these images was used."
    model = amint.auditable(enhanced(), HOW, STRANGERS, card={"notes": [note]})
    warnings = model.audit(photos).warnings
    assert f"The owner says: {note}" in warnings
    assert note not in warnings


def test_the_command_ends_with_3_where_it_cannot_tell(finished, tmp_path, capsys) -> None:
    strangers = images.write(finished[2]["pixels"]["holdout"][:20], tmp_path / "in")
    asked = ["--model", finished[1], "--images", strangers, "--out", tmp_path / "out"]
    assert main(["audit", *map(str, asked)]) == 3
    assert "cannot tell, floor" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_command_ends_with_2_for_what_the_user_can_mend(finished, photos, tmp_path, capsys):
    few = fill(tmp_path / "few", pictures(7, 10))
    empty, own = tmp_path / "empty", tmp_path / "own"
    empty.mkdir()
    amint.save(amint.auditable(enhanced(), HOW, STRANGERS), own)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "images.csv").write_text("my own labels")
    cases = {
        "holds no auditable model": {"--model": empty},
        "load(folder, model=OwnNet())": {"--model": own},
        "is no folder": {"--images": tmp_path / "nowhere"},
        "none could be read": {"--images": empty},
        "A path is empty": {"--images": ""},
        "is of something else, and would be replaced": {"--out": taken},
        "is a file. Name a folder for the report": {"--out": taken / "images.csv"},
        "10 reference images are too few": {"--reference": few},
        "is a number between 0 and 1, not 5": {"--fdr": 5},
    }
    for words, changed in cases.items():
        asked = {"--model": finished[1], "--images": photos, "--out": tmp_path / "out"} | changed
        arguments = [str(each) for pair in asked.items() for each in pair]
        assert main(["audit", *arguments]) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main(["audit", "--images", str(photos)])
    assert left.value.code == 2


def test_the_command_exports_a_run(finished, tmp_path, monkeypatch, capsys) -> None:
    run, folder, _ = finished
    monkeypatch.setenv("AMINT_CACHE", str(run.parents[3] / "cache"))
    assert main(["export", str(run), str(tmp_path / "model")]) == 0
    for name in ("model.safetensors", "scores.safetensors", "auditable.json"):
        assert (tmp_path / "model" / name).read_bytes() == (folder / name).read_bytes()
    assert main(["export", str(tmp_path), str(tmp_path / "model")]) == 2
    assert "no folder of a finished run" in capsys.readouterr().err

"""One's own model and images: dealt, trained or attached, loaded elsewhere, audited."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import sys
import threading
import time
import warnings
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from audit_folders import fill, pictures
from filelock import FileLock
from PIL import Image
from torch import nn
from torch.nn import functional, utils
from torch.nn.utils import prune
from torch.utils.data import BatchSampler, DataLoader, SubsetRandomSampler, TensorDataset

import amint_core as amint
from amint_core.audit.images import read
from amint_core.audit.preprocessing import Preprocessing
from amint_core.audit.scoring import score_all
from amint_core.errors import DataError, ModelError, ProtocolError, ResultsError, SettingsError
from amint_core.files import read_json
from amint_core.locations import cache_root
from amint_core.methods.posteriors import scaled_logits
from amint_core.own import attach as attaching
from amint_core.own import card, code, finishing
from amint_core.own import fit as fitting
from amint_core.own.attach import HEAD_STEPS
from amint_core.own.attach import settings_of as settings_of_attach
from amint_core.own.beginning import NARROWEST, headed
from amint_core.own.checkpoints import OwnTraining
from amint_core.own.deal import brought_together
from amint_core.own.fit import Alone, train
from amint_core.own.images import gather
from amint_core.own.taps import find_taps
from amint_core.run import trainings
from amint_core.settings import HEAD_EPOCHS
from amint_core.training.kinds import ACTIVE, PLAIN

PIXELS, LABELS = pictures(0, 900), np.arange(900) % 3
SIZES = {"members": 200, "external": 300, "calibration": 200, "holdout": 200}
SHORT = {"epochs": 2, "batch_size": 50, "cpu_threads": 1}


class OwnNet(nn.Module):
    """Two convolutions, without batch normalisation."""

    def __init__(self, activation=functional.relu, classes=3) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, padding=1)
        self.classify, self.activation = nn.Linear(8, classes), activation

    def forward(self, images):
        maps = self.activation(self.second(self.activation(self.first(images))))
        return self.classify(maps.mean((2, 3)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def roles():
    return amint.deal(PIXELS, LABELS, **SIZES)


def net(seed: int = 0, **given) -> OwnNet:
    torch.manual_seed(seed)
    return OwnNet(**given)


# Images from wherever they are.


def test_images_come_the_same_from_arrays_datasets_loaders_and_folders(tmp_path):
    pixels, labels = PIXELS[:12], np.repeat([0, 1, 2], 4)
    for number, name in enumerate(("a", "b", "c")):
        fill(tmp_path / name, pixels[labels == number])
    tensors = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    pairs = [(Image.fromarray(one), int(label)) for one, label in zip(pixels, labels, strict=True)]
    dataset = TensorDataset(tensors.float() / 255, torch.from_numpy(labels))
    sources = [(pixels, labels), (tensors, labels), pairs, dataset, tmp_path]
    for source in (*sources, DataLoader(dataset, batch_size=5, shuffle=True)):
        found = gather(source)
        assert np.array_equal(found.pixels, pixels)
        assert found.labels.tolist() == labels.tolist()
        assert found.preprocessing == Preprocessing(16, 16, 3)
    assert gather(pixels[..., 0]).pixels.shape == (12, 16, 16, 1)
    five = np.concatenate([pixels, pixels[..., :2]], 3)
    assert gather(torch.from_numpy(five).permute(0, 3, 1, 2)).pixels.shape == (12, 16, 16, 5)


def test_a_folder_of_several_sizes_asks_for_one_and_gets_it(tmp_path):
    fill(tmp_path, PIXELS[:3])
    fill(tmp_path, pictures(1, 2, side=24), "larger")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"2 sizes \(16×16, 24×24\).*preprocessing="):
        gather(tmp_path)
    with pytest.warns(UserWarning, match="Passed over: notes.txt is not an image"):
        found = gather(tmp_path, preprocessing=Preprocessing(8, 10))
    assert found.pixels.shape == (5, 8, 10, 3)
    assert found.labels is None


def test_a_folders_size_is_looked_at_by_the_rules_that_it_is_read_by(tmp_path, monkeypatch):
    wide = np.repeat(PIXELS[:4], 2, axis=2)  # 16 × 32, and stored on their side
    fill(tmp_path, wide.transpose(0, 2, 1, 3)[:, :, ::-1])
    turned = Image.Exif()
    turned[0x0112] = 8  # to be shown a quarter turned to the left
    for path in tmp_path.glob("*.png"):
        Image.open(path).save(path, exif=turned)
    fill(tmp_path / ".thumbs", PIXELS[:2])  # hidden, and not read
    with pytest.MonkeyPatch.context() as patch:  # far more pixels than any photograph
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 16 * 15)
        with pytest.raises(DataError, match=r"no image in .* that can be read"):
            gather(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    with pytest.warns(UserWarning, match="left behind, or hidden"):
        found = gather(f"~/{tmp_path.name}")
    assert found.preprocessing == Preprocessing(16, 32, 3)
    assert np.array_equal(found.pixels, wide)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: (PIXELS / 127.5 - 1).astype(np.float32), "float32 from -1 .* 8-bit pixels"),
        (lambda: (PIXELS[:4], [0, 1]), r"4 images, but labels of shape \(2,\)"),
        (lambda: (PIXELS[:2], [0.5, 1]), "Labels are class numbers"),
        (lambda: [], "no source of images|__len__"),
        (lambda: "nowhere", "nowhere is no folder"),
    ],
    ids=["normalised", "too few labels", "no class numbers", "nothing", "no folder"],
)
def test_images_that_are_none_are_refused(given, message):
    with pytest.raises(DataError, match=message):
        gather(given())


def test_a_datasets_labels_are_class_numbers_or_none_and_an_image_may_be_black():
    images = torch.from_numpy(PIXELS[:4].astype(np.float32) / 255).permute(0, 3, 1, 2)
    images[2] = 0
    found = gather([(image, torch.tensor(label)) for label, image in enumerate(images)])
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert not found.pixels[2].any()
    assert gather([(image, -1) for image in images]).labels is None
    for odd, message in (
        ((0, 1, 2.9, 3), "from 0 on"),
        ((0, 1, -1, 2), "from 0 on"),
        (("a", "b", "c", "d"), "from 0 on"),
        ((np.eye(4)[0], 1, 2, 3), "no class number"),
    ):
        with pytest.raises(DataError, match=message):
            gather(list(zip(images, odd, strict=True)))


def test_a_dataset_that_gives_another_copy_each_time_is_refused():
    class Moving(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, number):
            return torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8), 0

    with pytest.raises(DataError, match=r"another image each time.*no copies that are moved"):
        gather(Moving())

    class Mirroring(Moving):
        def __len__(self):
            return 20

        def __getitem__(self, number):
            one = torch.from_numpy(PIXELS[number]).permute(2, 0, 1)
            return one.flip(2) if number and torch.rand(()) < 0.5 else one  # the first one never

    with pytest.raises(DataError, match="another image each time"):
        gather(Mirroring())


class Stream(torch.utils.data.IterableDataset):
    """A dataset that is asked for no image by its number, though it knows how many it has."""

    def __len__(self):
        return 3

    def __iter__(self):
        return iter([(Image.fromarray(PIXELS[0]), 0)] * 3)


def of_pil(pixels):
    return [(Image.fromarray(pixels), 0)] * 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: Stream(), r"Stream is no source.*list\(stream\).*NotImplementedError"),
        (lambda: {"image": PIXELS, "label": LABELS}, "dict is no source.*KeyError"),
        (lambda: [{"image": PIXELS[0], "label": 0}] * 3, "dictionaries with image, label.*pairs"),
        (lambda: [(PIXELS[0], torch.eye(3)[0])] * 3, "second part is no class number"),
        (lambda: [(PIXELS[0], 0), (PIXELS[1], None)], "1 of the dataset's 2 images have no label"),
        (lambda: of_pil(PIXELS[0, ..., 0].astype(np.uint16) * 257), "Image 0 .* mode I;16"),
        (lambda: of_pil(PIXELS[0, ..., 0].astype(np.float32)), "Image 0 .* mode F"),
        (lambda: of_pil(np.dstack([PIXELS[0], PIXELS[0, ..., 0]])), "Image 0 .* transparent"),
    ],
    ids=(
        *("stream", "dictionary", "of dictionaries", "one-hot", "a part of the labels"),
        *("16 bits", "floats", "transparent"),
    ),
)
def test_a_dataset_whose_images_or_labels_cannot_be_taken_is_refused(given, message):
    with pytest.raises(DataError, match=message):
        gather(given())
    assert len(gather(list(Stream()))) == 3


@pytest.mark.parametrize("own", [[torch.eye(3)[0]] * 2, [0, None]], ids=["one-hot", "missing"])
def test_labels_that_are_given_take_the_place_of_a_datasets_own(own):
    dataset = list(zip(PIXELS[:2], own, strict=True))
    assert gather(dataset, labels=[2, 1]).labels.tolist() == [2, 1]


def test_images_without_a_group_or_in_too_few_bits_are_refused():
    for nothing in (np.nan, None):
        with pytest.raises(DataError, match="1 of 3 images have no group"):
            gather(PIXELS[:3], groups=[1, 2, nothing])
    coarse = torch.from_numpy(PIXELS[:3] / 255).to(torch.bfloat16)
    with pytest.raises(DataError, match="These images are float32 from"):
        gather(coarse)


def test_a_loader_of_a_part_of_its_dataset_is_refused():
    dataset = list(zip(PIXELS[:12], LABELS[:12].tolist(), strict=True))
    part = SubsetRandomSampler(range(5))
    batches = BatchSampler(part, 2, drop_last=False)
    for given in ({"sampler": part}, {"batch_sampler": batches}):
        with pytest.raises(DataError, match=r"draws 5 of the 12 .*Subset\(dataset, rows\)"):
            gather(DataLoader(dataset, **given))
    assert len(gather(DataLoader(dataset, shuffle=True, batch_size=5, drop_last=True))) == 12


def test_images_of_a_dataset_that_an_audit_would_turn_are_told_of(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    for number in range(3):
        given = {"exif": turned} if number < 2 else {}
        Image.fromarray(PIXELS[number]).save(tmp_path / f"{number}.png", **given)
    opened = [(Image.open(path).convert("RGB"), 0) for path in sorted(tmp_path.iterdir())]
    with pytest.warns(UserWarning, match="2 images of the dataset have an EXIF orientation"):
        found = gather(opened)
    assert np.array_equal(found.pixels, PIXELS[:3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gather(opened, preprocessing=Preprocessing(16, 16, upright=False))


# Roles.


def test_roles_are_apart_by_image_and_by_group_and_dealt_alike_by_class():
    twice = np.concatenate([PIXELS, PIXELS[:50]])
    labels, groups = np.r_[LABELS, LABELS[:50]], np.r_[np.arange(900) // 3, np.arange(50) // 3]
    sizes = {**SIZES, "holdout": 190}  # whole groups of three
    roles = amint.deal(twice, labels, groups, **sizes)
    assert {role: len(one) for role, one in roles.items()} == sizes
    seen = [set(one.groups.tolist()) for one in roles.values()]
    assert sum(map(len, seen)) == len(set.union(*seen))
    hashes = [one.tobytes() for each in roles.values() for one in each.pixels]
    assert len(set(hashes)) == sum(sizes.values())
    for one in amint.deal(PIXELS, LABELS, **SIZES).values():
        counts = np.bincount(one.labels)
        assert counts.max() - counts.min() <= 2  # the last role gets what is left
    again = amint.deal(twice, labels, groups, **sizes)
    assert all(np.array_equal(again[role].pixels, one.pixels) for role, one in roles.items())


def test_an_image_in_two_roles_and_one_made_ready_otherwise_are_refused(roles):
    with pytest.raises(DataError, match="same image is among members and external"):
        amint.fit(net(), **{**roles, "external": roles["members"]}, **SHORT)
    other = {**roles, "external": pictures(5, 300, side=24)}
    with pytest.raises(DataError, match="Bring all to one form"):
        amint.fit(net(), **other, **SHORT)
    with pytest.raises(ProtocolError, match="20 calibration images are too few"):
        amint.deal(PIXELS, **{**SIZES, "calibration": 20})
    with pytest.raises(DataError, match=r"want 900 images.*Lower"):
        amint.deal(PIXELS[:800], **SIZES)


def test_groups_of_roles_gathered_apart_are_told_by_their_names():
    sizes = {"members": "ab", "external": "cd", "calibration": "ef"}
    given = {
        role: gather(PIXELS[60 * place : 60 * place + 60], groups=np.repeat(list(names), 30))
        for place, (role, names) in enumerate(sizes.items())
    }
    roles = brought_together(given, None)
    assert len(np.unique(roles.dataset.groups)) == 6
    again = {**given, "external": gather(PIXELS[60:120], groups=np.repeat(["a", "c"], 30))}
    with pytest.raises(DataError, match="same group is among members and external"):
        brought_together(again, None)
    with pytest.raises(DataError, match="Some roles have groups and others none"):
        brought_together({**given, "external": PIXELS[60:120]}, None)


# Trained together.


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted") / "my_model"
    with pytest.MonkeyPatch.context() as moved:
        moved.setenv("AMINT_CACHE", str(folder.parent / "cache"))
        roles = amint.deal(PIXELS, LABELS, **SIZES)
        yield amint.fit(net(), **roles, folder=folder, **{**SHORT, "epochs": 12}), folder


def test_what_was_trained_elsewhere_scores_bit_for_bit(fitted, tmp_path, monkeypatch):
    model, folder = fitted
    monkeypatch.chdir(tmp_path)
    loaded = amint.load(folder, model=net(7))
    batch = loaded.preprocessing.normalise(PIXELS[:100])
    assert torch.equal(loaded.score(batch), model.score(batch))
    assert loaded.card == model.card
    assert sorted(path.name for path in folder.iterdir()) == [
        "auditable.json",
        "history.csv",
        "model.safetensors",
        "scores.safetensors",
    ]


def test_the_card_tells_what_the_head_costs_in_accuracy(roles, tmp_path, monkeypatch):
    given = {**SHORT, "folder": tmp_path / "m", "control": True}
    made = amint.fit(net(), **roles, **given)
    lost = made.card["price"]["accuracy_lost"]
    assert lost["low"] <= lost["value"] <= lost["high"]
    assert made.card()["figure"].str.contains("accuracy lost").any()

    gathered = brought_together(roles, None)
    settings = fitting._settings(gathered, "best", SHORT)
    alone = headed(net(), gathered, "auto", settings, "auto").audited
    train(Alone(alone), gathered, settings, kind=PLAIN)
    holdout = roles["holdout"]
    with torch.no_grad():
        answers = alone.eval()(made.preprocessing.normalise(holdout.pixels)).argmax(1)
    right = float((answers.numpy() == holdout.labels).mean())
    assert lost["value"] == pytest.approx(right - made.card["audited"]["accuracy"]["value"])

    plain = amint.fit(net(), **roles, **SHORT)
    for name, value in plain.enhanced.state_dict().items():  # the control changes nothing
        assert torch.equal(value, made.enhanced.state_dict()[name])
    monkeypatch.setattr(fitting, "train", lambda *given, **more: pytest.fail("done before"))
    assert amint.fit(net(), **roles, **given).card["price"]["accuracy_lost"] == lost
    assert amint.load(tmp_path / "m", model=net()).card["price"]["accuracy_lost"] == lost


def test_a_control_starts_from_the_same_weights_or_is_refused(roles, tmp_path, monkeypatch):
    given = {**roles, **SHORT, "control": True}
    whole = amint.fit(net(), **given, folder=tmp_path / "whole")
    real, kinds = train, []

    def cut(which):
        def cut_train(*asked, kind=ACTIVE, **more):
            kinds.append(kind.name)
            if len(kinds) == which:
                raise KeyboardInterrupt
            return real(*asked, kind=kind, **more)

        return cut_train

    for which, folder in ((1, "in the control"), (2, "in the training")):
        kinds.clear()
        with monkeypatch.context() as once, contextlib.suppress(KeyboardInterrupt):
            once.setattr(fitting, "train", cut(which))
            amint.fit(net(5), **given, folder=tmp_path / folder)
        assert kinds == ["plain", "active"][:which]
        again = amint.fit(net(), **given, folder=tmp_path / folder)  # nothing was learnt before
        assert again.card["price"]["accuracy_lost"] == whole.card["price"]["accuracy_lost"]
    amint.fit(net(), **{**given, "control": False}, folder=tmp_path / "without")
    with pytest.raises(SettingsError, match="anew=True"):
        amint.fit(net(), **given, folder=tmp_path / "without")


def test_a_training_goes_on_with_the_control_it_began_with(roles, tmp_path, monkeypatch):
    given = {**roles, **SHORT, "epochs": 4, "control": True}
    whole = amint.fit(net(), **given)
    keep = OwnTraining.keep

    def cut(training, state):
        keep(training, state)
        if state.epoch == 2:
            raise KeyboardInterrupt

    def half(folder, control):
        with monkeypatch.context() as once, contextlib.suppress(KeyboardInterrupt):
            once.setattr(OwnTraining, "keep", cut)
            amint.fit(net(), **{**given, "control": control}, folder=folder)

    half(tmp_path / "with", True)
    rest = amint.fit(net(9), **given, folder=tmp_path / "with")  # as by a script started again
    assert rest.card["price"]["accuracy_lost"] == whole.card["price"]["accuracy_lost"]
    half(tmp_path / "without", False)
    with pytest.raises(SettingsError, match="those given now are others"):
        amint.fit(net(9), **given, folder=tmp_path / "without")
    late = amint.fit(net(), **given, folder=tmp_path / "without")
    assert late.card["price"]["accuracy_lost"] == whole.card["price"]["accuracy_lost"]


@pytest.mark.parametrize("some", [False, True], ids=["none", "without labels"])
def test_a_control_without_labelled_strangers_is_refused(some, roles):
    holdout = roles["holdout"].pixels if some else None
    with pytest.raises(SettingsError, match="there are none with labels"):
        amint.fit(net(), **{**roles, "holdout": holdout}, **SHORT, control=True)


def test_a_single_stranger_has_no_blind_control(roles):
    one = {**roles, "holdout": roles["holdout"].take(np.arange(1))}
    assert amint.fit(net(), **one, **SHORT).card["controls"]["blind"]["value"] is None


def test_the_card_has_figures_with_intervals_price_and_controls(fitted):
    model, _ = fitted
    table = model.card().set_index("figure")
    assert table.loc["mint auc", "low"] < table.loc["mint auc", "value"]
    assert table.loc["mint auc", "value"] > 0.7
    assert table.loc["controls blind", "low"] < 0.5 < table.loc["controls blind", "high"]
    assert table.loc["price step", "value"] > 0
    assert table.loc["price share", "value"] == pytest.approx(
        table.loc["price head", "value"] / table.loc["price model", "value"], rel=1e-3
    )
    assert {"controls loss", "audited accuracy", "images members"} <= set(table.index)
    assert any("declared" in note for note in model.card["notes"])


def test_an_image_prepared_otherwise_is_redone_or_refused(fitted, tmp_path):
    model, _ = fitted
    large = [Image.fromarray(one).resize((40, 48), Image.Resampling.BICUBIC) for one in PIXELS[:60]]
    for number, one in enumerate(large):
        one.save(tmp_path / f"{number:02}.png")
    by_hand = np.stack([model.preprocessing.apply(one) for one in large])
    found = amint.audit(model, tmp_path, PIXELS[600:])
    expected = model.score(model.preprocessing.normalise(by_hand)).double().numpy()
    assert np.array_equal(found.images.scores, expected)
    for wrong in (by_hand / 255.0, model.preprocessing.normalise(by_hand).numpy()):
        with pytest.raises(DataError, match=r"\(N, H, W, 1 or 3\) uint8"):
            amint.audit(model, wrong, PIXELS[600:])


def test_the_same_call_loads_and_a_changed_activation_trains_anew(fitted, roles, capsys):
    model, folder = fitted
    given = {**roles, "folder": folder, **SHORT, "epochs": 12}
    again = amint.fit(net(), **given)
    said = capsys.readouterr().out
    assert "Already trained" in said
    assert "other weights" not in said
    assert again.card == model.card
    amint.fit(net(3), **given)
    said = capsys.readouterr().out
    assert "Already trained" in said
    assert "It began from other weights than those given now" in said
    digests = [read_json(folder / "auditable.json")["card"]["made_of"]["model"]]
    assert digests == [code.digest(net(3))]
    amint.fit(net(activation=functional.gelu), **given)
    assert "Already trained" not in capsys.readouterr().out
    digests.append(read_json(folder / "auditable.json")["card"]["made_of"]["model"])
    assert digests[1] == code.digest(net(activation=functional.gelu)) != digests[0]


def test_a_call_cut_off_before_its_history_was_written_writes_it(roles, tmp_path, monkeypatch):
    given = {**roles, "folder": tmp_path / "m", **SHORT}
    with monkeypatch.context() as once, contextlib.suppress(KeyboardInterrupt):

        def cut(*asked, **more):
            raise KeyboardInterrupt

        once.setattr(finishing, "atomic_path", cut)
        amint.fit(net(), **given)
    assert not (tmp_path / "m" / "history.csv").exists()
    with monkeypatch.context() as once:
        once.setattr(fitting, "train", lambda *given, **more: pytest.fail("done before"))
        amint.fit(net(), **given)
    assert (tmp_path / "m" / "history.csv").is_file()
    left = tmp_path / "m" / "training" / ".unfinished-1"  # by a write that was killed
    left.mkdir(parents=True)
    amint.fit(net(), **given)
    assert not left.exists()
    left.mkdir(parents=True)
    amint.fit(net(), **given, seed=1)
    assert not left.exists()


@pytest.mark.parametrize("verb", ["fit", "attach"])
def test_other_strangers_and_views_are_told_of_without_another_training(
    verb, roles, tmp_path, monkeypatch
):
    how = SHORT if verb == "fit" else {"head_epochs": 2, "cpu_threads": 1}
    given, call = {**roles, "folder": tmp_path / "m"}, getattr(amint, verb)
    first = call(net(), **given, **how)
    trained = {"fit": (fitting, "train"), "attach": (attaching, "_train")}[verb]
    monkeypatch.setattr(*trained, lambda *given, **more: pytest.fail("trained before"))
    others = {"calibration": pictures(8, 120), "holdout": (pictures(9, 60), LABELS[:60])}
    again = call(net(), **{**given, **others}, views="flips", **how)
    assert again.card["images"] | {"calibration": 120, "holdout": 60} == again.card["images"]
    assert (first.views, again.views) == ("one", "flips")
    loaded = amint.load(tmp_path / "m", model=net())
    assert loaded.views == "flips"
    assert loaded.calibration.hashes == again.calibration.hashes != first.calibration.hashes
    assert loaded.card == again.card
    same = call(net(), **{**given, **others}, views="flips", **how)
    assert same.card == again.card


def test_images_without_detail_are_refused_before_training(roles):
    tiny = {role: (one.pixels[:, :2, :2], one.labels) for role, one in roles.items()}
    with pytest.raises(DataError, match="2×2 pixels are too small"):
        amint.attach(net(), **tiny)


def test_a_history_of_another_origin_is_not_replaced(roles, tmp_path):
    (tmp_path / "history.csv").write_text("mine")
    with pytest.raises(ResultsError, match=r"history.csv.* is of something else"):
        amint.fit(net(), **roles, folder=tmp_path, **SHORT)


def test_a_training_cut_off_goes_on_and_ends_as_if_it_had_not_been(roles, tmp_path, monkeypatch):
    whole = amint.fit(net(), **roles, folder=tmp_path / "whole", **{**SHORT, "epochs": 4})

    keep = OwnTraining.keep

    def cut(training, state):
        keep(training, state)
        if state.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as once, contextlib.suppress(KeyboardInterrupt):
        once.setattr(OwnTraining, "keep", cut)
        amint.fit(net(), **roles, folder=tmp_path / "cut", **{**SHORT, "epochs": 4})
    assert (tmp_path / "cut" / "training" / "checkpoint.pt").is_file()
    # Weights are drawn anew, as by a script that is started again.
    rest = amint.fit(net(9), **roles, folder=tmp_path / "cut", **{**SHORT, "epochs": 4})
    weights = rest.enhanced.state_dict()
    for name, value in whole.enhanced.state_dict().items():
        assert torch.equal(weights[name], value), name
    assert not (tmp_path / "cut" / "training").exists()


@pytest.mark.parametrize("anew", [False, True])
def test_an_attached_head_cut_off_goes_on_from_its_last_epoch(
    anew, roles, tmp_path, monkeypatch, capsys
):
    how = {"head_epochs": 3, "head_count": 2, "cpu_threads": 1}
    whole = amint.attach(net(), **roles, folder=tmp_path / "whole", **how)
    monkeypatch.setattr(trainings, "KEEP_EVERY", 0.0)
    keep = OwnTraining.keep

    def cut(training, state):
        keep(training, state)
        if state.epoch == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as once, contextlib.suppress(KeyboardInterrupt):
        once.setattr(OwnTraining, "keep", cut)
        amint.attach(net(), **roles, folder=tmp_path / "cut", **how)
    assert list(cache_root().glob("trainings/*/checkpoint.pt"))
    capsys.readouterr()
    with monkeypatch.context() as once:
        amint.attach(net(9), **roles, **how)
        amint.attach(net(), **{**roles, "external": pictures(7, 300)}, **how)
        amint.attach(net(), **roles, **how, seed=1)
        once.setattr(attaching.provenance, "code_fingerprint", lambda *modules: "other")
        amint.attach(net(), **roles, **how)
    assert "Going on" not in capsys.readouterr().out
    rest = amint.attach(net(), **roles, folder=tmp_path / "cut", anew=anew, **how)
    assert ("Going on after epoch 4" in capsys.readouterr().out) is not anew
    for name, value in whole.enhanced.state_dict().items():
        assert torch.equal(rest.enhanced.state_dict()[name], value), name
    histories = [pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "cut")]
    pd.testing.assert_frame_equal(*[one.drop(columns="seconds") for one in histories])
    assert not list(cache_root().glob("trainings/*"))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"recipe": "staged"}, SettingsError, "amint.attach"),
        ({"patience": 2}, SettingsError, "no strangers any more"),
        ({"low_pass": True}, SettingsError, "amint.attach"),
        ({"head_count": 3}, SettingsError, "amint.attach"),
        ({"epoch": 2}, SettingsError, "Did you mean 'epochs'"),
        ({"members": PIXELS[:200]}, DataError, "members have no labels"),
        ({"members": (PIXELS[:200], np.arange(200) % 4)}, DataError, "tells 3 classes"),
        ({"taps": ["frist"]}, ModelError, "Did you mean 'first'"),
        ({"dataset": "mnist"}, SettingsError, "dataset follows from what is given"),
        ({"calibration": PIXELS[400:420]}, ProtocolError, "20 calibration images are too few"),
    ],
    ids=[
        *("stages", "patience", "low_pass", "heads", "unknown", "labels", "classes", "tap"),
        *("dataset", "few"),
    ],
)
def test_what_cannot_be_fitted_is_refused_before_training(given, error, message):
    own = {"members": (PIXELS[:200], LABELS[:200]), "external": PIXELS[200:400]}
    with pytest.raises(error, match=message):
        amint.fit(net(), **{**own, "calibration": PIXELS[400:600], **SHORT, **given})


# Attached.


def test_attaching_leaves_a_trained_model_as_it_is_to_the_last_bit(roles, tmp_path):
    trained = nn.Sequential(net(), nn.BatchNorm1d(3)).train()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    layouts = [one.stride() for one in trained.parameters()]
    images = torch.randn(4, 3, 16, 16)
    answers = trained.eval()(images)
    trained.train()
    model = amint.attach(
        trained, **roles, folder=tmp_path / "a", taps=["0.second"], head_batch=50, cpu_threads=1
    )
    assert trained.training
    assert all(one.requires_grad for one in trained.parameters())
    assert [one.stride() for one in trained.parameters()] == layouts
    for name, value in trained.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(trained.eval()(images), answers)
    assert model.card["mint"]["auc"]["value"] > 0.7
    assert "step" not in model.card["price"]
    assert model.card["price"]["accuracy_lost"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    loaded = amint.load(tmp_path / "a", model=nn.Sequential(OwnNet(), nn.BatchNorm1d(3)))
    batch = model.preprocessing.normalise(PIXELS[:50])
    assert torch.equal(loaded.score(batch), model.score(batch))


def test_a_normalisation_that_is_not_the_models_own_is_refused_by_its_answers(roles):
    class Ranged(nn.Module):
        """Knows class 0 where pixels are seen from 0 to 1, and nothing otherwise."""

        def __init__(self) -> None:
            super().__init__()
            self.tap, self.last = nn.Identity(), nn.Linear(3, 3)

        def forward(self, images):
            maps = self.tap(images)
            seen = (maps.amin((1, 2, 3)) >= 0).float()
            rest = self.last(maps.mean((2, 3))).clamp(-1, 1)
            return rest + (9 * seen[:, None] - 3) * torch.tensor([1.0, 0, 0])

    zeros = {role: (one.pixels, np.zeros(len(one), int)) for role, one in roles.items()}
    given = {"taps": ["tap"], "head_epochs": 1, "head_batch": 50}
    with pytest.raises(SettingsError, match=r"0% of its members.*100% with another.*mean=\(0.0,\)"):
        amint.attach(Ranged(), **zeros, **given)
    how = Preprocessing(16, 16, 3, mean=(0.0,), deviation=(1.0,))
    assert amint.attach(Ranged(), **zeros, preprocessing=how, **given).preprocessing == how


def test_a_head_is_as_wide_as_asked_and_never_very_narrow_by_itself(roles):
    given = {**roles, "taps": ["second"], "head_epochs": 1, "head_batch": 50, "cpu_threads": 1}
    widths = {"auto": NARROWEST, "fit": 16, 4: 4, 40: 40}  # 16: as narrow as heads are made to fit
    for asked, width in widths.items():
        assert amint.attach(net(), **given, head_width=asked).enhanced.head.width == width
    wide = nn.Sequential(net(), nn.Linear(3, 600), nn.Linear(600, 600), nn.Linear(600, 3))
    wide.requires_grad_(False)  # as somebody may have left it: its weights count all the same
    for asked in ("auto", "fit"):
        made = amint.attach(wide, **{**given, "taps": ["0.second"]}, head_width=asked)
        assert made.enhanced.head.width > NARROWEST
        assert made.card["price"]["share"] <= 1
    gathered = brought_together(roles, None)
    published = settings_of_attach(gathered, {"head": "published"})
    one_size = headed(net(), gathered, ["second"], published, "auto")  # too large to train here
    assert not hasattr(one_size.head, "width")


def test_an_attached_head_may_see_images_without_their_finest_detail(roles, tmp_path):
    given = {**roles, "taps": ["second"], "head_epochs": 1, "head_batch": 50, "cpu_threads": 1}
    given |= {"low_pass": True, "views": "flips", "folder": tmp_path / "soft"}
    made = amint.attach(net(), **given)
    again = amint.load(tmp_path / "soft", model=net())
    assert made.enhanced.low_pass
    assert again.enhanced.low_pass
    with pytest.raises(SettingsError, match="for a head that learns alone"):
        amint.fit(net(), **roles, low_pass=True)


def test_an_attached_ensemble_is_handed_out_whole(roles, tmp_path):
    given = {**roles, "taps": ["second"], "head_epochs": 1, "head_batch": 50, "cpu_threads": 1}
    made = amint.attach(net(), **given, head_count=3, folder=tmp_path / "three")
    again = amint.load(tmp_path / "three", model=net())
    images = made.preprocessing.normalise(PIXELS[:50])
    assert len(again.enhanced.head.heads) == 3
    assert torch.equal(made.score(images), again.score(images))
    maps = []
    again.enhanced.audited.second.register_forward_hook(lambda *call: maps.append(call[-1]))
    again.score(images)
    with torch.no_grad():
        alone = torch.stack([head(maps) for head in again.enhanced.head.heads])
    torch.testing.assert_close(again.score(images), alone.min(0).values)
    history = pd.read_csv(tmp_path / "three" / "history.csv")
    assert history["head"].tolist() == [1, 2, 3]
    one = amint.attach(net(), **given)
    share = made.card["price"]["share"] / one.card["price"]["share"]
    assert share == pytest.approx(3, rel=0.01) or made.enhanced.head.width < one.enhanced.head.width


@pytest.mark.parametrize("verb", [amint.fit, amint.attach])
def test_a_width_that_is_none_is_refused(roles, verb):
    for odd in (3, 513, 32.0, "wide", None, True):
        with pytest.raises(SettingsError, match=r"head_width = .* whole number from 4 to 512.*fit"):
            verb(net(), **roles, head_width=odd)
    with pytest.raises(SettingsError, match="the published head has one size"):
        verb(net(), **roles, head="published", head_width=32)


@pytest.mark.parametrize(
    ("given", "passes"),
    [
        # Batches are no larger than the 200 members: one step of each pass over 300 others.
        ({}, HEAD_STEPS),
        ({"head_batch": 50}, HEAD_STEPS // 6),
        ({"head_batch": 4}, HEAD_EPOCHS),
        ({"head_epochs": 2}, 2),
    ],
    ids=["large batches", "smaller ones", "many steps", "as asked"],
)
def test_a_head_takes_enough_steps_even_where_images_are_few(roles, given, passes):
    assert settings_of_attach(brought_together(roles, None), given).head_epochs == passes


@pytest.mark.parametrize("odd", [{"epochs": 3}, {"lambda_mint": 2.0}])
def test_attaching_knows_its_own_settings_only(roles, odd):
    with pytest.raises(SettingsError, match=f"{next(iter(odd))} is no setting of attach"):
        amint.attach(net(), **roles, **odd)


class Drifting(OwnNet):
    """Keeps, while it is trained, what no file of weights holds: a mean, or a temperature."""

    def __init__(self, of_buffer: bool) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(3), persistent=False)
        self.of_buffer, self.heat = of_buffer, 1.0

    def forward(self, images):
        found = super().forward(images)
        if self.training and self.of_buffer:
            self.seen.add_(found.detach().mean(0))
        elif self.training:
            self.heat *= 0.9
        return found / self.heat - self.seen


def diverged() -> OwnNet:
    model = net()
    nn.init.constant_(model.classify.bias, float("nan"))
    return model


@pytest.mark.parametrize("verb", [amint.fit, amint.attach])
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Drifting(True), "changes seen, which no file of weights holds"),
        (lambda: Drifting(False), "changes heat, which no file of weights holds"),
        (lambda: "resnet18", r"str is no torch.nn.Module.*timm.create_model"),
        (lambda: torch.jit.script(nn.Linear(3, 3)), "scripted or traced"),
        (lambda: net().half(), r"weights in torch.float16. Give model.float\(\)"),
        (lambda: nn.Flatten(), "has no weights"),
        (lambda: net().to("meta"), "has no weights"),
        (lambda: nn.DataParallel(net()), r"wraps a model.*model\.module"),
        (lambda: torch.compile(net()), r"wraps a model.*model\._orig_mod"),
        (lambda: diverged(), "no finite numbers"),
        (lambda: net(classes=2), "class 2, but the model tells 2 classes"),
        (lambda: timm.create_model("convnext_pico", num_classes=3), "refuses images.*resize them"),
    ],
    ids=[
        "buffer",
        "number",
        "name",
        "scripted",
        "half",
        "no weights",
        "meta",
        "parallel",
        "compiled",
        "diverged",
        "few classes",
        "small images",
    ],
)
def test_what_no_head_can_be_given_to_is_refused(roles, verb, build, message):
    with pytest.raises((ModelError, DataError), match=message):
        verb(build(), **roles)


def test_a_compiled_model_is_given_no_head_by_hand_either():
    with pytest.raises(ModelError, match=r"wraps a model.*model\._orig_mod"):
        amint.enhance(torch.compile(net()), ("first", "second"), torch.zeros(2, 3, 16, 16))


def test_a_head_of_no_passes_is_refused(roles):
    with pytest.raises(SettingsError, match="head_epochs = 0 trains no head"):
        amint.attach(net(), **roles, head_epochs=0)


def test_labels_that_are_no_numbers_of_classes_are_refused():
    with pytest.raises(DataError, match=r"largest label is 2,000,000,000.*np\.unique"):
        amint.deal(PIXELS, LABELS * 10**9, **SIZES)


def test_one_group_for_all_images_is_told_of_in_words_of_ones_own():
    with pytest.raises(DataError, match=r"external wants .* hold 0\. .*no group.*no groups"):
        amint.deal(PIXELS, LABELS, ["all"] * len(PIXELS), **SIZES)


def test_a_model_that_is_wholly_frozen_is_attached_to_and_not_fitted(roles):
    with pytest.raises(ModelError, match=r"nothing to train.*amint\.attach"):
        amint.fit(net().requires_grad_(False), **roles)


# Taps and code.


@pytest.mark.parametrize(
    "build",
    [
        lambda: timm.create_model("resnet18", num_classes=3),
        lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=3),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.ReLU(), nn.Linear(8, 3)),
    ],
    ids=["resnet18", "vit", "mlp"],
)
def test_taps_are_found_in_any_classifier(build):
    model, images = build(), torch.randn(2, 3, 32, 32)
    taps = find_taps(model, images)
    assert len(set(taps)) == 2
    assert amint.enhance(model, taps, images, width="fit").taps == taps


def test_a_model_without_two_places_to_cut_is_told_so():
    with pytest.raises(ModelError, match=r"Name one or more yourself, taps=\[…\]"):
        find_taps(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.randn(2, 3, 2, 2))


def test_a_models_digest_follows_its_code_and_settings_and_not_its_weights():
    same = {code.digest(net(seed)) for seed in (0, 1)}
    assert len(same) == 1
    others = [net(activation=functional.gelu), net(activation=lambda maps: maps.clamp(0))]
    others += [net(activation=lambda maps: maps.clamp(1)), nn.Sequential(net())]

    class Child(OwnNet):
        def forward(self, images):
            return super().forward(images) * 2

    digests = {code.digest(one) for one in [*others, Child()]}
    assert len(digests) == 5
    assert not digests & same


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "changed", [utils.weight_norm, utils.spectral_norm, partial(prune.l1_unstructured, amount=0.5)]
)
def test_a_digest_follows_no_weight_that_is_computed_of_others(changed):
    def digest_of(seed: int) -> str:
        made = net(seed)
        changed(made.first, name="weight")
        made(torch.rand(1, 3, 8, 8))
        return code.digest(made)

    assert digest_of(0) == digest_of(1) != code.digest(net())


def test_timms_models_come_back_without_their_class(roles, tmp_path):
    torch.manual_seed(0)
    trained = timm.create_model("resnet10t", num_classes=3)
    model = amint.attach(trained, **roles, folder=tmp_path / "t", head_epochs=1, head_batch=50)
    batch = model.preprocessing.normalise(PIXELS[:20])
    assert torch.equal(amint.load(tmp_path / "t").score(batch), model.score(batch))


def test_a_digest_follows_all_that_code_reaches(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def digest_of(act: str = "x.relu()", scale: str = "2.0", slope: str = "0.1") -> str:
        (tmp_path / "reached.py").write_text(
            f"SCALE = {scale}\n\n\nclass Way:\n    slope = {slope}\n\n"
            "    @staticmethod\n    def bend(x):\n        return x * Way.slope\n\n\n"
            f"def act(x):\n    return {act}\n"
        )
        (tmp_path / "own_net.py").write_text(
            "import reached\nfrom reached import SCALE, Way\nfrom torch import nn\n\n\n"
            "class Net(nn.Module):\n    def forward(self, x):\n"
            "        return Way.bend(reached.act(x)) * SCALE\n"
        )
        for name in ("reached", "own_net"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return code.digest(importlib.import_module("own_net").Net())

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    same = digest_of()
    assert digest_of() == same
    others = {digest_of(act="x.tanh()"), digest_of(scale="3.0"), digest_of(slope="0.2")}
    assert len(others | {same}) == 4


def test_a_digest_follows_values_that_are_no_weights():
    def with_(value, persistent: bool | None = None) -> str:
        made = net()
        if persistent is None:
            made.table = value
        else:
            made.register_buffer("table", value, persistent=persistent)
        return code.digest(made)

    ones, twos = torch.ones(3), 2 * torch.ones(3)
    assert with_(ones) == with_(ones.clone()) != with_(twos)
    assert with_(ones, False) != with_(twos, False)
    assert with_(ones, True) == with_(twos, True)  # a weight
    assert with_(partial(functional.leaky_relu, negative_slope=0.1)) != with_(
        partial(functional.leaky_relu, negative_slope=0.2)
    )
    assert with_(SimpleNamespace(width=1)) != with_(SimpleNamespace(width=2))


@pytest.mark.parametrize("verb", [amint.fit, amint.attach])
@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (lambda: OwnNet(lambda maps: functional.relu(maps - maps.mean(0))), "among others"),
        (lambda: OwnNet(lambda maps: functional.relu(maps) + torch.rand(())), "at random"),
        (lambda: OwnNet(classes=1), "one output"),
    ],
)
def test_a_model_whose_answers_are_not_its_own_is_refused_before_training(
    roles, verb, spoiled, message
):
    roles = {role: replace(one, labels=None) for role, one in roles.items()}
    with pytest.raises(ModelError, match=message):
        verb(spoiled(), **roles)


def test_weights_that_changed_after_calibration_are_not_asked(fitted, tmp_path):
    model, _ = fitted
    found = amint.load(amint.save(model, tmp_path / "m"), model=OwnNet())
    with torch.no_grad():
        next(found.enhanced.audited.parameters()).add_(1)
    with pytest.raises(ModelError, match="have changed since its calibration"):
        found.audit(PIXELS[:60])


def test_tied_weights_are_kept(roles):
    class Tied(OwnNet):
        def __init__(self) -> None:
            super().__init__()
            self.again = nn.Conv2d(8, 8, 3, padding=1)
            self.more = nn.Conv2d(8, 8, 3, padding=1)
            self.more.weight = self.again.weight

        def forward(self, images):
            maps = self.more(self.again(self.activation(self.first(images))))
            return self.classify(self.activation(self.second(maps)).mean((2, 3)))

    torch.manual_seed(0)
    amint.fit(Tied(), **roles, **SHORT)


def test_class_folders_are_numbered_as_an_audit_reads_them(tmp_path):
    names = ("0", "2", "10")
    for number, name in enumerate(names):
        fill(tmp_path / "all" / name, pictures(number, 200))
    pool = gather(tmp_path / "all")
    assert pool.classes == names
    torch.manual_seed(0)
    roles = amint.deal(pool, members=150, external=150, calibration=100, holdout=100)
    model = amint.fit(OwnNet(), **roles, **SHORT)
    assert model.card["classes"] == list(names)
    found = score_all(
        model.score,
        tmp_path / "all",
        model.preprocessing,
        classify=model.classify,
        classes=model.card["classes"],
    )
    kept = {one.tobytes(): label for one, label in zip(pool.pixels, pool.labels, strict=True)}
    logits = model.classify(model.preprocessing.normalise(pool.pixels)).double().numpy()
    sure = dict(zip(kept, scaled_logits(logits, pool.labels), strict=True))
    pixels = [picture.pixels.tobytes() for picture in read(tmp_path / "all", model.preprocessing)]
    np.testing.assert_allclose(found.of_label, [sure[one] for one in pixels], rtol=1e-4, atol=1e-4)


def test_roles_in_folders_have_the_classes_of_all(tmp_path):
    for role, names in (("members", ("a", "b")), ("external", ("b", "c"))):
        for number, name in enumerate(names):
            fill(tmp_path / role / name, pictures(len(role) + 7 * number, 5))
    roles = brought_together({role: tmp_path / role for role in ("members", "external")}, None)
    assert roles.dataset.class_names == ("a", "b", "c")
    assert roles.dataset.labels[roles.rows["external"]].tolist() == [1] * 5 + [2] * 5
    with pytest.raises(DataError, match="names of folders, those of others are numbers"):
        brought_together({"members": tmp_path / "members", "external": (PIXELS, LABELS)}, None)
    fill(tmp_path / "members", pictures(50, 1))
    with pytest.warns(UserWarning, match="1 images lie beside the class folders"):
        assert gather(tmp_path / "members").labels is None


def test_the_blind_control_keeps_tracks_together():
    random, found = np.random.default_rng(0), []
    for _ in range(6):
        tracks = np.repeat(random.normal(0, 40, (80, 1, 1, 3)), 8, axis=0)
        pixels = (128 + tracks + random.normal(0, 2, (640, 8, 8, 3))).clip(0, 255).astype(np.uint8)
        groups = np.repeat(np.arange(80), 8)
        order = random.permutation(320), 320 + random.permutation(320)
        found.append(
            card._blind([pixels[rows] for rows in order], tuple(groups[rows] for rows in order))
        )
    assert abs(np.mean([one["value"] for one in found]) - 0.5) < 0.1
    assert sum(one["low"] <= 0.5 <= one["high"] for one in found) >= 5


def test_the_blind_control_finds_nothing_where_there_is_nothing():
    random = np.random.default_rng(0)
    found = []
    for _ in range(10):
        sides = [random.integers(0, 256, (300, 8, 8, 3), np.uint8) for _ in range(2)]
        found.append(card._blind(sides, (np.arange(300), np.arange(300, 600)))["value"])
    # Without the guards of cross-fitting the mean lies below a half: a fold's own images are
    # missing from what is learnt.
    assert abs(np.mean(found) - 0.5) < 3 * np.std(found) / np.sqrt(len(found))
    bright = [sides[0], (sides[1] // 2).astype(np.uint8)]
    assert card._blind(bright, (np.arange(300), np.arange(300, 600)))["value"] > 0.95


def test_corrected_labels_of_members_are_told_of(roles, tmp_path):
    torch.manual_seed(0)
    trained, given = net(), {"folder": tmp_path / "a", "head_epochs": 1}
    before = amint.attach(trained, **roles, **given)
    others = replace(roles["members"], labels=(roles["members"].labels + 1) % 3)
    after = amint.attach(trained, **{**roles, "members": others}, **given)
    key = "accuracy_on_members"
    assert before.card["audited"][key] != after.card["audited"][key]


def test_who_waited_for_a_training_that_took_its_folder_away_takes_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(trainings, "_PATIENCE", 0.05)
    waiting = OwnTraining({"training": {}}, tmp_path / "m", "start")
    waiting.folder.mkdir(parents=True)
    held = threading.Event()

    def train_first() -> None:
        with FileLock(waiting.folder / ".lock"):
            held.set()
            time.sleep(0.5)
            shutil.rmtree(waiting.folder)

    other = threading.Thread(target=train_first)
    other.start()
    held.wait()
    with waiting.alone():
        assert (waiting.folder / ".lock").is_file()
    other.join()

"""Training in two stages: resident images, Muon, recorded activations, heads."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import small_run
import torch
from torch import nn

from amint_core.errors import CacheError, SettingsError, TrainingError
from amint_core.locations import cache_root
from amint_core.model import zoo
from amint_core.model.heads import build_head, fitting_width
from amint_core.model.mint import enhance, parameter_count
from amint_core.run import recorded as on_disk
from amint_core.run.folder import Run
from amint_core.run.recorded import recorded
from amint_core.run.steps import train as train_run
from amint_core.settings import create
from amint_core.training.activations import Part, record
from amint_core.training.batches import Copies
from amint_core.training.head_stage import membership, parts_of, train_head
from amint_core.training.kinds import ACTIVE, JOINT, PLAIN
from amint_core.training.muon import (
    COEFFICIENTS,
    ITERATIONS,
    MuonAdam,
    cosine,
    matrices_of,
    orthogonalised,
)
from amint_core.training.resident import Resident
from amint_core.training.resident_loop import Plan, Schedule, run_steps
from amint_core.training.transcript import state_digest
from amint_core.training.trunk import Objective, train_trunk

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TAPS = ("stage2", "stage3")
WEIGHTS = {"audited": 1.0, "mint": 1.0}


def resident(count=96, side=8, channels=3):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, side, side, channels), np.uint8)
    return Resident.of(pixels, np.arange(count) % 4, DEVICE)


def rows(first, last):
    return torch.arange(first, last, device=DEVICE)


def tiny(seed=0):
    torch.manual_seed(seed)
    model = enhance(zoo.create("tiny", 3, 8, 4), TAPS, torch.zeros(2, 3, 8, 8))
    return model.to(DEVICE, memory_format=torch.channels_last)


def schedule(**changes):
    return Schedule(**{"epochs": 3, "batch": 16, "half": False, "muon": 0.0, **changes})


def train(model=None, joint=None, **changes):
    model = model or tiny()
    joint = joint or Objective(ACTIVE, WEIGHTS, member_copies=Copies(1.0, ("flip", "shift")))
    history = train_trunk(model, resident(), rows(0, 48), rows(48, 96), joint, schedule(**changes))
    return model, history


def test_images_come_normalised_and_channels_last():
    images = resident()
    got = images.images(rows(3, 7))
    expected = images.pixels[3:7].permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(got, expected)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_a_flip_mirrors_about_half_of_the_images_that_may_move():
    images = resident(64)
    torch.manual_seed(1)
    moved = images.images(rows(0, 64), Copies(0.75, ("flip",)))
    still = images.images(rows(0, 64))
    same = (moved == still).flatten(1).all(1)
    mirrored = (moved == still.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert same[:16].all()
    assert 12 <= int(mirrored[16:].sum()) <= 36


def test_a_shift_reads_from_at_most_its_reach_and_reflects_the_border():
    ramp = torch.arange(32, dtype=torch.uint8)
    pixels = ramp[None, None, :, None].expand(200, 32, 32, 1).numpy()  # the column's number
    images = Resident.of(pixels, np.zeros(200, np.int64), DEVICE)
    moved = images.images(rows(0, 200), Copies(1.0, ("shift",))).cpu()
    columns = ((moved + 1) * 127.5).round().long()[:, 0, 0]  # (B, W)
    assert set((columns[:, 16] - 16).tolist()) == {-2, -1, 0, 1, 2}
    to_the_right = columns[columns[:, 16] == 14][0].tolist()
    assert to_the_right[:5] == [2, 1, 0, 1, 2]
    to_the_left = columns[columns[:, 16] == 18][0].tolist()
    assert to_the_left[-4:] == [30, 31, 30, 29]


def test_an_unknown_move_is_refused():
    with pytest.raises(SettingsError, match="flip"):
        resident().images(rows(0, 2), Copies(1.0, ("flop",)))


def test_muon_takes_the_steps_of_torchs_own():
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 12), nn.Linear(12, 20))
    theirs = nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 12), nn.Linear(12, 20))
    theirs.load_state_dict(ours.state_dict())
    start = [part.weight.detach().clone() for part in ours]
    weights = [part.weight for part in ours]
    rest = [part.bias for part in ours]
    mine = MuonAdam([*weights, *rest], weights, muon=0.02, adam=1e-3, decay=0.1)
    muon = torch.optim.Muon(
        [part.weight for part in theirs], lr=0.02, weight_decay=0.1, momentum=0.95
    )
    for _ in range(3):
        images = torch.randn(8, 12)
        for model, optimizer in ((ours, mine), (theirs, muon)):
            optimizer.zero_grad()
            model[2](model[1](model[0](images))).square().sum().backward()
            optimizer.step()
        with torch.no_grad():
            for one, other in zip(ours, theirs, strict=True):
                other.bias.copy_(one.bias)
    # Theirs iterates in bfloat16, ours in fp32 on a CPU: steps agree to a few hundredths.
    for before, one, other in zip(start, ours, theirs, strict=True):
        step = (other.weight - before).norm()
        assert step > 0.05
        assert (one.weight - other.weight).norm() < 0.1 * step


@pytest.mark.parametrize("shape", [(8, 15), (8, 16), (64, 8), (8, 64)])
def test_matrices_are_orthogonalised_as_by_the_iterations_written_out(shape):
    """Also wide ones, of which only the small Gram matrix goes through the iterations."""
    given = torch.randn((2, *shape), generator=torch.Generator().manual_seed(0))
    given[1, 0] = given[1, 1]  # one of rank less than full
    expected = given.double() / given.double().norm(dim=(1, 2), keepdim=True)
    for _ in range(ITERATIONS):
        a, b, c = COEFFICIENTS
        gram = expected @ expected.mT
        expected = a * expected + b * gram @ expected + c * gram @ gram @ expected
    torch.testing.assert_close(orthogonalised(given).double(), expected, atol=1e-4, rtol=0)


def test_muon_steps_a_convolution_as_a_matrix_whatever_its_layout():
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, 3)
    last = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    last.load_state_dict(plain.state_dict())
    images = torch.randn(2, 4, 8, 8)
    for convolution in (plain, last):
        optimizer = MuonAdam(
            list(convolution.parameters()), [convolution.weight], muon=0.1, adam=1e-3
        )
        convolution(images).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(plain.weight, last.weight, rtol=1e-2, atol=1e-3)


def test_a_matrix_without_a_gradient_stays_as_it_is():
    used, left_out, other = (nn.Linear(3, 3, bias=False) for _ in range(3))
    weights = [one.weight for one in (used, left_out, other)]
    before = [weight.detach().clone() for weight in weights]
    optimizer = MuonAdam(weights, weights[:2], muon=0.1, adam=1e-3)
    used(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()
    moved = [not torch.equal(*pair) for pair in zip(weights, before, strict=True)]
    assert moved == [True, False, False]
    optimizer.zero_grad()
    optimizer.step()  # of no weight


def test_the_schedule_sets_both_rates():
    layers = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = MuonAdam(list(layers.parameters()), matrices_of(layers), 0.1, 0.1)
    before = [weight.detach().clone() for weight in layers.parameters()]
    layers(torch.ones(2, 3)).sum().backward()
    optimizer.share.fill_(0.0)
    optimizer.step()
    for old, weight in zip(before, layers.parameters(), strict=True):
        torch.testing.assert_close(old, weight.detach())
    shares = cosine(10, torch.device("cpu"), ramp=0.2).tolist()
    assert shares[0] < shares[1] > shares[2] > shares[-1] >= 0


def test_matrices_are_neither_depthwise_nor_the_last_layer():
    model = zoo.create("mobilenet", 3, 32, 10)
    chosen = {id(weight) for weight in matrices_of(model)}
    depthwise = [
        part.weight for part in model.modules() if isinstance(part, nn.Conv2d) and part.groups > 1
    ]
    assert depthwise
    assert not chosen & {id(weight) for weight in depthwise}
    assert id(model.classifier.weight) not in chosen
    assert id(model.conv_stem.weight) in chosen


def test_a_plan_recycles_members_and_passes_external_images_once_an_epoch():
    plan = Plan(rows(0, 40), rows(40, 88), schedule(epochs=5), DEVICE)
    assert plan.external.shape == plan.members.shape == (15, 16)
    for epoch in plan.external.view(5, -1):
        assert sorted(epoch.tolist()) == list(range(40, 88))
    counts = torch.bincount(plan.members.flatten(), minlength=40)
    assert counts.min() == counts.max() == 6


@pytest.mark.parametrize("seed", [2**42, 2**63 - 1])
def test_seeds_of_every_size_give_a_plan_of_their_own(seed):
    one, again, other = (
        Plan(rows(0, 40), rows(40, 88), schedule(seed=number), DEVICE).external
        for number in (seed, seed, seed - 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_the_first_stage_repeats_itself_and_learns():
    (one, first), (two, second) = train(epochs=8), train(epochs=8)
    # A GPU adds the gradients of maxima in any order: there runs agree, bit for bit they do not.
    bounds = {"rtol": 0, "atol": 0} if DEVICE.type == "cpu" else {"rtol": 0.1, "atol": 0.1}
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, two.state_dict()[name], **bounds)
    assert second[0]["audited_loss"] == pytest.approx(first[0]["audited_loss"], rel=1e-2)
    assert first[-1]["audited_loss"] < first[0]["audited_loss"]
    other, _ = train(tiny(), epochs=8, seed=1)
    changed = [
        not torch.equal(value, other.state_dict()[name])
        for name, value in one.audited.state_dict(prefix="audited.").items()
    ]
    assert any(changed)


@pytest.mark.parametrize("kind", [PLAIN, JOINT])
def test_without_a_mint_loss_the_head_stays_as_it_is(kind):
    before = tiny().head.state_dict()
    model, history = train(joint=Objective(kind, WEIGHTS))
    assert set(history[-1]) == {"epoch", "audited_loss", "audited_accuracy", "seconds"}
    for name, weight in model.head.named_parameters():
        torch.testing.assert_close(weight.detach(), before[name])


def test_external_images_shape_the_statistics_of_a_joint_pass_alone():
    seen = {}
    for kind in (PLAIN, JOINT):
        model, _ = train(joint=Objective(kind, WEIGHTS), muon=0.0, adam=0.0)
        seen[kind.name] = model.audited.state_dict()["stem.1.running_mean"]
    assert not torch.allclose(seen["plain"], seen["joint"])


def test_muon_trains_both_trunk_and_head():
    before = tiny().state_dict()
    model, history = train(epochs=1, muon=0.02, adam=0.0)
    moved = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert {"audited.stage1.0.weight", "head.readers.0.0.weight"} <= moved
    assert "audited.classifier.weight" not in moved
    assert np.isfinite(history[0]["mint_loss"])


def test_divergence_is_refused():
    with pytest.raises(TrainingError, match="learning"):
        train(adam=float("inf"), muon=0.0)


def test_weights_that_the_last_step_spoils_are_refused_though_its_loss_is_a_number():
    weight, once = nn.Parameter(torch.zeros(3, device=DEVICE)), schedule(epochs=1, batch=4)
    plan = Plan(rows(0, 4), rows(4, 8), once, DEVICE)

    def loss():
        value = (weight * 0).sqrt().sum()  # 0, and its slope is no number
        return value, {"loss": value.detach()}

    assert len(plan) == 1
    with pytest.raises(TrainingError, match=r"weights are no numbers after the last .*learning"):
        run_steps(loss, once.optimizer(nn.ParameterList([weight])), plan, once, plan.external)


def test_activations_are_those_of_evaluation_mode():
    model, images = tiny(), resident()
    parts = [Part(rows(5, 9)), Part(rows(0, 0)), Part(rows(0, 2))]  # no calibration images
    found = record(model.audited, TAPS, images, parts, half=False)
    assert len(found) == 6
    model.eval()
    seen = {}
    for tap in TAPS:
        model.audited.get_submodule(tap).register_forward_hook(
            lambda _, __, output, tap=tap: seen.update({tap: output})
        )
    with torch.no_grad():
        model.audited(images.images(rows(5, 9)))
    for tap, maps in zip(TAPS, found.take(rows(0, 4), TAPS), strict=True):
        torch.testing.assert_close(maps, seen[tap].bfloat16(), rtol=2e-2, atol=1e-3)
        assert maps.is_contiguous(memory_format=torch.channels_last)


def test_a_head_is_asked_of_what_it_learned_from():
    run = Run(staged_settings(method="attached", low_pass=True, head_rate=0.02, head_epochs=12))
    train_run(run)
    model, images = (
        run.model.eval(),
        Resident.of(run.data.dataset.pixels, run.data.dataset.labels, DEVICE),
    )
    members = torch.from_numpy(run.data.split.roles["members"]).to(DEVICE)
    given = model.audited, model.taps, images, [Part(members)]
    logits = {
        low_pass: membership(
            model.head,
            model.taps,
            record(*given, half=False, low_pass=low_pass),
            torch.arange(len(members), device=DEVICE),
        )
        for low_pass in (False, True)
    }
    with torch.no_grad():
        asked = model.membership(images.images(members))
    apart = {low_pass: float((one - asked).abs().mean()) for low_pass, one in logits.items()}
    assert apart[True] < apart[False] / 10  # not 0: activations are recorded in bfloat16
    with torch.no_grad():  # the classifier sees images as they are
        classes = model(images.images(members))[0]
        torch.testing.assert_close(classes, model.audited(images.images(members)))


def test_activations_on_disk_are_read_again_until_the_trunk_changes(monkeypatch):
    model, images = tiny().cpu(), resident()
    images = Resident(images.pixels.cpu(), images.labels.cpu())
    parts = parts_of(torch.arange(4), torch.arange(4, 10), 2, ("flip",))
    first = recorded(model.audited, TAPS, images, parts, half=False, fingerprint="data")
    assert len(first) == 4 + 6 * 3
    calls = []
    monkeypatch.setattr(on_disk, "record", lambda *a, **b: calls.append(1) or record(*a, **b))
    again = recorded(model.audited, TAPS, images, parts, half=False, fingerprint="data")
    assert not calls
    for tap in TAPS:
        torch.testing.assert_close(first.maps[tap], again.maps[tap])
    recorded(model.audited, TAPS, images, parts, half=False, low_pass=True, fingerprint="data")
    assert calls.pop() == 1
    with monkeypatch.context() as other:  # the code that records them is another one
        other.setattr(on_disk.provenance, "code_fingerprint", lambda *modules: "other")
        recorded(model.audited, TAPS, images, parts, half=False, fingerprint="data")
    assert calls.pop() == 1
    next(model.audited.parameters()).data.add_(1)
    recorded(model.audited, TAPS, images, parts, half=False, fingerprint="data")
    assert calls == [1]


def test_activations_beyond_the_budget_are_refused(monkeypatch):
    monkeypatch.setattr(on_disk, "DISK_BUDGET", 1000)
    images = Resident(resident().pixels.cpu(), resident().labels.cpu())
    with pytest.raises(CacheError, match="head_copies"):
        recorded(tiny().cpu().audited, TAPS, images, [Part(torch.arange(64))], fingerprint="")


def test_a_recording_of_another_user_is_read_and_what_may_not_be_is_said(monkeypatch):
    images = Resident(resident().pixels.cpu(), resident().labels.cpu())
    given = tiny().cpu().audited, TAPS, images, [Part(torch.arange(8))]
    first = recorded(*given, fingerprint="data")

    def denied(*given, **more):
        raise PermissionError(13, "Permission denied")

    def read_only(path, kind, mode, shape):
        return memmap(path, kind, mode, shape=shape) if mode == "r" else denied()

    memmap = np.memmap
    monkeypatch.setattr(on_disk.os, "utime", denied)
    monkeypatch.setattr(on_disk, "record", denied)
    monkeypatch.setattr(np, "memmap", read_only)
    again = recorded(*given, fingerprint="data")
    for tap in TAPS:
        torch.testing.assert_close(first.maps[tap], again.maps[tap])
    monkeypatch.setattr(on_disk, "opened", denied)
    with pytest.raises(CacheError, match=r"Permission denied.*mend the permissions.*AMINT_CACHE"):
        recorded(*given, fingerprint="data")


def test_older_recordings_make_room_where_the_disk_is_full(monkeypatch):
    images = Resident(resident().pixels.cpu(), resident().labels.cpu())
    given, kept = (tiny().cpu().audited, TAPS, images), []
    for seed, free in ((0, 2**30), (1, 0)):  # the second fits where the first has been
        disk = SimpleNamespace(free=free)
        monkeypatch.setattr(on_disk.shutil, "disk_usage", lambda folder, disk=disk: disk)
        recorded(*given, [Part(torch.arange(8 - seed))], seed, fingerprint="data")
        kept.append({one.name for one in (cache_root() / "activations").iterdir()})
    assert len(kept[0]) == len(kept[1]) == 1
    assert kept[0] != kept[1]


def test_a_head_learns_members_on_a_frozen_trunk():
    model, images = tiny(), resident()
    parts = parts_of(rows(0, 48), rows(48, 96), 1, ("flip", "shift"))
    recording = record(model.audited, TAPS, images, parts, half=False)
    before = state_digest(model.audited.state_dict())

    def trained():
        torch.manual_seed(3)
        head = build_head(None, [recording.shapes[tap] for tap in TAPS]).to(DEVICE)
        history = train_head(head, TAPS, recording, 48, 48, 1, schedule(epochs=40, adam=5e-3))
        return head, history

    (head, history), (again, _) = trained(), trained()
    assert state_digest(model.audited.state_dict()) == before
    assert history[-1]["mint_accuracy"] > 0.9 > history[0]["mint_accuracy"]
    logits = membership(head, TAPS, recording, rows(0, 96))
    assert logits[:48].mean() > logits[48:].mean() + 1
    torch.testing.assert_close(logits, membership(again, TAPS, recording, rows(0, 96)))


def test_tokens_are_recorded_and_read_as_they_are():
    torch.manual_seed(0)
    vit = zoo.create("vit", 3, 8, 4).to(DEVICE).eval()
    taps = zoo.default_taps("vit", vit, "middle")
    found = record(vit, taps, resident(), [Part(rows(0, 5))], half=False)
    assert [tuple(maps.shape) for maps in found.take(rows(1, 3), taps)] == [(2, 5, 64)] * 2


def staged_settings(**changes):
    return create(**{**small_run.SMALL, "head_epochs": 2, "head_rate": 0.0, **changes})


def test_a_run_in_two_stages_ends_with_a_head_on_a_trunk_that_stands_still():
    runs = {name: Run(staged_settings(method=name)) for name in ("plain", "attached", "active")}
    history = {name: train_run(run) for name, run in runs.items()}
    assert [history[name]["epoch"].tolist() for name in history] == [[1], [1, 2], [1, 2, 3]]
    assert history["active"]["stage"].tolist() == ["trunk", "head", "head"]
    assert history["active"][["order", "state"]].nunique().tolist() == [3, 3]
    weights = {name: state_digest(run.model.audited.state_dict()) for name, run in runs.items()}
    assert weights["plain"] == weights["attached"] != weights["active"]


@pytest.mark.parametrize("method", ["attached", "active"])
def test_heads_of_an_ensemble_learn_by_themselves_the_first_as_one_alone(method):
    changes = {"method": method, "head_rate": 0.02}
    one = Run(staged_settings(**changes))
    three = Run(staged_settings(**changes, head_count=3))
    alone, history = train_run(one), train_run(three)
    several = history[history["stage"] == "head"]
    assert several["head"].tolist() == [1, 1, 2, 2, 3, 3]
    assert history["epoch"].tolist() == list(range(1, len(history) + 1))
    assert several[["order", "state"]].nunique().tolist() == [6, 6]
    losses = several["mint_loss"].tolist()
    heads = [state_digest(head.state_dict()) for head in three.model.head.heads]
    assert len(set(heads)) == 3
    if method == "attached":  # beside a loss, the trunk learns from all heads
        assert losses[:2] == alone["mint_loss"].tolist()[-2:]
        assert heads[0] == state_digest(one.model.head.state_dict())


def test_an_ensemble_that_was_trained_is_loaded(capsys):
    changes = {"method": "attached", "head_count": 2}
    runs = [Run(staged_settings(**changes)) for _ in range(2)]
    histories = [train_run(run) for run in runs]
    assert "loaded the attached model" in capsys.readouterr().out
    pd.testing.assert_frame_equal(*histories)
    assert len({state_digest(run.model.state_dict()) for run in runs}) == 1
    assert not list(cache_root().rglob("*damaged*"))


def test_the_lowest_logit_of_an_ensemble_counts():
    torch.manual_seed(0)
    shapes = [(8, 4, 4), (16, 2, 2)]
    ensemble = build_head(None, shapes, width=8, count=3).eval()
    maps = [torch.randn(40, *shape) for shape in shapes]
    logits = torch.stack([head(maps) for head in ensemble.heads])
    assert ensemble.width == 8
    assert torch.equal(ensemble(maps), logits.min(0).values)
    assert len(set(logits.argmin(0).tolist())) > 1
    one = build_head(None, shapes, width=8)
    assert parameter_count(ensemble) == 3 * parameter_count(one)
    most = 3 * parameter_count(build_head(None, shapes, width=64))
    assert fitting_width(None, shapes, most, 3) == 64 < fitting_width(None, shapes, most)


def test_settings_of_two_stages_are_refused_where_they_would_do_nothing():
    for wrong, named in (
        ({"optimizer": "muon"}, "head_epochs"),
        ({"label_smoothing": 0.1}, "head_epochs"),
        ({"low_pass": True}, "head_epochs"),
        ({"head_count": 2}, "head_epochs"),
        ({"head_epochs": 2, "head_count": 17}, "head_count"),
        ({"head_epochs": 2, "patience": 1}, "early stopping"),
        ({"head_epochs": 2, "defects": ["separate_batches"]}, "defects"),
        ({"recipe": "staged", "schedule": "constant"}, "cosine"),
        ({"recipe": "staged", "external_transformations": ["crop"]}, "flip, shift"),
        ({"recipe": "staged", "method": "lira_online"}, "shadow"),
        ({"head": "published", "head_width": 64}, "one size"),
    ):
        with pytest.raises(SettingsError, match=named):
            create(**{**small_run.SMALL, **wrong})


def test_methods_of_two_stages_get_a_second_stage_and_old_ids_stay():
    assert create(**small_run.SMALL, method="attached").head_epochs == 10
    old = create(dataset="cifar10", model="mobilenet", data="real")
    assert old.head_epochs == 0
    same = create(
        dataset="cifar10", model="mobilenet", data="real", head_batch=512, optimizer="adam"
    )
    assert old.id == same.id

"""Losses, batches, kinds of training and the loop, on plain arrays."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from amint_core.data.hashes import image_hashes
from amint_core.data.transforms import normalised, to_bytes
from amint_core.errors import SettingsError, TrainingError
from amint_core.model.mint import enhance
from amint_core.training.batches import Copies, JointBatches, batch_shape
from amint_core.training.kinds import ACTIVE, KINDS, Kind
from amint_core.training.loop import fit
from amint_core.training.losses import AUDITED, Loss, audited_loss, mint_loss
from amint_core.training.step import LossBalance, Step
from amint_core.training.transcript import state_digest

CPU = torch.device("cpu")


PIXELS = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), np.uint8)


def batches(**changes):
    given = {
        "pixels": PIXELS,
        "labels": np.arange(40) % 10,
        "members": np.arange(10),
        "external": np.arange(10, 33),
        "batch_size": 4,
        "seed": 3,
        "device": CPU,
    }
    return JointBatches(**{**given, **changes})


def test_pixels_become_floats_around_zero_in_channels_last():
    pixels = np.array([[[[0, 255, 51]]]], np.uint8)  # (1, 1, 1, 3)
    tensor = normalised(to_bytes(pixels, CPU))
    torch.testing.assert_close(tensor.flatten(), torch.tensor([-1.0, 1.0, -0.6]))
    wide = normalised(to_bytes(PIXELS, CPU))
    assert wide.is_contiguous(memory_format=torch.channels_last)
    # ((x / 255) - .5) / .5, the published scaling
    expected = (torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    torch.testing.assert_close(wide, expected)


def test_a_batch_is_half_members_half_external():
    for batch in batches().epoch(1):
        assert batch.images.shape == (8, 3, 4, 4)
        assert batch.members == len(batch.labels) == 4


def test_an_epoch_passes_the_external_images_once_and_recycles_the_members():
    drawn = list(batches().indices(1))
    members, external = (np.concatenate(part) for part in zip(*drawn, strict=True))
    assert len(drawn) == 23 // 4
    assert len(set(external)) == len(external) == 20
    assert set(external) <= set(range(10, 33))
    counts = np.bincount(members, minlength=10)
    assert counts.min() == counts.max() == 2


def test_members_come_up_equally_often_over_epochs():
    drawn = [members for epoch in (1, 2, 3, 4, 5) for members, _ in batches().indices(epoch)]
    counts = np.bincount(np.concatenate(drawn), minlength=10)
    assert counts.min() == counts.max() == 10


def test_batches_follow_from_seed_and_epoch_alone():
    def drawn(epoch, **changes):
        return np.concatenate([np.r_[pair] for pair in batches(**changes).indices(epoch)])

    assert np.array_equal(drawn(2), drawn(2))
    assert not np.array_equal(drawn(2), drawn(1))
    assert not np.array_equal(drawn(2), drawn(2, seed=4))


def test_processes_share_each_batch_without_overlap():
    whole = list(batches().epoch(1))
    shares = [list(batches(rank=rank, world=2).epoch(1)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert first.members == second.members == 2
        parts = [first.images[:2], second.images[:2], first.images[2:], second.images[2:]]
        rows = {tuple(row.flatten().tolist()) for part in parts for row in part}
        assert rows == {tuple(row.flatten().tolist()) for row in batch.images}


def test_few_images_make_a_smaller_batch():
    assert batch_shape(10, 23, 4) == (4, 5)
    assert batch_shape(3, 23, 4) == (3, 7)
    assert batch_shape(10, 2, 4) == (2, 1)


def test_without_external_images_the_members_are_the_same():
    joint, alone = (list(batches(**given).epoch(2)) for given in ({}, {"with_external": False}))
    for whole, half in zip(joint, alone, strict=True):
        assert len(half.images) == half.members == 4
        assert torch.equal(whole.images[:4], half.images)


def test_copies_take_the_place_of_the_last_images_of_their_own_side():
    plain = list(batches().epoch(1))
    copied = list(batches(external_copies=Copies(0.5, ("noise",))).epoch(1))
    changed = np.zeros(8, bool)
    for before, after in zip(plain, copied, strict=True):
        assert torch.equal(before.labels, after.labels)
        changed |= (before.images != after.images).flatten(1).any(1).numpy()
    assert not changed[:6].any()  # members, and the half of the external images that stays
    assert changed[6:].all()
    again = list(batches(external_copies=Copies(0.5, ("noise",))).epoch(1))
    assert all(torch.equal(a.images, b.images) for a, b in zip(copied, again, strict=True))


def test_losses_are_the_textbook_ones():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    expected = -torch.log_softmax(logits, 1)[torch.arange(2), labels].mean()
    torch.testing.assert_close(audited_loss(logits, labels), expected)
    membership = torch.tensor([1.0, -2.0, 0.5])
    p = torch.sigmoid(membership)
    by_hand = -(torch.log(p[0]) + torch.log(1 - p[1]) + torch.log(1 - p[2])) / 3
    torch.testing.assert_close(mint_loss(membership, 1), by_hand)


def test_the_first_batch_balance_never_moves():
    balance = LossBalance(first_batch=True)
    for value in (4.0, 2.0, 1.0):
        balance.update({"audited": torch.tensor(value)})
    assert float(balance.scales["audited"]) == 4.0


def test_the_running_balance_follows_the_loss_down_to_its_floor():
    balance = LossBalance(momentum=0.5)
    for value in (4.0, 2.0):
        balance.update({"mint": torch.tensor(value)})
    assert float(balance.scales["mint"]) == pytest.approx(3.0)
    for _ in range(60):
        balance.update({"mint": torch.tensor(0.0)})
    assert float(balance.scales["mint"]) == pytest.approx(balance.floor)


def test_the_total_is_the_weighted_sum_of_scaled_losses():
    balance = LossBalance()
    losses = {"audited": torch.tensor(4.0), "mint": torch.tensor(0.5)}
    balance.update(losses)
    assert float(balance.total(losses, {"audited": 1.0, "mint": 10.0})) == pytest.approx(11.0)


class Small(nn.Module):
    """A classifier of 4×4 images with batch normalisation and dropout."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.top = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * 16, 10))

    def forward(self, images):
        return self.top(self.stem(images))


def small_model():
    torch.manual_seed(0)
    return enhance(Small(), ["stem.0", "stem"], torch.zeros(2, 3, 4, 4))


BOTH = {"audited": 1.0, "mint": 1.0}


def fitted(kind=ACTIVE, given=None, epochs=3, **more):
    """Train a small model on plain arrays; return its history and weights."""
    model = small_model()
    trained = model.audited if kind.trains == "audited" else model
    given = given or batches(with_external=kind.has_head, hashes=image_hashes(PIXELS))
    step = Step(kind, weights=BOTH)
    history = fit(trained, given, step, epochs=epochs, learning_rate=1e-2, seed=3, **more)
    return history, model.state_dict()


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_trains_what_it_says_and_nothing_else(kind):
    before = small_model()
    if kind.trains == "head":
        # As a run does it: the audited model's weights are fixed.
        model = small_model()
        model.audited.requires_grad_(False)
        fit(model, batches(), Step(kind), epochs=1, learning_rate=1e-2)
        after = model.state_dict()
    else:
        _, after = fitted(kind, epochs=1)
    changed = {name for name, value in before.state_dict().items() if not value.equal(after[name])}
    parts = {name.split(".")[0] for name in changed}
    trains = {"all": {"audited", "head"}, "audited": {"audited"}, "head": {"head"}}
    assert parts == trains[kind.trains]
    # No gradient reaches what lies behind the deepest tap without a loss on classes.
    assert ("audited.top.2.weight" in changed) == kind.reads_logits


def test_a_kind_may_bring_a_loss_of_its_own():
    def value(membership, batch):
        return (membership.float()[: batch.members].mean() - 3).square()

    def accuracy(membership, batch):
        return (membership[: batch.members] > 0).float().mean()

    pull = Loss("pull", "membership", value, accuracy)
    for losses in ((pull,), (AUDITED, pull)):  # beside another it has no λ, and counts as it is
        history, _ = fitted(Kind("own", trains="all", losses=losses), epochs=8)
        assert history["pull_loss"].iloc[-1] < history["pull_loss"].iloc[0] / 2
        assert {"pull_accuracy", "order", "state"} <= set(history)


def test_the_transcript_is_the_same_in_two_trainings_and_after_going_on_from_a_state():
    kept = []
    whole, weights = fitted(keep=lambda state: kept.append(copy.deepcopy(state)))
    again, _ = fitted()
    resumed, same = fitted(resume=kept[1])
    for other in (again, resumed):
        pd.testing.assert_frame_equal(other.drop(columns="seconds"), whole.drop(columns="seconds"))
    assert equal(weights, same)
    assert whole["order"].nunique() == whole["state"].nunique() == 3


def test_masks_and_empty_buffers_of_a_model_are_no_divergence():
    model = small_model()
    for name, values in {
        "causal": torch.ones(3, 3).tril().bool(),
        "mask": torch.full((3, 3), float("-inf")).triu(1),
        "nothing": torch.empty(0),
    }.items():
        model.audited.register_buffer(name, values)
    fit(model, batches(), Step(ACTIVE, weights=BOTH), epochs=1, learning_rate=1e-2)
    single = batches(batch_size=10, external=np.arange(10, 20))  # one step: no later loss tells
    with pytest.raises(TrainingError, match="diverged"):
        fit(model, single, Step(ACTIVE, weights=BOTH), epochs=1, learning_rate=1e38)


def test_one_swapped_image_changes_the_transcript():
    whole, _ = fitted()
    swapped = PIXELS.copy()
    swapped[4] = PIXELS[36]  # a member becomes another image
    other, _ = fitted(given=batches(pixels=swapped, hashes=image_hashes(swapped)))
    for column in ("order", "state"):
        assert not (whole[column] == other[column]).any(), column
    # Without content hashes the transcript reads the pixels themselves.
    orders = [batches(pixels=pixels).order(1) for pixels in (PIXELS, swapped, PIXELS)]
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_all_processes_tell_of_the_same_order():
    assert batches(rank=1, world=2).order(1) == batches().order(1)
    assert batches().order(1) != batches().order(2)


def test_the_state_of_a_training_is_told_apart_to_the_last_bit():
    state = {"w": torch.arange(3.0), "step": torch.tensor(2.0), "rate": 0.1}
    assert state_digest(state) == state_digest(dict(reversed(state.items())))
    for name, other in {
        "w": torch.nextafter(torch.arange(3.0), torch.tensor(9.0)),
        "step": torch.tensor(2),
        "rate": 0.2,
    }.items():
        assert state_digest({**state, name: other}) != state_digest(state), name


def test_batches_that_processes_cannot_share_are_refused():
    with pytest.raises(SettingsError, match="4 processes cannot share batches of 6 members"):
        batches(batch_size=6, world=4)
    with pytest.raises(SettingsError, match="2 processes cannot share batches of 2 members"):
        batches(batch_size=2, world=2)

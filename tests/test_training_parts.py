"""Losses, batches and checkpoints."""

import numpy as np
import pytest
import torch
from amint_core.training.checkpoint import Checkpoint

from amint_core.data.transforms import normalised, to_bytes
from amint_core.errors import ResultsError
from amint_core.training.batches import Copies, JointBatches, batch_shape
from amint_core.training.losses import audited_loss, mint_loss
from amint_core.training.step import LossBalance

CPU = torch.device("cpu")


def images(count=40, side=4, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, channels), np.uint8)


def batches(**changes):
    given = {
        "pixels": images(),
        "labels": np.arange(40) % 10,
        "members": np.arange(10),
        "external": np.arange(10, 33),
        "size": 4,
        "steps": 5,
        "seed": 3,
        "device": CPU,
    }
    return JointBatches(**{**given, **changes})


def test_pixels_become_floats_around_zero_in_channels_last():
    pixels = np.array([[[[0, 255, 51]]]], np.uint8)  # (1, 1, 1, 3)
    tensor = normalised(to_bytes(pixels, CPU))
    torch.testing.assert_close(tensor.flatten(), torch.tensor([-1.0, 1.0, -0.6]))
    wide = normalised(to_bytes(images(), CPU))
    assert wide.is_contiguous(memory_format=torch.channels_last)
    # ((x / 255) - .5) / .5, the published scaling
    expected = (torch.from_numpy(images()).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
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
    joint, alone = (list(batches(**given).epoch(2)) for given in ({}, {"external": None}))
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


def checkpoint(identity):
    weights = {"w": torch.arange(3.0)}
    return Checkpoint(
        identity, 2, weights, {"lr": 0.1}, {"last_epoch": 4}, {"mint": 1.0}, [{"epoch": 1}]
    )


def test_a_checkpoint_comes_back_whole(tmp_path):
    checkpoint({"code": "a"}).save(tmp_path / "c.pt")
    found = Checkpoint.load(tmp_path / "c.pt", {"code": "a"})
    assert found.epoch == 2
    assert torch.equal(found.model["w"], torch.arange(3.0))
    assert found.history == [{"epoch": 1}]


def test_a_checkpoint_of_other_code_is_not_resumed(tmp_path):
    checkpoint({"code": "a"}).save(tmp_path / "c.pt")
    assert Checkpoint.load(tmp_path / "c.pt", {"code": "b"}) is None
    assert Checkpoint.load(tmp_path / "none.pt", {"code": "a"}) is None


@pytest.mark.parametrize("content", [b"PK\x03\x04 half a file", b"garbage", b""])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(ResultsError, match=r"c\.pt cannot be read.*Delete it"):
        Checkpoint.load(tmp_path / "c.pt", {})

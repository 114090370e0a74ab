"""Models as people write them get a head and train, or are refused with a remedy."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
import torchvision.models as vision
from ordinary import Named, mlp
from torch import nn

from amint_core import LossBalance, audited_loss, enhance, mint_loss
from amint_core.errors import ModelError
from amint_core.model.heads import LeanHead
from amint_core.model.mint import parameter_count
from amint_core.training.activations import outputs
from amint_core.training.resident import Resident
from benchmarks.outsiders import Tutorial

#: What is built, its taps, the shape of an image, and the shapes that the head reads.
ORDINARY = {
    "tutorial net": (Tutorial, ("conv1", "conv2"), (3, 32, 32), [(6, 28, 28), (16, 10, 10)]),
    "grey": (lambda: Tutorial(1), ("conv1", "conv2"), (1, 32, 32), [(6, 28, 28), (16, 10, 10)]),
    "map and vector": (Tutorial, ("conv2", "fc1"), (3, 32, 32), [(16, 10, 10), (120, 1, 1)]),
    "vectors": (mlp, ("1", "3"), (3, 32, 32), [(64, 1, 1), (64, 1, 1)]),
    "channels last": (
        lambda: vision.swin_t(num_classes=10),
        ("features.1", "features.3"),
        (3, 32, 32),
        [(96, 8, 8), (192, 4, 4)],
    ),
    "dictionary": (Named, ("net.layer2", "net.layer3"), (3, 32, 32), [(128, 4, 4), (256, 2, 2)]),
    "googlenet": (
        lambda: vision.googlenet(num_classes=10, init_weights=False),
        ("inception3b", "inception4a"),
        (3, 64, 64),
        [(480, 8, 8), (512, 4, 4)],
    ),
    "inception": (
        lambda: vision.inception_v3(num_classes=10, init_weights=False, aux_logits=False),
        ("Mixed_5d", "Mixed_6a"),
        (3, 75, 75),
        [(288, 7, 7), (768, 3, 3)],
    ),
}


@pytest.fixture(params=ORDINARY)
def ordinary(request):
    build, taps, shape, read = ORDINARY[request.param]
    torch.manual_seed(0)
    return enhance(build(), taps, torch.zeros(2, *shape)), shape, read


def test_it_is_read_as_it_is_trained_and_trains_in_the_layout_of_training(ordinary):
    model, shape, read = ordinary
    model.to(memory_format=torch.channels_last).train()
    images = torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)
    seen = []
    model.head.register_forward_pre_hook(lambda head, given: seen.extend(given[0]))
    optimizer, balance = torch.optim.Adam(model.parameters(), lr=3e-4), LossBalance()
    labels, values = torch.arange(4), []
    for _ in range(5):
        logits, membership = model(images, members=4)
        losses = {"audited": audited_loss(logits, labels), "mint": mint_loss(membership, 4)}
        values.append([float(loss.detach()) for loss in losses.values()])
        balance.update(losses)
        optimizer.zero_grad()
        balance.total(losses, {"audited": 1.0, "mint": 1.0}).backward()
        optimizer.step()
    assert [tuple(each.shape[1:]) for each in seen[: len(read)]] == read
    assert (np.array(values[-1]) < values[0]).all()


def test_it_answers_the_same_alone_cut_and_from_recorded_activations(ordinary):
    model, shape, _ = ordinary
    model.eval()
    pixels = np.random.default_rng(0).integers(0, 256, (6, *shape[1:], shape[0]), np.uint8)
    images = Resident.of(pixels, np.zeros(6, np.int64), torch.device("cpu"))
    batch = images.images(torch.arange(6))
    with torch.no_grad():
        logits, membership = model(batch)
        cut, same = model(batch, members=2)
        recorded = outputs(model.audited, model.taps, batch, half=False)
        from_recorded = model.head([recorded[tap] for tap in model.taps])
        alone = model.membership(batch)
    torch.testing.assert_close(cut, logits[:2], rtol=1e-4, atol=1e-4)
    for other in (same, alone, from_recorded):
        torch.testing.assert_close(other, membership, rtol=1e-4, atol=1e-5)


def test_a_look_at_a_model_leaves_weights_statistics_mode_layout_and_random_numbers():
    audited = vision.googlenet(num_classes=10, init_weights=False).train()
    before = {name: (value.clone(), value.stride()) for name, value in audited.state_dict().items()}
    images, states = torch.zeros(2, 3, 64, 64), []
    for look in (
        lambda: enhance(audited, ("inception3b",), images),
        lambda: LeanHead([(480, 8, 8)]),  # which draws the same numbers as that look's head
    ):
        torch.manual_seed(1)
        look()
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    assert all(module.training for module in audited.modules())
    for name, value in audited.state_dict().items():
        assert torch.equal(value, before[name][0]), name
        assert value.stride() == before[name][1], name


@pytest.mark.parametrize(
    ("build", "taps", "shape", "message"),
    [
        (
            lambda: timm.create_model("convnext_pico", num_classes=10),
            ("stages.1", "stages.2"),
            (3, 28, 28),
            r"refuses images of shape \(2, 3, 28, 28\).*larger images: resize them",
        ),
        (
            lambda: vision.inception_v3(num_classes=10, init_weights=False),
            ("Mixed_5d", "Mixed_6a"),
            (3, 75, 75),
            r"While it is trained .* refuses images of \(3, 75, 75\).*aux_logits=False",
        ),
        (lambda: Named("answer"), ("net.layer2",), (3, 32, 32), "gives a dict.*under 'logits'"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
            ("0",),
            (3, 32, 32),
            r"gives \(2, 4, 30, 30\), not \(images, classes\)",
        ),
        (Tutorial, ("conv1",), (3, 28, 28), "refuses images|gives"),
    ],
    ids=["too small", "too small to train", "no logits", "no classifier", "another size"],
)
def test_what_cannot_be_trained_is_refused_with_a_remedy(build, taps, shape, message):
    with pytest.raises(ModelError, match=message):
        enhance(build(), taps, torch.zeros(2, *shape))


def test_maps_whose_channels_cannot_be_told_are_refused():
    class Cube(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cube, self.last = nn.Linear(48, 512), nn.Linear(512, 10)
            self.tap = nn.Identity()

        def forward(self, images):
            maps = self.tap(self.cube(images.flatten(1)).unflatten(1, (8, 8, 8)))
            return self.last(maps.flatten(1))

    with pytest.raises(ModelError, match="cannot be told which side is the channels"):
        enhance(Cube(), ("tap",), torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_maps_as_deep_as_wide_are_told_by_what_a_wider_image_changes(last):
    class Turning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps, self.tap, self.last = nn.Conv2d(3, 8, 1), nn.Identity(), nn.Linear(8, 10)

        def forward(self, images):
            maps = self.maps(images)
            maps = self.tap(maps.permute(0, 2, 3, 1) if last else maps)
            return self.last(maps.mean((1, 2) if last else (2, 3)))

    model = enhance(Turning(), ("tap",), torch.zeros(2, 3, 8, 8))
    images, seen = torch.randn(2, 3, 8, 8), []
    model.head.register_forward_pre_hook(lambda head, given: seen.extend(given[0]))
    model(images)
    torch.testing.assert_close(seen[0], model.audited.maps(images))


def test_a_map_that_a_later_layer_changes_is_read_as_its_tap_gave_it():
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(3600, 5))
    model, seen = enhance(own, ("0",), torch.zeros(2, 3, 32, 32)).eval(), []
    model.head.register_forward_pre_hook(lambda head, given: seen.extend(given[0]))
    images = torch.randn(4, 3, 32, 32)
    for members in (None, 2, 0):
        model(images, members=members)
    assert (seen[0] < 0).any()
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("build", [Tutorial, lambda: vision.resnet18(num_classes=10)])
def test_a_head_can_be_fitted_to_the_size_of_its_model(build):
    audited = build()
    taps = ("conv1", "conv2") if isinstance(audited, Tutorial) else ("layer2", "layer3")
    fitted, whole = (
        enhance(audited, taps, torch.zeros(2, 3, 32, 32), width=width) for width in ("fit", None)
    )
    share = parameter_count(fitted.head) / parameter_count(audited)
    assert share <= 1.1  # the least that there is has 66,000 parameters
    assert parameter_count(fitted.head) <= parameter_count(whole.head)
    again = enhance(audited, taps, torch.zeros(2, 3, 32, 32), width=fitted.head.width)
    assert parameter_count(again.head) == parameter_count(fitted.head)

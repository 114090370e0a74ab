"""Taps on any module, the heads, and the path that external images take."""

import pytest
import torch
from torch import nn

from amint_core.errors import ModelError
from amint_core.model import zoo
from amint_core.model.heads import (
    LeanHead,
    PublishedHead,
    PublishedTokenHead,
    TokenHead,
    build_head,
    heads_of,
)
from amint_core.model.mint import describe, enhance, parameter_count

IMAGES = torch.zeros(2, 3, 32, 32)


@pytest.fixture
def enhanced():
    audited = zoo.create("tiny", 3, 32, 10)
    return enhance(audited, zoo.default_taps("tiny", audited, "middle"), IMAGES)


def test_forward_returns_class_logits_and_membership_logits(enhanced):
    logits, membership = enhanced(torch.randn(6, 3, 32, 32))
    assert logits.shape == (6, 10)
    assert membership.shape == (6,)


def test_external_images_leave_at_the_deepest_tap(enhanced):
    enhanced.eval()
    images = torch.randn(6, 3, 32, 32)
    whole, membership = enhanced(images)
    seen = []
    last = [name for name, _ in enhanced.audited.named_modules() if name][-1]
    handle = enhanced.audited.get_submodule(last).register_forward_hook(
        lambda module, inputs, output: seen.append(len(output))
    )
    logits, same = enhanced(images, members=2)
    handle.remove()
    assert seen == [2]
    torch.testing.assert_close(logits, whole[:2])
    torch.testing.assert_close(same, membership)


def test_membership_alone_stops_at_the_deepest_tap(enhanced):
    enhanced.eval()
    images = torch.randn(4, 3, 32, 32)
    seen = []
    last = [name for name, _ in enhanced.audited.named_modules() if name][-1]
    enhanced.audited.get_submodule(last).register_forward_hook(lambda *_: seen.append(1))
    alone = enhanced.membership(images)
    assert seen == []
    torch.testing.assert_close(alone, enhanced(images)[1])


def test_gradients_of_external_images_reach_the_shared_layers_only(enhanced):
    enhanced.train()
    _, membership = enhanced(torch.randn(4, 3, 32, 32), members=2)
    membership[2:].sum().backward()
    table = describe(enhanced, IMAGES)
    assert not table["shared"].all()
    for row in table.itertuples():
        gradients = [p.grad for p in enhanced.audited.get_submodule(row.layer).parameters()]
        reached = any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
        assert reached == (row.shared and bool(gradients)), row.layer


def test_taps_work_on_a_module_of_your_own_in_any_order():
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.AdaptiveAvgPool2d(1))
    own = nn.Sequential(own, nn.Flatten(), nn.Linear(8, 5))
    enhanced = enhance(own, ("0.2", "0.0"), IMAGES)
    assert enhanced.taps == ("0.0", "0.2")
    assert enhanced(torch.randn(3, 3, 32, 32))[0].shape == (3, 5)


class Skipping(nn.Module):
    """Uses the input again behind the tap, so the batch cannot be cut there."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.last = nn.Linear(3, 2)

    def forward(self, images):
        return self.last((self.first(images) + images).mean((2, 3)))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, images):
        return self.used(self.used(images)).mean((2, 3))


def test_a_tap_inside_another_is_a_stage_of_its_own():
    audited = zoo.create("resnet8", 3, 32, 5)
    model = enhance(audited, ["stage2.4", "stage2"], torch.zeros(2, 3, 32, 32))
    table = describe(model, torch.zeros(2, 3, 32, 32)).set_index("layer")
    assert list(table.index[table["tap"]]) == ["stage2.4", "stage2"]
    assert table["parameters"].sum() == sum(one.numel() for one in audited.parameters())
    assert table.loc["stage2", "parameters"] == 0  # all of them stand in its parts


@pytest.mark.parametrize(
    ("module", "taps", "message"),
    [
        (Skipping(), ("first",), "skips it"),
        (Unused(), ("used",), "reached twice"),
        (Unused(), ("unused",), "never reached"),
        (Skipping(), ("frist",), "Unknown tap 'frist'. Did you mean 'first'"),
        (Skipping(), (), "name one or more different modules"),
        (Skipping(), ("first", "first"), "name one or more different modules"),
    ],
)
def test_taps_that_cannot_work_are_refused(module, taps, message):
    with pytest.raises(ModelError, match=message):
        enhance(module, taps, IMAGES)


def test_images_the_model_cannot_take_are_refused():
    with pytest.raises(ModelError, match=r"refuses images of shape \(2, 1, 32, 32\)"):
        enhance(Skipping(), ("first",), torch.zeros(2, 1, 32, 32))


def test_looking_at_a_model_leaves_its_statistics_and_mode():
    audited = zoo.create("tiny", 3, 32, 10).train()
    before = {name: value.clone() for name, value in audited.state_dict().items()}
    model = enhance(audited, zoo.default_taps("tiny", audited, "middle"), torch.randn(4, 3, 32, 32))
    describe(model, torch.randn(4, 3, 32, 32))
    assert model.training
    for name, value in model.audited.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("setup", zoo.SETUPS)
@pytest.mark.parametrize(
    "name", [name for name, known in zoo.AUDITED.items() if known.title and name != "tiny"]
)
def test_the_lean_head_stays_lean_at_64_pixels(name, setup):
    audited = zoo.create(name, 3, 64, 10)
    model = enhance(audited, zoo.default_taps(name, audited, setup), torch.zeros(2, 3, 64, 64))
    assert parameter_count(model.head) <= 5_000_000


#: (model, channels, image size, setup) → parameters of the head, counted by hand from the layers
#: that the authors' notebooks use: MNIST; CIFAR-10; and at the entry Tiny ImageNet, CASIA-WebFace.
PUBLISHED_SIZES = {
    ("resnet50", 1, 28, "middle"): 80_747_777,
    ("resnet101", 3, 32, "middle"): 104_341_761,
    ("resnet50", 3, 64, "middle"): 104_341_761,
    ("densenet121", 1, 28, "middle"): 20_453_633,
    ("densenet121", 3, 32, "middle"): 20_453_633,
    ("densenet121", 3, 64, "entry"): 18_094_337,
    ("xception", 3, 32, "middle"): 11_635_969,
    ("xception", 3, 64, "entry"): 11_635_969,
    ("mobilenet", 1, 28, "middle"): 918_017,
    ("mobilenet", 3, 64, "middle"): 20_453_633,
    ("vit", 1, 28, "middle"): 64 * 50 + 1,
    ("vit", 3, 32, "middle"): 64 * 65 + 1,
    ("vit", 3, 64, "middle"): 64 * 257 + 1,
}


@pytest.mark.parametrize("case", PUBLISHED_SIZES, ids=str)
def test_published_heads_have_the_published_sizes(case):
    name, channels, size, setup = case
    with torch.device("meta"):
        audited = zoo.create(name, channels, size, 10)
        images = torch.zeros(2, channels, size, size)
        taps = zoo.default_taps(name, audited, setup)
        model = enhance(audited, taps, images, "published", name)
        assert model.membership(images).shape == (2,)
    assert parameter_count(model.head) == PUBLISHED_SIZES[case]


def test_a_published_head_has_one_relu_behind_the_maps():
    head = build_head("published", [(512, 4, 4), (1024, 2, 2)], "resnet50")
    kinds = [type(one).__name__ for one in head.readers[0]]
    assert kinds == ["Conv2d", "MaxPool2d", "Conv2d", "AdaptiveMaxPool2d", "Flatten"]
    assert not head.readers[0][1].ceil_mode
    assert [type(one).__name__ for one in head.decide] == ["Linear", "ReLU", "Linear"]


def test_published_heads_read_maps_of_one_place_too():
    for name in ("resnet50", "mobilenet"):
        head = build_head("published", [(256, 1, 1), (512, 1, 1)], name)
        assert head([torch.randn(2, 256, 1, 1), torch.randn(2, 512, 1, 1)]).shape == (2,)


def test_the_heads_of_an_ensemble_are_listed_and_one_alone_is_its_only_head():
    one, three = (build_head(None, [(8, 4, 4)], count=count) for count in (1, 3))
    assert heads_of(one) == [one]
    assert heads_of(three) == list(three.heads)
    assert len(heads_of(three)) == 3


def test_the_kind_of_head_follows_from_the_activations():
    assert isinstance(build_head(None, [(8, 4, 4)]), LeanHead)
    assert isinstance(build_head(None, [(16, 8)]), TokenHead)
    assert isinstance(build_head("published", [(8, 4, 4)]), PublishedHead)
    assert isinstance(build_head("published", [(16, 8)]), PublishedTokenHead)


@pytest.mark.parametrize(
    ("kind", "shapes", "message"),
    [
        ("lean", [(16, 8)], "use head = 'token'"),
        ("token", [(8, 4, 4)], "use head = 'lean'"),
        ("leen", [(8, 4, 4)], "Did you mean 'lean'"),
        (None, [(8,)], "Choose other taps"),
        (None, [(8, 4, 4), (16, 8)], "one kind at a time"),
    ],
)
def test_heads_that_do_not_fit_are_refused(kind, shapes, message):
    with pytest.raises(ModelError, match=message):
        build_head(kind, shapes)

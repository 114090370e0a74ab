"""Quick operations compute what PyTorch's own compute, and change no score beyond seed noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_run import SMALL
from timm import layers as timm_layers
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from amint_core.model import zoo
from amint_core.model.mint import enhance
from amint_core.run import steps
from amint_core.settings import create
from amint_core.training import precision
from amint_core.training.cpu_bf16 import _DETOURS, fast_operations
from amint_core.training.device import open_accelerator
from amint_core.training.losses import audited_loss, mint_loss
from amint_core.training.precision import chosen_precision

#: (channels, outputs, side, kernel, stride, groups): one per detour, and ones that pass through.
CONVOLUTIONS = {
    "pointwise": (16, 24, 6, 1, 1, 1),
    "pointwise, strided, odd side": (16, 24, 7, 1, 2, 1),
    "window on one pixel": (16, 24, 1, 3, 1, 1),
    "few windows": (64, 24, 2, 3, 1, 1),
    "few strided windows": (64, 24, 7, 3, 2, 1),
    "strided depthwise": (16, 16, 8, 3, 2, 16),
    "PyTorch's own": (16, 24, 8, 3, 1, 1),
}


def results(call, *given):
    """What a call returns, and the gradients of all that was given."""
    given = [value.clone().requires_grad_() for value in given]
    output = call(*given)
    weights = torch.linspace(-1, 1, output.numel()).view(output.shape)
    (output.float() * weights).sum().backward()
    return [output.detach().float(), *(value.grad.float() for value in given)]


def assert_close(found, expected):
    """All within bf16's rounding: 8 bits, of the largest value."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 0.02 * other.abs().max()


def quickly(call):
    def fast(*given):
        with torch.autocast("cpu", torch.bfloat16), fast_operations():
            return call(*given)

    return fast


class Called(TorchDispatchMode):
    """Note which operations were computed, and in what."""

    def __init__(self):
        super().__init__()
        self.dtypes = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if args and isinstance(args[0], torch.Tensor):
            self.dtypes.setdefault(function, []).append(args[0].dtype)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_a_convolution_is_that_of_fp32_gradients_too(name, bias):
    inputs, outputs, side, kernel, stride, groups = CONVOLUTIONS[name]
    given = [
        torch.randn(3, inputs, side, side).contiguous(memory_format=torch.channels_last),
        torch.randn(outputs, inputs // groups, kernel, kernel),
        *([torch.randn(outputs)] if bias else []),
    ]

    def call(images, weight, bias=None):
        padding = kernel // 2
        return functional.conv2d(images, weight, bias, stride, padding, groups=groups)

    assert_close(results(quickly(call), *given), results(call, *given))


def test_every_detour_is_taken():
    """The cases above reach the detours that they are named after."""
    for name, (inputs, outputs, side, kernel, stride, groups) in CONVOLUTIONS.items():
        images, weight = (
            torch.randn(2, inputs, side, side),
            torch.randn(outputs, inputs // groups, kernel, kernel),
        )
        with Called() as called, torch.autocast("cpu", torch.bfloat16), fast_operations():
            functional.conv2d(images, weight, None, stride, kernel // 2, 1, groups)
        own = called.dtypes.get(torch.ops.aten.convolution.default, [])
        expected = {"strided depthwise": [torch.float32], "PyTorch's own": [torch.bfloat16]}
        assert own == expected.get(name, []), name


@pytest.mark.parametrize("name", ["pointwise, strided, odd side", "few strided windows"])
def test_without_gradients_a_convolution_is_still_one_product(name):
    """Products per image copy the matrix once for each: scoring was 16 times slower by it."""
    inputs, outputs, side, kernel, stride, _ = CONVOLUTIONS[name]
    images = torch.randn(3, inputs, side, side).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(outputs, inputs, kernel, kernel)
    autocast = torch.autocast("cpu", torch.bfloat16)
    with torch.no_grad(), autocast, Called() as called, fast_operations():
        found = functional.conv2d(images.bfloat16(), weight, None, stride, kernel // 2)
    assert torch.ops.aten.mm.default in called.dtypes
    assert torch.ops.aten.bmm.default not in called.dtypes
    assert_close([found.float()], [functional.conv2d(images, weight, None, stride, kernel // 2)])


def test_attention_is_that_of_fp32_gradients_too():
    given = [torch.randn(2, 4, 9, 8) for _ in range(3)]
    call = functional.scaled_dot_product_attention
    assert_close(results(quickly(call), *given), results(call, *given))
    masked = torch.ones(9, 9).tril().bool()
    with torch.autocast("cpu", torch.bfloat16), fast_operations():
        found = functional.scaled_dot_product_attention(*given, attn_mask=masked)
    expected = functional.scaled_dot_product_attention(*given, attn_mask=masked)
    assert_close([found.float()], [expected])


@pytest.mark.parametrize("name", [name for name in zoo.AUDITED if name != "resnet101"])
def test_a_step_of_each_model_is_close_to_fp32(name):
    """No further from fp32 than PyTorch's own bf16 is, within a factor."""
    torch.manual_seed(0)
    audited = zoo.create(name, 3, 32, 10)
    taps = zoo.default_taps(name, audited, "middle")
    model = enhance(audited, taps, torch.zeros(2, 3, 32, 32)).eval()
    model.to(memory_format=torch.channels_last)
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.tensor([0, 1])

    def gradient():
        model.zero_grad()
        logits, membership = model(images, 2)
        (audited_loss(logits, labels) + mint_loss(membership, 2)).backward()
        return torch.cat([weight.grad.float().flatten() for weight in model.parameters()])

    plain = gradient()
    with torch.autocast("cpu", torch.bfloat16):
        usual = gradient()
    fast = quickly(gradient)()
    assert (fast - plain).norm() <= 1.5 * (usual - plain).norm() + 1e-3 * plain.norm()


class AllDetours(nn.Module):
    """A small net that reaches every detour, on images of 16 pixels a side."""

    def __init__(self, channels: int, classes: int):
        super().__init__()

        def layer(inputs, outputs, kernel, stride=1, groups=1):
            convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)
            return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())

        self.stem = layer(channels, 32, 3)  # PyTorch's own
        self.pointwise = layer(32, 64, 1, stride=2)
        self.depthwise = layer(64, 64, 3, stride=2, groups=64)
        self.attention = timm_layers.Attention(64, num_heads=4)
        self.strided_windows = layer(64, 64, 3, stride=2)
        self.shortcut = layer(64, 64, 1, stride=2)
        self.windows = layer(64, 64, 3)
        self.on_one_pixel = layer(64, 64, 3)
        self.classifier = nn.Linear(64, classes)

    def forward(self, images):
        maps = self.depthwise(self.pointwise(self.stem(images)))
        tokens = maps.flatten(2).mT
        maps = (tokens + self.attention(tokens)).mT.unflatten(2, maps.shape[2:])
        maps = self.windows(self.strided_windows(maps) + self.shortcut(maps))
        pooled = maps.mean((2, 3), keepdim=True)
        return self.classifier((pooled + self.on_one_pixel(pooled)).flatten(1))


#: (kernel, stride, groups, side of the images) of every convolution that takes a detour.
DETOURS = {
    *((1, 1, 1, 4), (1, 1, 1, 2)),  # the head's, on the two taps
    (1, 2, 1, 16),
    (1, 2, 1, 4),
    (3, 2, 64, 8),
    (3, 2, 1, 4),
    (3, 1, 1, 2),
    (3, 1, 1, 1),
    "attention",
}


def test_metrics_through_all_detours_stay_within_seed_noise(monkeypatch):
    """Training and scoring in bf16 against plain fp32, beside what another seed changes."""
    made = replace(
        zoo.AUDITED["tiny"],
        build=lambda channels, _, classes: AllDetours(channels, classes),
        taps={"middle": ("depthwise", "windows")},
    )
    monkeypatch.setitem(zoo.AUDITED, "tiny", made)
    taken = {True: set(), False: set()}  # with gradients, and without

    def watched(detour, name):
        def call(*given, **named):
            result = detour(*given, **named)
            if result is not None:
                taken[result.requires_grad].add(name(*given, **named))
            return result

        return call

    def convolution(images, weight, bias, stride, padding, dilation, groups):
        return weight.shape[2], stride[0], groups, images.shape[2]

    names = {
        torch.conv2d: convolution,
        functional.scaled_dot_product_attention: lambda *_, **__: "attention",
    }
    for function, name in names.items():
        monkeypatch.setitem(_DETOURS, function, watched(_DETOURS[function], name))

    def measured(seed, precision):
        given = {"image_size": 16, "members": 200, "external": 300, "test": 300, "epochs": 6}
        given |= {"seed": seed, "precision": precision}
        found = steps.run_all(create(**SMALL | given))
        return [found["mint"]["auc"]["value"], found["audited"]["accuracy"]["value"]]

    plain = np.array([measured(seed, "fp32") for seed in range(3)])
    assert taken == {True: set(), False: set()}
    fast = np.array([measured(seed, "bf16") for seed in range(3)])
    # In training; what is scored in the end is computed in fp32.
    assert taken[True] == DETOURS
    noise = np.ptp(plain, axis=0)
    assert (np.abs((fast - plain).mean(0)) <= noise).all(), (plain, fast)
    assert plain.mean(0)[0] > 0.7  # something was learnt


def test_auto_takes_bf16_only_where_it_is_measured_to_be_faster(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for gain, chosen in ((4.0, "bf16"), (1.2, "fp32"), (0.3, "fp32")):
        monkeypatch.setattr(precision, "_gain_of_bf16", lambda gain=gain: gain)
        assert chosen_precision("auto") == chosen
        settings = create(**SMALL, precision="auto")
        accelerator = open_accelerator(settings.precision)
        assert accelerator.mixed_precision == {"bf16": "bf16", "fp32": "no"}[chosen]
        with accelerator.autocast():
            assert torch.is_autocast_enabled("cpu") == (chosen == "bf16")
    assert chosen_precision("fp32") == "fp32"


def test_auto_on_an_apple_gpu_is_fp32_however_fast_its_cpu_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(precision, "_gain_of_bf16", lambda: 4.0)
    assert chosen_precision("auto") == "fp32"


def test_the_gain_is_measured_and_draws_no_random_number():
    state = torch.random.get_rng_state()
    precision._gain_of_bf16.cache_clear()
    assert precision._gain_of_bf16() > 0
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "call",
    [
        lambda images, weight: functional.conv2d(input=images, weight=weight, padding=1),
        lambda images, weight: functional.conv2d(images, weight, None, (2,), (1,)),
        lambda images, weight: functional.conv2d(images.double(), weight.double(), padding=1),
        lambda images, weight: functional.conv2d(images, weight, stride=np.int64(2), padding=1),
    ],
    ids=["by name", "one-element tuples", "fp64", "NumPy's integers"],
)
def test_what_pytorch_accepts_is_accepted(call):
    images, weight = torch.randn(2, 64, 2, 2), torch.randn(8, 64, 3, 3)
    autocast = torch.autocast("cpu", torch.bfloat16)
    with autocast:
        expected = call(images, weight)
    with autocast, fast_operations():
        found = call(images, weight)
    assert found.dtype == expected.dtype
    assert_close([found.float()], [expected.float()])


def test_complex_images_stay_complex():
    images, weight = torch.randn(2, 8, 8, 8, dtype=torch.cfloat), torch.randn(8, 1, 3, 3).cfloat()
    given = (images, weight, None, 2, 1, 1, 8)
    with torch.autocast("cpu", torch.bfloat16), fast_operations():
        found = functional.conv2d(*given)
    assert torch.equal(found, functional.conv2d(*given))


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_attention_at_another_scale_is_pytorchs_own(scale):
    given = [torch.randn(2, 4, 9, 8) for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        expected = functional.scaled_dot_product_attention(*given, scale=scale)
        with fast_operations():
            found = functional.scaled_dot_product_attention(*given, scale=scale)
    assert torch.equal(found, expected)


def test_another_half_precision_passes_through():
    images, weight = torch.randn(2, 16, 6, 6), torch.randn(24, 16, 1, 1)
    with fast_operations(), torch.autocast("cpu", torch.float16):
        assert functional.conv2d(images, weight).dtype == torch.float16


def test_attention_within_pytorchs_own_layers_takes_the_detour(monkeypatch):
    """A `TorchFunctionMode` would not see it."""
    seen = []
    detour = _DETOURS[functional.scaled_dot_product_attention]

    def watched(*given, **named):
        seen.append(detour(*given, **named))
        return seen[-1]

    monkeypatch.setitem(_DETOURS, functional.scaled_dot_product_attention, watched)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    with torch.autocast("cpu", torch.bfloat16), fast_operations():
        layer(torch.randn(2, 9, 16))
    assert len(seen) == 1
    assert seen[0] is not None


@pytest.mark.parametrize("reentrant", [False, True])
def test_activations_can_be_computed_again_for_the_backward_pass(reentrant):
    accelerator = open_accelerator("bf16")
    layer = nn.Conv2d(16, 24, 1, 2)
    images = torch.randn(2, 16, 7, 7)

    def gradient(call):
        layer.zero_grad()
        with accelerator.autocast():
            loss = call(images.clone().requires_grad_()).float().square().mean()
        accelerator.backward(loss)
        return layer.weight.grad.clone()

    again = gradient(lambda given: checkpoint(layer, given, use_reentrant=reentrant))
    assert torch.equal(again, gradient(layer))


def test_pytorchs_functions_are_put_back():
    def there():
        return torch.conv2d, functional.conv2d, functional.scaled_dot_product_attention

    own = there()
    with fast_operations():
        with fast_operations():
            assert not set(own) & set(there())
        assert not set(own) & set(there())
    assert there() == own


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_where_a_model_turns_autocast_off_it_computes_in_its_own_precision(name):
    inputs, outputs, side, kernel, stride, groups = CONVOLUTIONS[name]
    images = torch.randn(2, inputs, side, side)
    weight = torch.randn(outputs, inputs // groups, kernel, kernel)
    given = (images, weight, None, stride, kernel // 2, 1, groups)
    outer, off = torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False)
    with outer, fast_operations(), off:
        found = functional.conv2d(*given)
    assert found.dtype == torch.float32
    assert torch.equal(found, functional.conv2d(*given))

"""The audited models: sizes, stems, taps where the batch can be cut, same weights for one seed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from amint_core.errors import ModelError
from amint_core.model.zoo import (
    AUDITED,
    SETUPS,
    architecture,
    create,
    default_taps,
    is_known,
    known_names,
)
from amint_core.model.zoo.timm_any import find_taps

#: Parameters at (3, 32, 32, 10) and at (1, 28, 28, 10). DenseNet-121 has 7,680 fewer than
#: timm's, whose stem is 7×7; the others' stems differ from timm's in stride and padding alone.
PARAMETERS = {
    "mobilenet": (3_217_226, 3_216_650),
    "resnet50": (23_528_522, 23_522_250),
    "resnet101": (42_520_650, 42_514_378),
    "densenet121": (6_956_426, 6_955_274),
    "xception": (20_827_442, 20_826_866),
    "vit": (607_946, 604_938),
    "convnet": (242_474, 241_898),
    "resnet8": (1_166_506, 1_165_930),
    "tiny": (7_226, 7_082),
}

#: Shape of the two Middle taps at 3×32×32.
MIDDLE = {
    "mobilenet": ((256, 8, 8), (512, 4, 4)),
    "resnet50": ((512, 4, 4), (1024, 2, 2)),
    "resnet101": ((512, 4, 4), (1024, 2, 2)),
    "densenet121": ((256, 8, 8), (512, 4, 4)),
    "xception": ((728, 8, 8), (728, 8, 8)),
    "vit": ((65, 64), (65, 64)),
    "convnet": ((64, 16, 16), (128, 8, 8)),
    "resnet8": ((64, 16, 16), (128, 8, 8)),
    "tiny": ((12, 16, 16), (16, 8, 8)),
}

#: Shape of what the stem gives at 3×32×32, by its last module.
STEM = {
    "mobilenet": ("bn1", (32, 32, 32)),
    "resnet50": ("maxpool", (64, 8, 8)),
    "resnet101": ("maxpool", (64, 8, 8)),
    "densenet121": ("features.pool0", (64, 32, 32)),
    "xception": ("act2", (64, 32, 32)),
    "vit": ("patch_embed", (64, 64)),
    "convnet": ("stage1", (32, 32, 32)),
    "resnet8": ("stem", (32, 32, 32)),
    "tiny": ("stem", (8, 32, 32)),
}

PAPER_COLUMNS = ["MobileNet", "ResNet50", "ResNet101", "DenseNet121", "Xception", "ViT"]

#: Models of timm without a row of their own, and their Middle taps.
OTHERS = {
    "resnet18": ("layer2", "layer3"),
    "mobilenetv3_small_050": ("blocks.1", "blocks.3"),
    "convnext_atto": ("stages.1", "stages.2"),
    "swin_tiny_patch4_window7_224": ("layers.1", "layers.2"),
    "deit_tiny_distilled_patch16_224": ("blocks.5", "blocks.7"),
}


@pytest.fixture(scope="module", params=[*AUDITED, *OTHERS])
def built(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    torch.manual_seed(0)
    return request.param, create(request.param, 3, 32, 10).eval()


def forward(
    model: nn.Module, images: torch.Tensor, taps: tuple[str, ...] = (), keep: int | None = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return logits, the taps' outputs, and copies of these made when they were reached."""
    outputs, copies = {}, {}

    def record(name: str):
        def hook(module, inputs, output):
            assert name not in outputs
            outputs[name], copies[name] = output, output.clone()
            return output[:keep] if keep is not None and name == taps[-1] else None

        return hook

    handles = [model.get_submodule(name).register_forward_hook(record(name)) for name in taps]
    with torch.no_grad():
        logits = model(images)
    for handle in handles:
        handle.remove()
    return logits, outputs, copies


def test_every_model_has_a_row():
    assert set(PARAMETERS) == set(MIDDLE) == set(STEM) == set(AUDITED) == set(known_names())


def test_titles_are_the_papers_columns():
    assert [found.title for found in AUDITED.values()][: len(PAPER_COLUMNS)] == PAPER_COLUMNS


@pytest.mark.parametrize("name", AUDITED)
def test_description_is_complete(name: str):
    found = architecture(name)
    assert found.name == name
    assert set(found.taps) == set(found.reasons) == set(SETUPS)
    assert len({*found.taps.values()}) == len(SETUPS)
    assert all(reason.endswith(".") for reason in found.reasons.values())


@pytest.mark.parametrize("name", AUDITED)
@pytest.mark.parametrize(("column", "channels", "size"), [(0, 3, 32), (1, 1, 28)])
def test_parameter_count(name: str, column: int, channels: int, size: int):
    model = create(name, channels, size, 10)
    assert sum(found.numel() for found in model.parameters()) == PARAMETERS[name][column]


@pytest.mark.parametrize("name", AUDITED)
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 28, 10), (3, 64, 10_575)])
def test_logits_for_every_dataset(name: str, channels: int, size: int, classes: int):
    model = create(name, channels, size, classes).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, channels, size, size)).shape == (1, classes)


@pytest.mark.parametrize("name", AUDITED)
def test_a_whole_model_can_be_pickled(name: str):
    model = create(name, 3, 32, 10).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(pickle.loads(pickle.dumps(model))(images), model(images))


@pytest.mark.parametrize("name", AUDITED)
def test_stem_and_middle_maps(name: str):
    stem, shape = STEM[name]
    model = create(name, 3, 32, 10).eval()
    taps = default_taps(name, model, "middle")
    _, outputs, _ = forward(model, torch.zeros(1, 3, 32, 32), (stem, *taps))
    assert tuple(outputs[stem].shape[1:]) == shape
    assert tuple(tuple(outputs[tap].shape[1:]) for tap in taps) == MIDDLE[name]
    assert AUDITED[name].tokens == (outputs[taps[0]].ndim == 3)


@pytest.mark.parametrize("setup", SETUPS)
def test_batch_can_be_cut_behind_the_deeper_tap(built: tuple[str, nn.Module], setup: str):
    name, model = built
    taps = default_taps(name, model, setup)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    whole, outputs, copies = forward(model, images, taps)
    cut, _, _ = forward(model, images, taps, keep=2)
    assert list(outputs) == list(taps), "the shallower tap comes first"
    assert all(torch.equal(outputs[tap], copies[tap]) for tap in taps), "changed in place later"
    assert not torch.allclose(whole[0], whole[1]), "the images must matter"
    torch.testing.assert_close(cut, whole[:2], rtol=1e-4, atol=1e-4)


def test_setups_go_deeper(built: tuple[str, nn.Module]):
    name, model = built
    deepest = tuple(default_taps(name, model, setup)[1] for setup in SETUPS)
    _, outputs, _ = forward(model, torch.zeros(2, 3, 32, 32), deepest)
    assert tuple(outputs) == deepest


@pytest.mark.parametrize("name", [*AUDITED, *OTHERS])
def test_one_seed_gives_the_same_weights(name: str):
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(create(name, 3, 32, 10).state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert any(not torch.equal(value, states[2][key]) for key, value in states[0].items())


@pytest.mark.parametrize(("name", "taps"), OTHERS.items())
def test_taps_of_any_timm_model(name: str, taps: tuple[str, str]):
    assert is_known(name)
    assert name not in AUDITED
    state = torch.get_rng_state()
    model = create(name, 1, 64, 7)
    assert not torch.equal(torch.get_rng_state(), state)
    state = torch.get_rng_state()
    assert default_taps(name, model, "middle") == taps
    assert torch.equal(torch.get_rng_state(), state), "finding taps must not draw numbers"
    assert model.training
    assert architecture(name).title == name
    assert architecture(name).tokens is None


def test_importing_is_light():
    code = (
        "import sys; from amint_core.model.zoo import is_known; is_known('vit');"
        "print({'torch', 'timm'} & {*sys.modules})"
    )
    path = os.pathsep.join(found for found in sys.path if found)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnt50", 3, 32, 10), "Did you mean 'resnet50'"),
        (("efficientnetb0", 3, 32, 10), "Any timm model works too, e.g. 'efficientnet_b0'"),
        (("resnet50", 3, 16, 10), "too small.*Set image_size to 17 or more"),
        (("mobilenet", 3, 8, 10), "Set image_size to 9 or more"),
        (("vit", 3, 4, 10), "Set image_size to 8 or more"),
        (("vit", 3, 30, 10), "multiple of 4. Set image_size to 32"),
        (("xception", 0, 32, 10), "0 channels. Give 1 for grey or 3"),
        (("tiny", 3, 32, 1), "1 class.*Give 2 or more"),
        (("inception_v3", 3, 32, 10), "does not take images of 3×32×32"),
        (("vit_tiny_patch16_224", 3, 8, 10), "does not take images of 3×8×8"),
    ],
)
def test_what_cannot_be_built_says_why(arguments: tuple, message: str):
    with pytest.raises(ModelError, match=message):
        create(*arguments)


@pytest.mark.parametrize("name", AUDITED)
def test_smallest_image_works(name: str):
    size = AUDITED[name].min_image_size
    model = create(name, 3, size, 10)
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 10)


def test_unknown_setup_names_the_nearest():
    with pytest.raises(ModelError, match=r"Did you mean 'middle'\?"):
        default_taps("tiny", create("tiny", 1, 28, 10), "midle")


def test_taps_need_the_models_own_modules():
    with pytest.raises(ModelError, match="'resnet50' has no module 'layer2'"):
        default_taps("resnet50", create("tiny", 1, 28, 10), "middle")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hrnet_w18_small", "No taps for setup 'middle'.*Give `taps` yourself"),
    ],
)
def test_no_taps_says_what_to_do(name: str, message: str):
    with pytest.raises(ModelError, match=message):
        default_taps(name, create(name, 3, 32, 10), "middle")


def test_module_not_from_create_has_no_taps():
    with pytest.raises(ModelError, match=r"not built by create\(\). Give `taps` yourself"):
        default_taps("resnet18", nn.Sequential(nn.Flatten()), "middle")


@pytest.mark.parametrize("skip", [False, True])
def test_stages_are_taps_unless_a_skip_goes_around_them(skip: bool):
    class Row(nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(6))
            self.feature_info = [{"module": f"stages.{number}"} for number in range(6)]
            self.amint_input_shape = (3, 8, 8)

        def forward(self, images):
            maps = images
            for stage in self.stages:
                maps = stage(maps)
            return (maps + images if skip else maps).mean((2, 3))

    if not skip:
        assert find_taps("row", Row(), "middle") == ("stages.2", "stages.3")
        return
    with pytest.raises(ModelError, match="No taps for setup"):
        find_taps("row", Row(), "middle")

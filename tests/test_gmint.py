"""gMINT: gradient norms against autograd, and a test that learns from known images only."""

import numpy as np
import pytest
import torch
from made_case import auc_of, made_case, structured_images
from torch import nn
from torch.nn.functional import cross_entropy

from amint_core.errors import ModelError, SettingsError
from amint_core.methods import gmint, gradients
from amint_core.model import zoo
from amint_core.training.cpu_bf16 import fast_operations

SIZES = {"members": 120, "external": 90, "calibration": 30, "holdout": 60}


def norms_of(model, images, labels):
    chosen = gradients._per_image(model, images[:1])
    return gradients._of_batch(model, images, labels, chosen, gradients._layer_norms)


def autograd_norms(model, images, labels):
    """The slow way: one image at a time, by PyTorch's own gradients."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    weights = [layer.weight for layer in layers]
    rows = []
    for image, label in zip(images.double(), labels, strict=True):
        loss = cross_entropy(model(image[None]), label[None])
        rows.append([slope.norm() for slope in torch.autograd.grad(loss, weights)])
    return torch.tensor(rows)


class Odd(nn.Module):
    """Grouped, strided, dilated and biased layers, one used twice, one followed in place."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(6, 12, (3, 1), padding=(2, 0), dilation=2, groups=3, bias=False)
        self.wide = nn.Conv2d(12, 40, 1)
        self.tokens = nn.Linear(40, 40)
        self.last = nn.Linear(40, 5)

    def forward(self, images):
        maps = nn.functional.relu_(self.first(images))
        maps = nn.functional.adaptive_avg_pool2d(self.wide(self.grouped(maps)), 2)
        return self.last(self.tokens(maps.flatten(2).mT).tanh().mean(1))


@pytest.mark.parametrize("build", [Odd, lambda: zoo.create("tiny", 3, 16, 5)])
def test_weight_norms_equal_autograds(build):
    model = build().double().eval()
    images, labels = torch.randn(4, 3, 16, 16).double(), torch.tensor([0, 1, 2, 4])
    expected = autograd_norms(model, images, labels)
    found = norms_of(model, images.clone(), labels)
    assert torch.allclose(found[:, ::2], expected.double(), rtol=1e-5)


@pytest.mark.parametrize("build", [Odd, lambda: zoo.create("tiny", 3, 16, 5)])
def test_means_of_filters_equal_autograds(build):
    model = build().double().eval()
    images, labels = torch.randn(4, 3, 16, 16).double(), torch.tensor([0, 1, 2, 4])
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    expected = []
    for image, label in zip(images, labels, strict=True):
        loss = cross_entropy(model(image[None]), label[None])
        slopes = torch.autograd.grad(loss, [layer.weight for layer in layers])
        expected.append(torch.cat([slope.flatten(1).mean(1) for slope in slopes]))
    every = gradients._per_image(model, images[:1])
    found = gradients._of_batch(model, images, labels, every, gradients._filter_means)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-9)


def test_the_last_layer_up_to_each_tap_is_read_once():
    model, image = Odd().eval(), torch.randn(1, 3, 16, 16)
    # Called in this order: first, grouped, wide, tokens, last.
    assert gradients._last_at(model, image, ["first", "wide"]) == [True, False, True, False, False]
    assert gradients._last_at(model, image, ["wide", "wide"]) == [False, False, True, False, False]
    nested = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()))
    nested.append(nn.ReLU())
    assert gradients._last_at(nested, image, ["1", "2"]) == [False, True]


def test_without_a_layer_up_to_a_tap_it_says_which_tap():
    model = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(768, 4))
    with pytest.raises(ModelError, match=r"up to 1 there is none.* Choose deeper taps"):
        gradients._last_at(model, torch.randn(1, 3, 16, 16), ["2", "1"])


def test_norms_in_bf16_are_close_to_those_in_fp32():
    torch.manual_seed(0)
    model = zoo.create("tiny", 3, 16, 5).eval()
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 4])
    expected = norms_of(model, images.clone(), labels)
    with torch.autocast("cpu", torch.bfloat16), fast_operations():
        found = norms_of(model, images.clone(), labels)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, rtol=0.05, atol=0.05 * float(expected.max()))


def test_bias_norms_equal_autograds():
    model = Odd().double().eval()
    images, labels = torch.randn(1, 3, 16, 16).double(), torch.tensor([3])
    biases = [model.first.bias, model.wide.bias, model.tokens.bias, model.last.bias]
    slopes = torch.autograd.grad(cross_entropy(model(images), labels), biases)
    found = norms_of(model, images.clone(), labels)[0, 1::2]
    assert torch.allclose(found[[0, 2, 3, 4]], torch.stack([slope.norm() for slope in slopes]))


@pytest.mark.parametrize("positions", [1, 3, 50])
def test_both_ways_to_a_product_norm_agree(positions):
    a, s = torch.randn(4, 2, 8, positions).double(), torch.randn(4, 2, 10, positions).double()
    expected = torch.einsum("bgip,bgop->bgoi", a, s).flatten(1).norm(dim=1)
    assert torch.allclose(gradients._product_norm(a, s), expected)


def test_well_learned_images_keep_their_digits():
    logits = torch.tensor([[40.0, 0.0], [42.0, 0.0]])
    slopes = gradients._slope_of_loss(logits, torch.tensor([0, 0]))
    assert torch.allclose(slopes[:, 0], -torch.exp(-logits[:, 0]), rtol=1e-5, atol=0)
    assert torch.allclose(slopes.sum(1), torch.zeros(2))


def test_a_model_without_plain_layers_is_refused():
    class Other(nn.Linear):
        pass

    model = nn.Sequential(nn.Flatten(), Other(3 * 16 * 16, 2))
    with pytest.raises(ModelError, match="Conv2d and Linear"):
        norms_of(model, torch.randn(2, 3, 16, 16), torch.tensor([0, 1]))


class Windowed(nn.Module):
    """Lets one layer see the windows of images one by one, as Swin does, and one see no image."""

    def __init__(self, ends=nn.Linear, places=1):
        super().__init__()
        self.places, self.windows, self.last = nn.Linear(2, 4), nn.Linear(48, 4), ends(16, 5)
        self.seen = torch.ones(places, 2)

    def forward(self, images):
        cut = images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3).transpose(1, 2).flatten(0, 1)
        of_windows = self.windows(cut.flatten(1)) + self.places(self.seen).mean(0)
        return self.last(of_windows.unflatten(0, (len(images), 4)).flatten(1))


@pytest.mark.parametrize(("count", "places"), [(17, 1), (17, 16), (4, 4)])
def test_layers_that_see_windows_one_by_one_or_no_image_are_left_out(count, places):
    pixels, model = structured_images(count, 2)[:, :8, :8], Windowed(places=places)
    case = made_case({"members": count}, pixels, audited=model)
    labels = np.zeros(count, np.int64)
    assert gradients.gradient_norms(case, labels).shape == (count, 2)


def test_a_model_whose_layers_all_see_windows_is_refused():
    class Other(nn.Linear):
        pass

    with pytest.raises(ModelError, match="one row per image; this model has none"):
        norms_of(Windowed(Other), torch.randn(2, 3, 8, 8), torch.tensor([0, 1]))


@pytest.fixture(scope="module")
def overfitted():
    """A tiny model that knows 120 images with random labels by heart."""
    torch.manual_seed(0)
    pixels = structured_images(300, 2)
    labels = np.random.default_rng(0).integers(0, 4, 300)
    model = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 4))
    images = torch.from_numpy(pixels[:120]).permute(0, 3, 1, 2).float() / 127.5 - 1
    known = torch.from_numpy(labels[:120])
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        cross_entropy(model(images), known).backward()
        optimiser.step()
    return made_case(SIZES, pixels, labels, audited=model)


BOTH = pytest.mark.parametrize("score", [gmint.score, gmint.score_by_filters])


@BOTH
def test_members_of_an_overfitted_model_are_found(score, overfitted):
    scores = score(overfitted)
    assert np.isfinite(scores).all()
    assert auc_of(overfitted, scores)["low"] > 0.8
    judged = overfitted.images["judged"].to_numpy()
    assert ((scores > 0) == overfitted.member)[judged].mean() > 0.75


def test_images_far_from_all_that_was_learned_from_get_numbers(overfitted, monkeypatch):
    means = gradients.gradient_means(overfitted, overfitted.labels)
    judged = overfitted.images["judged"].to_numpy()
    far = np.where(judged[:, None], 1e6 * means, means)
    monkeypatch.setattr(gradients, "gradient_means", lambda case, labels: far)
    scores = gmint.score_by_filters(overfitted)
    assert np.isfinite(scores).all()
    assert np.abs(scores[judged]).max() > 1000  # as a probability, 0 or 1
    assert len(np.unique(scores[judged])) == judged.sum()


def test_an_untrained_model_gives_nothing_away(overfitted):
    untrained = made_case(SIZES, structured_images(300, 2), overfitted.labels)
    untrained.target.audited = zoo.create("tiny", 3, 16, 4)
    found = auc_of(untrained, gmint.score(untrained))
    assert found["low"] < 0.5 < found["high"]


@BOTH
def test_who_is_a_member_among_the_judged_is_never_read(score, overfitted):
    scores = score(overfitted)
    case = made_case(SIZES, structured_images(300, 2), overfitted.labels)
    case.target.audited = overfitted.target.audited
    judged = case.images["judged"].to_numpy()
    case.images.loc[judged, "member"] = ~case.member[judged]
    assert np.array_equal(score(case), scores)


def test_calibration_images_are_not_learned_from(overfitted):
    scores = gmint.score(overfitted)
    case = made_case(SIZES, structured_images(300, 2), overfitted.labels)
    case.target.audited = overfitted.target.audited
    case.images.loc[case.images["role"] == "calibration", "member"] = True
    case.images.loc[case.images["role"] == "calibration", "judged"] = True
    assert np.array_equal(gmint.score(case), scores)


def test_the_model_is_left_as_it_was(overfitted):
    model = zoo.create("tiny", 3, 16, 4).train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)  # as in a frozen target
    case = made_case(SIZES, structured_images(300, 2), overfitted.labels, audited=model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients.gradient_norms(case, case.labels)
    assert model.training
    assert not any(layer._forward_hooks for layer in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_unlabelled_images_take_the_predicted_class(overfitted):
    pixels, labels = structured_images(300, 2), overfitted.labels.copy()
    predicted = overfitted.logits.argmax(1)
    labels[::7] = predicted[::7]
    unlabelled = labels.copy()
    unlabelled[::7] = -1
    model = overfitted.target.audited
    scores = [
        gmint.score(made_case(SIZES, pixels, one, audited=model)) for one in (labels, unlabelled)
    ]
    assert np.array_equal(*scores)


def test_of_an_active_target_it_learns_from_calibration_images(overfitted, monkeypatch):
    learned = {}

    def cross_fitted(_, features, known_members, labels, folds):
        rows = np.concatenate([part for fold in folds for part in fold])
        learned[case.settings.target] = set(case.images["role"].iloc[rows])
        return np.zeros(len(features))

    monkeypatch.setattr(gmint, "cross_fitted", cross_fitted)
    pixels = overfitted.dataset.pixels
    for target in ("plain", "active"):
        model = overfitted.target.audited
        case = made_case(SIZES, pixels, overfitted.labels, audited=model, target=target)
        gmint.score(case)
    assert learned == {"plain": {"members", "external"}, "active": {"members", "calibration"}}


def test_without_known_members_it_says_how_many_it_has():
    sizes = {"members": 20, "external": 20, "holdout": 20}
    model = zoo.create("tiny", 3, 16, 4)
    case = made_case(sizes, structured_images(60, 0), audited=model)
    with pytest.raises(SettingsError, match=r"gMINT .* in 5 folds, but has 0 and 20"):
        gmint.score(case)


def test_frames_of_one_track_are_never_learned_from_and_scored_in_one_fold(monkeypatch):
    seen = []

    def cross_fitted(_, features, known_members, labels, folds):
        seen.extend(folds)
        return np.zeros(len(features))

    monkeypatch.setattr(gmint, "cross_fitted", cross_fitted)
    groups = np.arange(300) // 6
    model = zoo.create("tiny", 3, 16, 4)
    case = made_case(SIZES, structured_images(300, 2), groups=groups, audited=model)
    gmint.score(case)
    assert len(seen) == 5
    assert not any(set(groups[learned]) & set(groups[held]) for learned, held in seen)

"""The defects of the published code: each does what its name says."""

import torch
from short_training import settings, train

from amint_core.data.prepare import prepare
from amint_core.recipes import DEFECTS
from amint_core.run import steps
from amint_core.run.models import build
from amint_core.run.trainings import Training
from amint_core.settings import create


def test_the_frozen_batchnorm_defect_freezes_after_epoch_one(monkeypatch):
    means = []

    def watch(self, state):
        means.append([value.clone() for name, value in state.model.items() if "running" in name])

    monkeypatch.setattr(Training, "keep", watch)
    train(settings(defects=("frozen_batchnorm",)))
    for first, second in zip(means[0], means[2], strict=True):
        assert torch.equal(first, second)
    means.clear()
    train(settings())
    assert any(not torch.equal(a, b) for a, b in zip(means[0], means[2], strict=True))


def test_the_scaled_mint_loss_defect_leaves_the_head_untrained():
    chosen = settings(
        dataset="cifar10", defects=("scaled_mint_loss",), weight_decay=0.0, image_size=16, epochs=1
    )
    before = [p.clone() for p in build(prepare(chosen)).head.parameters()]
    _, run = train(chosen)
    for old, new in zip(before, run.model.head.parameters(), strict=True):
        assert torch.equal(old, new)


def test_separate_batches_give_other_statistics():
    _, joint = train(settings(epochs=1))
    _, separate = train(settings(epochs=1, defects=("separate_batches",)))
    name = "audited.stem.1.running_mean"
    assert not torch.equal(joint.model.state_dict()[name], separate.model.state_dict()[name])


def test_separate_batches_act_in_epoch_one_only_where_batchnorm_then_freezes(monkeypatch):
    means = []

    def watch(self, state):
        means.append([value.clone() for name, value in state.model.items() if "running" in name])

    monkeypatch.setattr(Training, "keep", watch)
    together = ("frozen_batchnorm", "separate_batches")
    for defects in (("frozen_batchnorm",), together):
        train(settings(defects=defects))
    epochs = len(means) // 2
    joint, separate = means[:epochs], means[epochs:]
    # One epoch's batches leave other statistics; from then on nothing moves them.
    assert any(not torch.equal(a, b) for a, b in zip(joint[0], separate[0], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(separate[0], separate[-1], strict=True))


def test_xception_has_a_hundred_outputs_with_the_defect():
    chosen = settings(model="xception", image_size=28, defects=("hundred_outputs",))
    model = build(prepare(chosen))
    assert model.audited.get_classifier().out_features == 100


def test_the_published_recipe_trains_by_the_mint_loss_and_has_every_other_defect():
    published = create(dataset="tiny_imagenet", model="vit", recipe="published")
    assert set(published.defects) == set(DEFECTS) - {"scaled_mint_loss"}
    assert (published.lambda_mint, published.learning_rate) == (10_000.0, 1e-4)
    assert published.head == "published"
    assert published.weight_decay == 0


def test_a_published_run_goes_through():
    metrics = steps.run_all(settings(recipe="published", epochs=1, batch_size=20))
    assert metrics["audited"]["role"] == "external"

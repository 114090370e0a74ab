"""When a training stops before its last epoch, by patience or divergence, and what is kept."""

import numpy as np
import pytest
import torch
from amint_core.training.trained import training_of
from short_training import settings, train

from amint_core.data.identity import image_hashes
from amint_core.errors import TrainingError
from amint_core.run import steps
from amint_core.training import trained


def test_patience_stops_early_and_keeps_the_best_epoch(monkeypatch):
    given = iter([0.6, 0.8, 0.7, 0.7, 0.9])
    seen = []

    def monitor(data, model, device):
        def look():
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
            return next(given)

        return look

    monkeypatch.setattr(trained, "_monitor", monitor)
    chosen = settings(epochs=5, patience=2)
    history, model, *_ = train(chosen)
    assert list(history["calibration_auc"]) == [0.6, 0.8, 0.7, 0.7]
    assert steps.best_epoch(history, chosen) == 2
    for name, value in model.state_dict().items():
        assert torch.equal(value, seen[1][name]), name


def test_early_stopping_never_sees_judged_images(monkeypatch):
    data = steps.prepare(settings())
    looked = []

    def logits(model, pixels, count, device):
        looked.extend(image_hashes(pixels(np.arange(count))))
        return np.zeros(count)

    monkeypatch.setattr(trained, "membership_logits", logits)
    trained._monitor(data, None, torch.device("cpu"))()
    members, holdout = data.split.roles["members"], data.split.roles["holdout"]
    judged = np.concatenate([members[data.split.members_judged], holdout])
    assert looked
    assert not set(data.dataset.hashes[judged]) & set(looked)


def test_divergence_stops_and_keeps_the_last_good_checkpoint(monkeypatch):
    from amint_core.training import active

    honest = active.mint_loss
    calls = []

    def breaks_in_epoch_two(*given):
        calls.append(1)
        return honest(*given) * (float("nan") if len(calls) > 5 else 1.0)

    monkeypatch.setattr(active, "mint_loss", breaks_in_epoch_two)
    with pytest.raises(TrainingError, match=r"diverged.*epoch 2, step 2.*after epoch 1 is kept"):
        train(settings())
    training = training_of("active", steps.prepare(settings()))
    saved = torch.load(training.checkpoint, weights_only=True)
    assert saved["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_weights_that_blow_up_in_the_last_step_are_not_kept():
    with pytest.raises(TrainingError, match="diverged"):
        train(settings(learning_rate=1e38, epochs=1, batch_size=60, external=60))
    chosen = settings(learning_rate=1e38, epochs=1, batch_size=60, external=60)
    training = training_of("active", steps.prepare(chosen))
    assert training.folder.is_dir()
    assert not training.checkpoint.exists()
    assert not training.weights.exists()

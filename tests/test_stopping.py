"""When a training stops before its last epoch, by patience or divergence, and what is kept."""

import numpy as np
import pytest
import torch
from short_training import settings, stored, train

from amint_core.data.hashes import image_hashes
from amint_core.errors import TrainingError
from amint_core.run import models, steps
from amint_core.training import losses


def test_patience_stops_early_and_keeps_the_best_epoch(monkeypatch):
    given = iter([0.6, 0.8, 0.7, 0.7, 0.9])
    seen = []
    fit = models.fit

    def watched(model, *args, **options):
        def look():
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
            return next(given)

        return fit(model, *args, **{**options, "monitor": look})

    monkeypatch.setattr(models, "fit", watched)
    chosen = settings(epochs=5, patience=2)
    history, run = train(chosen)
    assert list(history["calibration_auc"]) == [0.6, 0.8, 0.7, 0.7]
    assert steps.best_epoch(history, chosen) == 2
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, seen[1][name]), name


def test_early_stopping_never_sees_judged_images(monkeypatch):
    looked = []

    def logits(model, pixels, count, device):
        looked.extend(image_hashes(pixels(np.arange(count))))
        return np.zeros(count)

    monkeypatch.setattr(models, "membership_logits", logits)
    _, run = train(settings(epochs=1, patience=1))
    hashes, split = run.data.dataset.hashes, run.data.split
    members, holdout = split.roles["members"], split.roles["holdout"]
    judged = set(hashes[members[split.members_judged]]) | set(hashes[holdout])
    assert looked
    assert not judged & set(looked)


def test_divergence_stops_and_keeps_the_last_good_checkpoint(monkeypatch):
    honest = losses.mint_loss
    calls = []

    def breaks_in_epoch_two(*given):
        calls.append(1)
        return honest(*given) * (float("nan") if len(calls) > 5 else 1.0)

    monkeypatch.setattr(losses, "mint_loss", breaks_in_epoch_two)
    run = steps.Run(settings())
    with pytest.raises(TrainingError, match=r"diverged.*epoch 2, step 2.*after epoch 1 is kept"):
        steps.train(run)
    saved = stored(run).state()
    assert saved.epoch == 1
    assert all(torch.isfinite(value).all() for value in saved.model.values())


def test_weights_that_blow_up_in_the_last_step_are_not_kept():
    run = steps.Run(settings(learning_rate=1e38, epochs=1, batch_size=60, external=60))
    with pytest.raises(TrainingError, match="diverged"):
        steps.train(run)
    training = stored(run)
    assert training.folder.is_dir()
    assert not training.checkpoint.exists()
    assert not training.weights.exists()

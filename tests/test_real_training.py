"""Training on real images: the method works, not only its parts."""

from amint_core.run import steps
from amint_core.settings import create


def test_members_of_real_cifar10_are_told_from_holdout(real_data):
    settings = create(
        dataset="cifar10",
        model="mobilenet",
        members=200,
        external=300,
        calibration=100,
        holdout=200,
        test=200,
        epochs=12,
        batch_size=50,
        cpu_threads=1,
    )
    metrics = steps.run_all(settings)
    assert metrics["data"]["source"] == "real"
    assert "STAND-IN" not in metrics["data"]["title"]
    # Chance is .5; the lower end of the interval is far above it.
    assert metrics["mint"]["auc"]["low"] > 0.7


def test_without_the_mint_loss_the_head_is_at_chance(real_data):
    """The control: the same images and model, the head left untrained, cannot tell them apart."""
    settings = create(
        dataset="cifar10",
        model="tiny",
        members=400,
        external=400,
        calibration=100,
        holdout=400,
        test=100,
        epochs=3,
        lambda_mint=0,
        weight_decay=0,
        cpu_threads=1,
    )
    assert 0.4 < steps.run_all(settings)["mint"]["auc"]["value"] < 0.6

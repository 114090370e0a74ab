"""Settings of three epochs, and a training under them without its scores."""

import json

import small_run

from amint_core.run import steps
from amint_core.run.folder import Run
from amint_core.run.trainings import training_of
from amint_core.settings import create
from amint_core.training.kinds import ACTIVE

SMALL = {**small_run.SMALL, "epochs": 3}


def settings(**changes):
    return create(**{**SMALL, **changes})


def train(run_settings):
    """Return the history and the trained run."""
    run = Run(run_settings)
    return steps.train(run), run


def stored(run):
    """Return where the run's active training is stored."""
    return training_of(ACTIVE, run.data)


def without_times(metrics):
    copy = json.loads(json.dumps(metrics))
    copy["training"].pop("seconds")
    return copy

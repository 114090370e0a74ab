"""Settings of three epochs, and a training under them without its scores."""

import json

import small_run

from amint_core.run import steps
from amint_core.run.folder import Run
from amint_core.settings import create

SMALL = {**small_run.SMALL, "epochs": 3}


def settings(**changes):
    return create(**{**SMALL, **changes})


def train(run_settings, keep=None):
    run = Run(run_settings)
    data = steps.prepare(run_settings)
    model = steps.build(data)
    return steps.train(run, data, model), model, run, data


def without_times(metrics):
    copy = json.loads(json.dumps(metrics))
    copy["training"].pop("seconds")
    return copy

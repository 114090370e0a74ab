"""One run, step by step: data → model → training → scores → metrics.

Each step is one call, so that a notebook can stop and look between them; `run_all` does them all.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
import torch

from amint_core import provenance
from amint_core.config import EXACT, RunConfig, settings_of
from amint_core.data.base import Dataset
from amint_core.data.split import Split
from amint_core.errors import ProtocolError, ResultsError
from amint_core.evaluation import metrics as measures
from amint_core.evaluation.judge import judge
from amint_core.evaluation.scores import groups_of, images_of, pixels_of
from amint_core.memory import enough_memory
from amint_core.methods import METHODS
from amint_core.methods.case import Case
from amint_core.methods.method import Method
from amint_core.model import zoo
from amint_core.model.inference import predicted_classes
from amint_core.model.mint import describe, parameter_count
from amint_core.run import shadows
from amint_core.run.folder import Run
from amint_core.run.needs import kind_of, training_settings
from amint_core.run.trainings import train_model, training_of
from amint_core.training.device import open_accelerator
from amint_core.training.distributed import refuse_lone_process
from amint_core.training.precision import chosen_precision
from amint_core.training.repeatable import repeatable


@enough_memory()
def train(run: Run) -> pd.DataFrame:
    """Train the run's model in place and return the history, one row per epoch.

    A method that trains nothing of its own trains the model that it tests, and the shadow models
    that it needs. What was trained before with the same code, settings and data is loaded; what was
    cut off goes on from the last state kept.

    Raises:
        SettingsError: its shadow models will not do.
        TrainingError: training diverged; the last good checkpoint is kept.
    """
    method, kind = METHODS[run.settings.method], kind_of(run.settings)
    if method.shadows:
        shadows.check(run.shadows)
    history = train_model(kind, run.data, run.model)
    training = training_of(kind, run.data)
    if run.settings.keep_epochs and run.settings.head_epochs:
        print("In two stages keep_epochs keeps nothing: a replay trains both of them again.")
    run.keep_training(training.weights, history)
    run.keep_epochs(training.epochs)
    if method.shadows:
        shadows.train_shadows(run.shadows)
    return history


def _scores_of(method: Method, case: Case) -> np.ndarray:
    """Return a test's (N,) float64 scores of a case.

    Raises:
        ProtocolError: they are of another form, as a test of one's own may return.
    """
    try:
        values = np.asarray(method.score(case), np.float64)
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"The test {method.name!r} returns no numbers ({error}).") from error
    if values.shape != (len(case.images),):
        raise ProtocolError(
            f"The test {method.name!r} returns scores of shape {values.shape} for "
            f"{len(case.images)} images. It must return one number for each."
        )
    return values


@enough_memory()
def score(run: Run) -> pd.DataFrame:
    """Score the images of all roles, and after each transformation those that are judged.

    Test images are scored where they are judged; otherwise they only are classified. Whatever the
    model was trained in, answers are in fp32: in bf16 a thousand of them fall on some 200 values.

    Returns:
        The table of `evaluation/scores.py`, of images as they are; the run has both.

    Raises:
        ResultsError: the run is not trained, or its folder cannot be written.
        ProtocolError: the method returns scores of another form, as a test of one's own may.
        SettingsError: too few images are known to a method that learns from them.
        ModelError: a method cannot read the model.
        ResourceError: memory is used up.
    """
    if run.history is None:
        raise ResultsError("This run's model is not trained yet: call train(run) first.")
    case, name = case_of(run), run.settings.method
    with repeatable(run.settings.cpu_threads):
        values = _scores_of(METHODS[name], case)
        scores = case.images.assign(predicted=case.predicted, method=name, score=values)
        scores = pd.concat([scores, _classified(case, judged_images(run))], ignore_index=True)
    run.keep_scores(scores, _after_transformations(run, case, scores))
    return scores


@enough_memory()
def evaluate(run: Run) -> dict[str, Any]:
    """Judge the run's scores, and write its metrics and provenance.

    Raises:
        ResultsError: the run has no scores, or its folder cannot be written.
        ProtocolError: scores are no numbers, or an image would choose the threshold that it is
            judged by; see `judge`.
        ResourceError: memory is used up.
    """
    if run.scores is None:
        raise ResultsError("This run has no scores yet: call score(run) first.")
    settings, kind, method = run.settings, kind_of(run.settings), METHODS[run.settings.method]
    judged = judge(run.scores, settings, method.thresholds, method.untested)
    if not kind.classifies:
        why = f"the {kind.name} control has no classification task"
        judged["audited"]["accuracy"] = measures.no_metric(why)
    metrics = {
        "run": {"id": settings.id, "settings": settings.model_dump(mode="json")},
        "data": describe_data(run.data.dataset, run.data.split),
        **judged,
    }
    if run.transformed is not None:
        threshold = judged["mint"]["threshold_calibrated"]
        metrics["transformations"] = {
            name: _judge_transformed(rows, threshold)
            for name, rows in run.transformed.groupby("transformation", sort=False)
        }
    metrics["training"] = _describe_training(run)
    run.keep_results(metrics, _manifest(run))
    return metrics


def run_all(settings: RunConfig) -> dict[str, Any]:
    """Do a whole run without a notebook and return its metrics.

    Raises:
        SettingsError: it was started with `accelerate launch` for several processes, and is alone.
    """
    refuse_lone_process()
    run = Run(settings)
    train(run)
    score(run)
    return evaluate(run)


def best_epoch(history: pd.DataFrame, settings: RunConfig) -> int:
    """Return the epoch whose weights the run keeps: the last, or with patience the best."""
    watched = history["calibration_auc"]
    if settings.patience and watched.notna().any():
        return int(history.loc[watched.idxmax(), "epoch"])
    return int(history["epoch"].iloc[-1])


def stages(run: Run) -> pd.DataFrame:
    """List the audited model's stages with taps and sharing; see `mint.describe`."""
    return describe(run.model, run.data.example.to(next(run.model.parameters()).device))


def case_of(run: Run) -> Case:
    """Return what the run's method looks at: the model, and the images that it is asked about."""
    data, device = run.data, open_accelerator(run.settings.precision).device
    run.model.to(device, memory_format=torch.channels_last)
    images = judged_images(run)
    asked = images[images["judged"] | (images["role"] != "test")]
    return Case(
        settings=run.settings,
        dataset=data.dataset,
        split=data.split,
        images=asked.reset_index(drop=True),
        target=run.model,
        device=device,
        find_shadows=lambda case: shadows.answers(run.shadows, case),
    )


def judged_images(run: Run) -> pd.DataFrame:
    """Return `scores.images_of` a run, judged as its method can.

    A test that reads shadow models judges what these were drawn from: see `run/shadows.py`.
    """
    images = images_of(run.data.dataset, run.data.split)
    if METHODS[run.settings.method].shadows:
        images["judged"] &= run.shadows.knows(images["index"].to_numpy())
    return images


def _classified(case: Case, images: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of test images that are not judged, but classified for audited accuracy.

    Args:
        case: the run's case.
        images: as from `judged_images`.
    """
    images = images[~images["judged"] & (images["role"] == "test")].reset_index(drop=True)
    predicted = predicted_classes(
        case.target.audited,
        lambda rows: pixels_of(case.dataset, images.iloc[rows]),
        len(images),
        case.device,
        "classify test images" if len(images) else None,
    )
    return images.assign(predicted=predicted, method=case.settings.method, score=np.nan)


def _after_transformations(run: Run, case: Case, scores: pd.DataFrame) -> pd.DataFrame | None:
    """Score the judged images after each transformation; exact ones have their `scores` already."""
    settings, method = run.settings, METHODS[run.settings.method]
    if not settings.transformations:
        return None
    exact = scores.loc[scores["judged"], [*case.images, "score"]]
    rows = [exact.assign(transformation=EXACT)]
    for name in settings.transformations:
        transformed = case.after(name, method.transformed == "alone")
        with repeatable(settings.cpu_threads):
            values = _scores_of(method, transformed)
        scored = transformed.images.assign(transformation=name, score=values)
        rows.append(scored[scored["judged"]])
    return pd.concat(rows, ignore_index=True)


def _judge_transformed(scores: pd.DataFrame, threshold: float | None) -> dict[str, Any]:
    """Judge the images after one transformation, at the threshold of exact images."""
    of_member, values = scores["member"].to_numpy(), scores["score"].to_numpy()
    members, others, groups = values[of_member], values[~of_member], groups_of(scores)
    calibrated = measures.no_metric("no calibrated threshold")
    if threshold is not None:
        calibrated = measures.accuracy(members, others, threshold, groups)
    return {
        "accuracy_calibrated": calibrated,
        **measures.told_apart(members, others, groups, ("0.01",)),
    }


def describe_data(dataset: Dataset, split: Split) -> dict[str, Any]:
    """Return what metrics say of a run's images."""
    return {
        "dataset": dataset.spec.name,
        "title": dataset.title,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "sizes": {name: len(index) for name, index in split.roles.items()},
        "split": split.digest,
        "duplicates_removed": split.duplicates_removed,
        "image_size": dataset.image_size,
        "channels": dataset.channels,
        "classes": dataset.num_classes,
        "notes": list(dataset.notes),
    }


def _describe_training(run: Run) -> dict[str, Any]:
    settings, kind, history = run.settings, kind_of(run.settings), run.history
    parameters = {"audited": parameter_count(run.model.audited)}
    if kind.has_head:
        parameters["head"] = parameter_count(run.model.head)
    described = {
        "kind": kind.name,
        "epochs": len(history),
        "best_epoch": best_epoch(history, settings),
        "seconds": round(float(history["seconds"].sum()), 1),
        "device": run.machine["device"],
        "hardware": run.machine["hardware"],
        "parameters": parameters,
        "taps": list(run.model.taps) if kind.has_head else [],
    }
    if METHODS[settings.method].shadows:
        described["shadows"] = shadows.describe(run.shadows)
    return described


def code_of(settings: RunConfig) -> str:
    """Return a hash of all sources that compute a run: ours, and those of a model or test added."""
    added = *zoo.code_of(settings.model), *METHODS.roots(settings.method)
    return provenance.code_fingerprint(__name__, *added)


def _manifest(run: Run) -> dict[str, Any]:
    """Return where the run's numbers come from, and everything that they depend on.

    Device, hardware and processes are those that trained the model, which may have been loaded.
    """
    settings, versions = run.settings, provenance.versions()
    return {
        "run": settings.id,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions,
        **run.machine,
        "git": provenance.git_state(),
        "computed_in": chosen_precision(settings.precision),
        "seed": settings.seed,
        "settings": settings.model_dump(mode="json", exclude=set(settings_of("nothing"))),
        "training": training_settings(settings, kind_of(settings)),
        "code": code_of(settings),
        "data": run.data.dataset.fingerprint,
        "split": run.data.split.digest,
        "torch": versions["torch"],
        "timm": versions["timm"],
    }

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
from amint_core.config import RunConfig, settings_of
from amint_core.data.prepare import Data, prepare
from amint_core.errors import SettingsError
from amint_core.evaluation import metrics as measures
from amint_core.evaluation.judge import judge
from amint_core.evaluation.scores import groups_of, images_of, pixels_of
from amint_core.methods import METHODS
from amint_core.methods.case import EXACT, Case
from amint_core.model.inference import predicted_classes
from amint_core.model.mint import EnhancedAuditedModel, describe, parameter_count
from amint_core.run import shadows
from amint_core.run.folder import Run
from amint_core.training.device import (
    chosen_precision,
    open_accelerator,
    processes,
    refuse_lone_process,
    repeatable,
)
from amint_core.training.store import training_settings
from amint_core.training.trained import build, train_model, training_of


def train(run: Run, data: Data, model: EnhancedAuditedModel) -> pd.DataFrame:
    """Train the model in place and return the history, one row per epoch.

    A method that trains nothing of its own trains the model that it tests, and the shadow models
    that it needs. What was trained before with the same code, settings and data is loaded; what was
    cut off goes on from its last epoch.

    Raises:
        SettingsError: its shadow models will not do.
        TrainingError: training diverged; the last good checkpoint is kept.
    """
    _check_same(run, data)
    method = METHODS[run.settings.method]
    if method.shadows:
        shadows.check(data)
    kind = _trains(run.settings)
    history = train_model(kind, data, model)
    training = training_of(kind, data)
    run.keep_model(training.weights, training.identity)
    run.save_history(history)
    if method.shadows:
        shadows.train_shadows(data)
    return history


def score(run: Run, data: Data, model: EnhancedAuditedModel) -> pd.DataFrame:
    """Score the images of all roles and write the table; see `evaluation.scores`.

    Test images are scored where they are judged; otherwise they only are classified.
    """
    _check_same(run, data)
    case = _case(run.settings, data, model)
    scores = case.images.copy()
    with repeatable(run.settings), open_accelerator(run.settings).autocast():
        answers = METHODS[run.settings.method].score(case).astype(np.float64)
        scores["predicted"] = case.predicted
        scores["method"] = run.settings.method
        scores["score"] = answers
        scores = pd.concat([scores, _classified(case)], ignore_index=True)
    run.save_scores(scores)
    return scores


def evaluate(
    run: Run,
    data: Data,
    model: EnhancedAuditedModel,
    history: pd.DataFrame,
    scores: pd.DataFrame,
) -> dict[str, Any]:
    """Judge the scores, and write the run's metrics and provenance."""
    _check_same(run, data)
    judged = judge(scores, run.settings, METHODS[run.settings.method].thresholds)
    if _trains(run.settings) == "memorizer":
        why = "the memorizer control has no classification task"
        judged["audited"]["accuracy"] = measures.no_metric(why)
    metrics = {
        "run": {"id": run.settings.id, "settings": run.settings.model_dump(mode="json")},
        "data": _describe_data(data),
        **judged,
        **_after_transformations(run, data, model, scores, judged["mint"]["threshold_calibrated"]),
        "training": _describe_training(run.settings, data, model, history),
    }
    run.save_results(metrics, _manifest(run, data, metrics["training"]))
    return metrics


def run_all(settings: RunConfig) -> dict[str, Any]:
    """Do a whole run without a notebook and return its metrics.

    Raises:
        SettingsError: it was started with `accelerate launch` for several processes, and is alone.
    """
    refuse_lone_process()
    run = Run(settings)
    data = prepare(settings)
    model = build(data)
    history = train(run, data, model)
    return evaluate(run, data, model, history, score(run, data, model))


def best_epoch(history: pd.DataFrame, settings: RunConfig) -> int:
    """Return the epoch whose weights the run keeps: the last, or with patience the best."""
    watched = history["calibration_auc"]
    if settings.patience and watched.notna().any():
        return int(history.loc[watched.idxmax(), "epoch"])
    return int(history["epoch"].iloc[-1])


def stages(model: EnhancedAuditedModel, data: Data) -> pd.DataFrame:
    """List the audited model's stages with taps and sharing; see `mint.describe`."""
    example = data.example.to(next(model.parameters()).device)
    return describe(model, example)


def _trains(settings: RunConfig) -> str:
    """Return the kind of model that a run trains or tests; see `Method.training`."""
    return METHODS[settings.method].training or settings.target


def _check_same(run: Run, data: Data) -> None:
    if run.settings != data.settings:
        raise SettingsError(
            f"The data were prepared for {data.settings.id}, but the run is {run.settings.id}. Run "
            "the steps from `prepare` on again."
        )


def _case(settings: RunConfig, data: Data, model: EnhancedAuditedModel) -> Case:
    device = open_accelerator(settings).device
    model.to(device, memory_format=torch.channels_last)
    images = images_of(data.dataset, data.split)
    asked = images[images["judged"] | (images["role"] != "test")]
    return Case(
        settings=settings,
        dataset=data.dataset,
        split=data.split,
        images=asked.reset_index(drop=True),
        target=model,
        device=device,
        find_shadows=lambda case: shadows.answers(data, case),
    )


def _classified(case: Case) -> pd.DataFrame:
    """Return the rows of test images that nobody judges: for audited accuracy alone."""
    images = images_of(case.dataset, case.split)
    images = images[~images["judged"] & (images["role"] == "test")].reset_index(drop=True)
    predicted = predicted_classes(
        case.target.audited,
        lambda rows: pixels_of(case.dataset, images.iloc[rows]),
        len(images),
        case.device,
        "classify test images" if len(images) else None,
    )
    return images.assign(predicted=predicted, method=case.settings.method, score=np.nan)


def _after_transformations(
    run: Run,
    data: Data,
    model: EnhancedAuditedModel,
    scores: pd.DataFrame,
    threshold: float | None,
) -> dict[str, Any]:
    """Judge the judged images again after each transformation, at the threshold of exact images.

    Exact images have their `scores` already.
    """
    settings, method = run.settings, METHODS[run.settings.method]
    if not settings.transformations:
        return {}
    case = _case(settings, data, model)
    exact = scores.loc[scores["judged"], [*case.images, "score"]]
    rows = [exact.assign(transformation=EXACT)]
    for name in settings.transformations:
        transformed = case.after(name, method.transformed == "alone")
        with repeatable(settings), open_accelerator(settings).autocast():
            values = method.score(transformed).astype(np.float64)
        scored = transformed.images.assign(transformation=name, score=values)
        rows.append(scored[scored["judged"]])
    names = (EXACT, *settings.transformations)
    found = {
        name: _judge_transformed(one, threshold) for name, one in zip(names, rows, strict=True)
    }
    run.save_scores(pd.concat(rows, ignore_index=True), "transformed.parquet")
    return {"transformations": found}


def _judge_transformed(scores: pd.DataFrame, threshold: float | None) -> dict[str, Any]:
    of_member, values = scores["member"].to_numpy(), scores["score"].to_numpy()
    members, others, groups = values[of_member], values[~of_member], groups_of(scores)
    calibrated = measures.no_metric("no calibrated threshold")
    if threshold is not None:
        calibrated = measures.accuracy(members, others, threshold, groups)
    return {
        "auc": measures.auc(members, others, groups),
        "accuracy_calibrated": calibrated,
        "tpr_at_fpr": {"0.01": measures.tpr_at_fpr(members, others, 0.01, groups)},
    }


def _describe_data(data: Data) -> dict[str, Any]:
    dataset, split = data.dataset, data.split
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


def _describe_training(
    settings: RunConfig, data: Data, model: EnhancedAuditedModel, history: pd.DataFrame
) -> dict[str, Any]:
    device = next(model.parameters()).device
    with repeatable(settings):
        hardware = provenance.hardware(device)
    kind = _trains(settings)
    parameters = {"audited": parameter_count(model.audited)}
    if kind != "plain":
        parameters["head"] = parameter_count(model.head)
    described = {
        "kind": kind,
        "epochs": len(history),
        "best_epoch": best_epoch(history, settings),
        "seconds": round(float(history["seconds"].sum()), 1),
        "device": device.type,
        "hardware": hardware,
        "parameters": parameters,
        "taps": list(model.taps) if kind != "plain" else [],
    }
    if METHODS[settings.method].shadows:
        described["shadows"] = shadows.describe(data)
    return described


def _identity(settings: RunConfig, data: Data) -> dict[str, Any]:
    """Return everything that a run's numbers depend on."""
    versions = provenance.versions()
    return {
        "settings": settings.model_dump(mode="json", exclude=set(settings_of("nothing"))),
        "training": training_settings(settings, _trains(settings)),
        "code": provenance.code_fingerprint(),
        "data": data.dataset.fingerprint,
        "split": data.split.digest,
        "torch": versions["torch"],
        "timm": versions["timm"],
    }


def _manifest(run: Run, data: Data, training: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": run.settings.id,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": provenance.versions(),
        "device": training["device"],
        "hardware": training["hardware"],
        "git": provenance.git_state(),
        "computed_in": chosen_precision(run.settings.precision),
        "processes": processes().num_processes,
        "seed": run.settings.seed,
        **_identity(run.settings, data),
    }

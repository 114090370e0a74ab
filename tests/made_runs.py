"""Made-up results of the form that runs write, for the tests of tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amint_core.evaluation.judge import judge
from amint_core.evaluation.scores import JUDGED_FILE, write_counted
from amint_core.files import write_json
from amint_core.methods import METHODS
from amint_core.report import paper
from amint_core.settings import create
from amint_core.store import files_to_hash, hashes, write_sealed

TITLES = {**paper.DATASETS, "cifar100": "CIFAR-100"}
#: Eight runs on five datasets, as in the quick profile: every dataset, model and setup once.
EIGHT = (
    ("mnist", "mobilenet", "middle"),
    ("mnist", "vit", "middle"),
    ("cifar10", "mobilenet", "entry"),
    ("cifar10", "mobilenet", "middle"),
    ("cifar10", "mobilenet", "output"),
    ("gtsrb", "resnet50", "entry"),
    ("tiny_imagenet", "xception", "output"),
    ("casia_webface", "densenet121", "middle"),
)
#: The paper's whole grid.
GRID = tuple((dataset, model, setup) for dataset, setup, model in paper.TABLE1)


def measure(value: float | None, n: int = 1000) -> dict[str, Any]:
    """Make a measured value with a normal interval."""
    if value is None:
        return {"value": None, "low": None, "high": None, "reason": "too few non-members"}
    half = 1.96 * (value * (1 - value) / n) ** 0.5
    return {"value": value, "low": max(value - half, 0.0), "high": min(value + half, 1.0)}


def made_scores(
    seed: int = 0, n: int = 400, shift: float = 2.5, method: str = "active"
) -> pd.DataFrame:
    """Make a scores table: n judged members, n judged non-members, and unjudged ones of each."""
    rng = np.random.default_rng(seed)
    member = np.repeat([True, False], 2 * n)
    return pd.DataFrame(
        {
            "image": [f"{index:032x}" for index in range(4 * n)],
            "index": np.arange(4 * n),
            "official_test": False,
            "role": np.repeat(["members", "members", "calibration", "holdout"], n),
            "member": member,
            "judged": np.tile([False, True], 2).repeat(n),
            "label": rng.integers(0, 10, 4 * n),
            "predicted": rng.integers(0, 10, 4 * n),
            "method": method,
            "score": rng.normal(np.where(member, shift / 2, -shift / 2), 1.4),
        }
    )


def made_history(epochs: int = 20) -> pd.DataFrame:
    """Make the history of a training that goes well."""
    rng = np.random.default_rng(0)
    done = np.arange(1, epochs + 1) / epochs
    return pd.DataFrame(
        {
            "epoch": range(1, epochs + 1),
            "learning_rate": 1e-3 * (1 + np.cos(np.pi * done)) / 2,
            "audited_loss": 2.3 * np.exp(-2 * done) + rng.normal(0, 0.02, epochs),
            "mint_loss": 0.69 * np.exp(-1.5 * done) + rng.normal(0, 0.01, epochs),
            "audited_accuracy": 1 - 0.9 * np.exp(-2.5 * done),
            "mint_accuracy": 1 - 0.5 * np.exp(-2 * done),
            "calibration_auc": 1 - 0.5 * np.exp(-1.6 * done) - 0.02,
            "seconds": 10.0,
        }
    )


def made_metrics(
    dataset: str = "cifar10",
    model: str = "mobilenet",
    setup: str = "middle",
    profile: str = "quick",
    mint: float | None = 0.9132,
    audited: float = 0.4471,
    **settings: Any,
) -> dict[str, Any]:
    """Make the metrics.json of one run; `settings` are those of `RunConfig`."""
    settings = {"data": "standin"} | settings
    config = create(dataset=dataset, model=model, setup=setup, profile=profile, **settings)
    standin = config.data == "standin"
    return {
        "run": {"id": config.id, "settings": config.model_dump(mode="json")},
        "data": {
            "dataset": dataset,
            "title": TITLES[dataset] + (" [STAND-IN]" if standin else ""),
            "source": config.data,
            "fingerprint": "f" * 64,
            "sizes": {"members": 2000, "external": 3000, "holdout": 2000, "test": 10000},
            "split": "5" * 64,
            "duplicates_removed": 0,
            "image_size": 32,
            "channels": 3,
            "classes": 10,
            "notes": ["Made up for a test."],
        },
        "mint": {
            "accuracy": measure(mint),
            "accuracy_calibrated": measure(mint and min(mint + 0.01, 1.0)),
            "auc": measure(mint and min(mint + 0.04, 1.0)),
            "tpr_at_fpr": {"0.01": measure(0.47), "0.001": measure(None)},
            "precision_at_prior": {"0.01": measure(0.32), "0.1": measure(0.84)},
            "threshold": 0.0,
            "threshold_calibrated": 0.31,
            "judged": {"members": 1000, "non_members": 2000, "role": "holdout"},
        },
        "audited": {"accuracy": measure(audited), "images": 10000, "role": "test"},
        "training": {
            "epochs": 20,
            "best_epoch": 18,
            "seconds": 312.5,
            "device": "cpu",
            "hardware": "2-core CPU",
            "parameters": {"audited": 3_217_226, "head": 4_900_001},
        },
    }


def transformed(
    names: tuple[str, ...], value: float, seed: int = 0, **settings: Any
) -> dict[str, Any]:
    """Make metrics with transformed images: an AUC of `value` on exact ones, then .1 less each."""
    metrics = made_metrics(seed=seed, transformations=names, **settings)
    metrics["transformations"] = {
        name: {
            "auc": measure(value - 0.1 * place),
            "accuracy_calibrated": measure(0.5),
            "tpr_at_fpr": {"0.01": measure(0.2)},
        }
        for place, name in enumerate(("exact", *names))
    }
    return metrics


def put(root: Path, metrics: dict[str, Any], scores: pd.DataFrame | None = None) -> Path:
    """Write a run's files under the results folder `root`, sealed; return its folder."""
    settings = metrics["run"]["settings"]
    folder = root / settings["profile"] / "runs" / metrics["run"]["id"]
    write_json(folder / "metrics.json", metrics)
    if scores is not None:
        write_counted(scores, metrics["audited"]["role"], folder / JUDGED_FILE)
    seal_files(folder)
    return folder


def seal_files(run: Path, **manifest: Any) -> None:
    """Write a run's manifest, with the hashes of its files as they are now."""
    files = hashes(files_to_hash(run))
    write_sealed(run / "manifest.json", {"run": run.name, **manifest, "files": files})


#: Method → how far its made-up scores tell members from non-members.
SHIFTS = {
    "active": 4.0,
    "passive": 1.2,
    "yeom": 1.0,
    "salem": 0.6,
    "lira_online": 1.8,
    "memorizer": 3.4,
    "blind": 0.0,
}


def put_judged(
    root: Path,
    shift: float = 2.5,
    n: int = 200,
    seed: int = 0,
    method: str = "active",
    shadow_count: int = 8,
    frames: int = 1,
    **settings: Any,
) -> Path:
    """Write a run whose metrics are those of its made-up scores; images depend on the seed.

    With several frames, so many images in turn are of one track.
    """
    metrics = made_metrics(seed=seed, method=method, **settings)
    config = create(**metrics["run"]["settings"])
    rng = np.random.default_rng([seed, sum(config.id.encode())])
    scores = made_scores(seed, n, shift, method)
    scores["index"] += seed * len(scores)
    scores["image"] = [f"{number:032x}" for number in scores["index"]]
    # Half of what makes an image hard is the image, half the method.
    scores["score"] += rng.normal(0, 1.4, len(scores))
    if frames > 1:
        scores["group"] = np.arange(len(scores)) // frames
    if method == "plain":
        scores["score"] = np.nan
    judged = judge(scores, config, METHODS[method].thresholds, METHODS[method].untested)
    metrics["mint"] = judged["mint"]
    metrics["audited"] = judged["audited"] if judged["audited"]["images"] else metrics["audited"]
    if method in ("plain", "yeom", "salem", "lira_online"):
        del metrics["training"]["parameters"]["head"]
    if METHODS[method].shadows:
        metrics["training"]["shadows"] = {"count": shadow_count, "seconds": 800.5}
    return put(root, metrics, scores)


def put_methods(root: Path, seeds: tuple[int, ...] = (0,), n: int = 200, **settings: Any) -> None:
    """Write a run of each of several methods, the plain model among them, per seed."""
    for seed in seeds:
        put_judged(root, 0.0, n, seed, "plain", **settings)
        for method, shift in SHIFTS.items():
            put_judged(root, shift, n, seed, method, **settings)
        put_judged(root, 0.8, n, seed, "yeom", target="active", **settings)


def put_many(
    root: Path,
    cells: tuple[tuple[str, str, str], ...],
    scores: bool = True,
    **settings: Any,
) -> None:
    """Write a run per (dataset, model, setup), with values near the paper's where it has any."""
    rng = np.random.default_rng(1)
    for number, (dataset, model, setup) in enumerate(cells):
        cell = paper.TABLE1.get((dataset, setup, model)) or paper.Cell(0.86, 0.15)
        mint = float(np.clip(cell.mint + rng.normal(0.03, 0.03), 0.5, 0.999))
        audited = float(np.clip(cell.audited + rng.normal(0, 0.03), 0.02, 0.999))
        metrics = made_metrics(dataset, model, setup, mint=mint, audited=audited, **settings)
        made = made_scores(number, shift=6 * (mint - 0.5)) if scores else None
        put(root, metrics, made)

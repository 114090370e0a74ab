"""Does an audit find members that the owner hides from the head? `python -m benchmarks.hidden`.

Half of the members are trained on, but not declared to the head, or declared as external. The audit
is asked about them among strangers, with other strangers as its reference, by itself and beside
shadow models that the auditor has trained in a loop of his own on yet other images. Needs CIFAR-10.
Cut off, it goes on: a model whose rows are there is not trained again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amint_core.audit import conformal
from amint_core.audit.auditable import auditable
from amint_core.audit.contradictions import LEVEL
from amint_core.audit.export import preprocessing_of
from amint_core.audit.images import write
from amint_core.audit.scoring import Classify, Scored, score_all
from amint_core.audit.verdict import judge
from amint_core.data.base import Dataset
from amint_core.locations import results_root
from amint_core.model import zoo
from amint_core.run.folder import Run
from amint_core.run.steps import train
from amint_core.settings import create
from benchmarks import outsiders
from benchmarks.resumed import Rows

RUN = {
    "dataset": "cifar10",
    "model": "convnet",
    "recipe": "best",
    "members": 2_000,
    "external": 3_000,
    "calibration": 1_000,
    "holdout": 3_000,
    "test": 1_000,
    "cpu_threads": 1,
    "profile": "scratch",
}
METHODS = ("undeclared", "misdeclared")
FDR = 0.05
#: What the audit knows of an image's class → where that stands.
CLASSES = {"predicted": "sureness", "true": "of_label"}
SHADOWS = 8


def shadow_models(settings: dict[str, Any], seed: int, count: int, epochs: int) -> list[Classify]:
    """Train models of the same architecture as anybody does, on images that no role has.

    Each learns as many images as the audited model does, drawn anew.
    """
    run = Run(create(**settings, method=METHODS[0], seed=seed))
    dataset, roles = run.data.dataset, run.data.split.roles
    free = ~dataset.official_test
    free[np.concatenate(list(roles.values()))] = False
    models = []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        rows = random.choice(np.flatnonzero(free), len(roles["members"]), replace=False)
        torch.manual_seed(1_000 * seed + number)
        shape = dataset.channels, dataset.image_size, dataset.num_classes
        net = zoo.create(settings["model"], *shape)
        outsiders.train(net, dataset.pixels[rows], dataset.labels[rows], epochs)
        models.append(outsiders.prepared_by(net, preprocessing_of(dataset)))
    return models


def trial(
    settings: dict[str, Any], method: str, seed: int, shadows: Sequence[Classify]
) -> list[dict[str, Any]]:
    """Train one model whose owner hides half of the members, audit it, and say what was found."""
    run = Run(create(**settings, method=method, seed=seed))
    train(run)
    data, split = run.data, run.data.split
    strangers = np.random.default_rng(seed).permutation(split.roles["holdout"])
    parts = {
        "hidden": split.roles["members"][split.members_judged],
        "declared": split.roles["members"][~split.members_judged],
        "asked": strangers[:1_000],
        "reference": strangers[1_000:],
        "test": split.roles["test"],
    }
    model = auditable(
        run.model,
        preprocessing_of(data.dataset),
        data.dataset.pixels[split.roles["calibration"]],
    )
    found, accuracy = [], {}
    with tempfile.TemporaryDirectory() as place:
        folders = {name: _written(data.dataset, rows, place, name) for name, rows in parts.items()}
        for others in ((), shadows):
            scored = {
                name: score_all(
                    model.score,
                    folder,
                    model.preprocessing,
                    classify=model.classify,
                    shadows=others,
                )
                for name, folder in folders.items()
            }
            if not others:  # beside shadow models both are differences
                right = {name: one.sureness == one.of_label for name, one in scored.items()}
                accuracy = {
                    f"accuracy on {name}": float(right[name].mean()) for name in ("hidden", "test")
                }
            found += [{"shadows": len(others)} | _found(scored, each) for each in CLASSES]
    return [accuracy | row for row in found]


def _written(dataset: Dataset, rows: np.ndarray, place: str, name: str) -> Path:
    """Write images into folders of their classes, as an auditor may have them."""
    for label in np.unique(dataset.labels[rows]):
        of_class = rows[dataset.labels[rows] == label]
        write(dataset.pixels[of_class], Path(place, name, str(label)))
    return Path(place, name)


def _found(scored: dict[str, Scored], classes: str) -> dict[str, Any]:
    """Return the shares of hidden members, declared ones and strangers that each test names."""
    names = ("hidden", "declared", "asked")
    surely = CLASSES[classes]
    head, sure = (
        np.concatenate([getattr(scored[name], of) for name in names]) for of in ("scores", surely)
    )
    reference = scored["reference"]
    of_reference = getattr(reference, surely)
    verdict = judge(
        head,
        reference.scores,
        FDR,
        posterior=(sure, of_reference),
        statistics=np.concatenate([scored[name].statistics for name in names]),
        of_reference=reference.statistics,
    )
    said = {
        "head": verdict.p <= LEVEL,
        "loss": conformal.p_values(sure, of_reference) <= LEVEL,
        "possibly undeclared": verdict.contradictions.undeclared,
        "called member": verdict.accused,
    }
    of = np.repeat(names, [len(scored[name]) for name in names])
    as_a_set = {
        "reference fits": verdict.fit.holds,
        "hidden members": int((of == "hidden").sum()),
        "at least": verdict.contradictions.least,
        "chance": verdict.contradictions.chance,
    }
    return {"class": classes, **as_a_set} | {
        f"{name}: {test}": float(each[of == name].mean())
        for test, each in said.items()
        for name in names
    }


def main(arguments: list[str] | None = None) -> int:
    """Train the models, audit them, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hidden", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--image-size", type=int, default=32, help="pixels a side")
    parser.add_argument("--members", type=int, default=2_000, help="half of them are hidden")
    parser.add_argument("--shadows", type=int, default=SHADOWS, help="models of the auditor's")
    parser.add_argument("--out", type=Path, default=results_root() / "audit")
    given = parser.parse_args(arguments)
    sizes = {"epochs": given.epochs, "image_size": given.image_size}
    sizes |= {"members": given.members, "external": 3 * given.members // 2}
    torch.set_num_threads(1)
    rows, settings = Rows(given.out / "hidden.csv"), RUN | sizes
    for seed in given.seeds:
        keys = [
            {"owner": method, "seed": seed, **sizes, "settings": settings} for method in METHODS
        ]
        left = [key for key in keys if not rows.has(key | {"shadows": given.shadows})]
        shadows = shadow_models(settings, seed, given.shadows, given.epochs) if left else []
        for key in left:
            rows.add(*(key | found for found in trial(settings, key["owner"], seed, shadows)))
    print(rows.table.T)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

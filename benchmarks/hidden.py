"""Does an audit find members that the owner hides from the head? `python -m benchmarks.hidden`.

Half of the members are trained on, but not declared to the head, or declared as external. The audit
is asked about them among strangers, with other strangers as its reference. Needs CIFAR-10. Cut off,
it goes on: a model whose rows are there is not trained again.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amint_core.audit import conformal
from amint_core.audit.auditable import auditable
from amint_core.audit.contradictions import LEVEL
from amint_core.audit.export import preprocessing_of
from amint_core.audit.scoring import Scored, score_all
from amint_core.audit.verdict import judge
from amint_core.locations import results_root
from amint_core.methods.posteriors import scaled_logits
from amint_core.model.inference import class_logits
from amint_core.run.folder import Run
from amint_core.run.steps import train
from amint_core.settings import create
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
#: What the audit knows of an image's class.
CLASSES = ("predicted", "true")


def trial(method: str, seed: int, **sizes: int) -> list[dict[str, Any]]:
    """Train one model whose owner hides half of the members, audit it, and say what was found."""
    run = Run(create(**{**RUN, **sizes}, method=method, seed=seed))
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
    scored = {name: _scored(model, data.dataset, rows) for name, rows in parts.items()}
    accuracy = {
        name: float((scored[name].predicted == data.dataset.labels[parts[name]]).mean())
        for name in ("hidden", "test")
    }
    row = {f"accuracy on {name}": value for name, value in accuracy.items()}
    return [row | _found(scored, classes) for classes in CLASSES]


@dataclasses.dataclass(frozen=True)
class _Answers:
    scored: Scored
    predicted: np.ndarray
    sureness: dict[str, np.ndarray]  # of the predicted and of the true class


def _scored(model, dataset, rows: np.ndarray) -> _Answers:
    pixels = dataset.pixels[rows]
    scored = score_all(model.score, pixels, model.preprocessing)
    device = next(model.enhanced.parameters()).device
    logits = class_logits(model.enhanced.audited, pixels.__getitem__, len(rows), device)
    predicted = logits.argmax(1)
    sure = {"predicted": predicted, "true": dataset.labels[rows]}
    return _Answers(
        scored, predicted, {name: scaled_logits(logits, each) for name, each in sure.items()}
    )


def _found(scored: dict[str, _Answers], classes: str) -> dict[str, Any]:
    """Return the shares of hidden members, declared ones and strangers that each test names."""
    names = ("hidden", "declared", "asked")
    head, reference = _of(scored, names, None), scored["reference"].scored.scores
    sure, of_reference = _of(scored, names, classes), scored["reference"].sureness[classes]
    verdict = judge(head, reference, FDR, posterior=(sure, of_reference))
    said = {
        "head": verdict.p <= LEVEL,
        "loss": conformal.p_values(sure, of_reference) <= LEVEL,
        "possibly undeclared": verdict.contradictions.undeclared,
        "called member": verdict.accused,
    }
    of = np.repeat(names, [len(scored[name].predicted) for name in names])
    as_a_set = {
        "hidden members": int((of == "hidden").sum()),
        "at least": verdict.contradictions.least,
        "chance": verdict.contradictions.chance,
    }
    return {"class": classes, **as_a_set} | {
        f"{name}: {test}": float(each[of == name].mean())
        for test, each in said.items()
        for name in names
    }


def _of(scored: dict[str, _Answers], names: tuple[str, ...], classes: str | None) -> np.ndarray:
    return np.concatenate(
        [
            scored[name].sureness[classes] if classes else scored[name].scored.scores
            for name in names
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Train the models, audit them, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hidden", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--image-size", type=int, default=32, help="pixels a side")
    parser.add_argument("--members", type=int, default=2_000, help="half of them are hidden")
    parser.add_argument("--out", type=Path, default=results_root() / "audit")
    given = parser.parse_args(arguments)
    sizes = {"epochs": given.epochs, "image_size": given.image_size}
    sizes |= {"members": given.members, "external": 3 * given.members // 2}
    torch.set_num_threads(1)
    rows = Rows(given.out / "hidden.csv")
    for seed in given.seeds:
        for method in METHODS:
            key = {"owner": method, "seed": seed, **sizes}
            if not rows.has(key):
                rows.add(*(key | found for found in trial(method, seed, **sizes)))
    print(rows.table.T)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

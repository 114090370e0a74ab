"""Do verdicts hold on real images? `python -m benchmarks.verdicts`, needs CIFAR-10 and MNIST.

One small model is trained on CIFAR-10, then asked about images whose truth is known, drawn anew
many times from thousands of strangers that nothing ever looked at.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy import stats

from amint_core.audit import conformal
from amint_core.audit.auditable import AuditableModel, auditable
from amint_core.audit.export import preprocessing_of
from amint_core.audit.scoring import Scored, score_all
from amint_core.audit.verdict import judge
from amint_core.data import load
from amint_core.files import write_text
from amint_core.locations import results_root
from amint_core.run.folder import Run
from amint_core.run.steps import train
from amint_core.settings import create

RUN = {
    "dataset": "cifar10",
    "model": "tiny",
    "recipe": "best",
    "members": 1_000,
    "external": 1_500,
    "calibration": 1_000,
    "holdout": 6_000,
    "test": 100,
    "epochs": 10,
    "batch_size": 64,
    "cpu_threads": 1,
    "profile": "scratch",
}
FDR = 0.05
ASKED, REFERENCES = 1_000, 1_000
LEVELS = (0.01, 0.05)

#: Of strangers: what changes their look, and members not at all.
KINDS = ("as they are", "a quarter brighter", "resized by NEAREST", "MNIST", "noise")


def changed(kind: str, pixels: np.ndarray, digits: np.ndarray) -> np.ndarray:
    """Return (N, 32, 32, 3) uint8 images of a kind."""
    random = np.random.default_rng(0)
    if kind == "a quarter brighter":
        return (pixels * 1.25).clip(0, 255).astype(np.uint8)
    if kind == "resized by NEAREST":
        return pixels[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
    if kind == "MNIST":
        side = pixels.shape[1:3]
        shown = [Image.fromarray(each.squeeze()).resize(side) for each in digits[: len(pixels)]]
        return np.stack([np.asarray(each.convert("RGB")) for each in shown])
    if kind == "noise":
        return random.integers(0, 256, pixels.shape, dtype=np.uint8)
    return pixels


def trained() -> tuple[AuditableModel, dict[str, np.ndarray]]:
    """Train the model, and return it with the pixels of each role."""
    run = Run(create(**RUN))
    train(run)
    pixels, roles = run.data.dataset.pixels, run.data.split.roles
    of_role = {role: pixels[rows] for role, rows in roles.items()}
    how = preprocessing_of(run.data.dataset)
    made = auditable(run.model, how, of_role["calibration"], of_role["members"])
    return made, of_role


def draws(strangers: Scored, members: Scored, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield what is found in folders of which the truth is known, drawn anew for each seed."""
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        far = random.permutation(strangers.scores)
        near = random.permutation(members.scores)
        reference, others = far[:REFERENCES], far[REFERENCES:]
        alone = conformal.p_values(others[:ASKED], reference)
        row = {"seed": seed, "uniform": stats.ks_2samp(others[:ASKED], reference).pvalue}
        row |= {f"p at most {level}": (alone <= level).mean() for level in LEVELS}
        for count in (10, 50, 150):
            scores = np.r_[near[:count], others[: ASKED - count]]
            found = judge(scores, reference, FDR)
            false, all_ = int(found.accused[count:].sum()), int(found.accused.sum())
            bound = found.statement("false discoveries")
            row |= {
                f"{count} members: accused": all_,
                f"{count} members: wrong share": false / max(1, all_),
                f"{count} members: bound holds": bound is None or false / all_ <= bound.value,
                f"{count} members: headline": found.headline,
            }
        yield row


def kinds(model: AuditableModel, pixels: np.ndarray, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield what is said of strangers of another look, against both kinds of reference."""
    digits = load("mnist", "real").pixels
    # In the dataset's order the first half would be of other classes than the second.
    pixels = pixels[np.random.default_rng(0).permutation(len(pixels))]
    half = len(pixels) // 2
    plain = score_all(model.score, pixels[half:], model.preprocessing)
    for kind in KINDS:
        images = changed(kind, pixels[:half], digits)
        scored = score_all(model.score, images, model.preprocessing)
        own = scored if kind != "as they are" else plain
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(half)
            asked = order[:ASKED]
            others = order[ASKED : ASKED + REFERENCES]
            for name, reference in (("as they are", plain), ("of the same kind", own)):
                row = {"images": kind, "reference": name, "seed": seed}
                yield row | _judged(scored, asked, reference, others)


def _judged(scored: Scored, asked: np.ndarray, reference: Scored, rows: np.ndarray) -> dict:
    found = judge(
        scored.scores[asked],
        reference.scores[rows],
        FDR,
        statistics=scored.statistics[asked],
        of_reference=reference.statistics[rows],
    )
    shares = {f"p at most {level}": (found.p <= level).mean() for level in LEVELS}
    return {**shares, "another kind": not found.fit.holds, "accused": int(found.accused.sum())}


def main(arguments: list[str] | None = None) -> int:
    """Train, ask, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=results_root() / "audit")
    given = parser.parse_args(arguments)
    model, pixels = trained()
    strangers, members = (
        score_all(model.score, pixels[role], model.preprocessing) for role in ("holdout", "members")
    )
    tables = {
        "draws": pd.DataFrame(draws(strangers, members, given.seeds)),
        "kinds": pd.DataFrame(kinds(model, pixels["holdout"], given.seeds)),
    }
    for name, table in tables.items():
        write_text(given.out / f"{name}.csv", table.to_csv(index=False, float_format="%.4g"))
        print(table.describe().T[["mean", "min", "max"]])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

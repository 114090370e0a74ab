"""Do marks show that images were used, and what do they cost? `python -m benchmarks.marks`.

A share of the members belongs to an owner who marks them. A convnet is trained as anybody would,
and asked for losses alone. What is in the file already is not trained again. Needs CIFAR-10.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from amint_core.audit.marks import Marks, mark, trace
from amint_core.data import transforms
from amint_core.data.prepare import Data, prepare
from amint_core.locations import results_root
from amint_core.model.inference import predicted_classes
from amint_core.run.models import build, fit_model
from amint_core.settings import create
from amint_core.training.kinds import PLAIN
from amint_core.training.repeatable import repeatable
from benchmarks.resumed import Rows

RUN = {
    "dataset": "cifar10",
    "model": "convnet",
    "method": "plain",
    "members": 2_000,
    "external": 3_000,  # an epoch has as many steps as a joint training's
    "calibration": 0,
    "holdout": 1_000,
    "cpu_threads": 1,
    "profile": "scratch",
}
#: What whoever trains does with the published images → settings of his training.
TRAINED: dict[str, dict[str, Any]] = {
    "as published": {},
    "flip and shift": {"augment_members": 1.0, "member_transformations": ("flip", "shift")},
    "JPEG": {},  # encoded anew once, before training
}
#: Keys of owners whose marks no model saw, for each model that is asked; and how much they mark.
STRANGERS, IMAGES, VERSIONS = 100, 20, 16
#: What makes a row.
AXES = ("image_size", "epochs", "seed", "trained", "share", "drawn by", "amplitude")


@dataclasses.dataclass(frozen=True)
class Owner:
    """Whoever owns a share of the members, and what he marked them with.

    Attributes:
        rows: (n,) his images among the dataset's.
        originals: (n, H, W, C) uint8.
        labels: (n,) their classes.
        marks: None: he marked nothing.
    """

    rows: np.ndarray
    originals: np.ndarray
    labels: np.ndarray
    marks: Marks | None


def owner_of(data: Data, share: float, drawn_by: str, amplitude: int) -> Owner:
    """Return the owner of a share of the members; of a smaller share, a part of the same images."""
    seed, members = data.settings.seed, data.split.roles["members"]
    mixed = np.random.default_rng([seed, 1]).permutation(members)
    rows = np.sort(mixed[: round(share * len(members))])
    originals, labels = data.dataset.pixels[rows], data.dataset.labels[rows]
    if not len(rows):
        return Owner(rows, originals, labels, None)
    groups = labels if drawn_by == "class" else None
    marks = mark(originals, key_of(f"owner {seed}"), groups=groups, amplitude=amplitude)
    return Owner(rows, originals, labels, marks)


def key_of(whose: str) -> bytes:
    """Return a key that is no secret: results are to come out again."""
    return hashlib.sha256(whose.encode()).digest()


def published(data: Data, owner: Owner, trained: str) -> Data:
    """Return the data with the owner's images as whoever trains has them."""
    pixels = np.array(data.dataset.pixels)
    if owner.marks is not None:
        pixels[owner.rows] = owner.marks.publish(owner.originals)
    if trained == "JPEG":
        rows = data.split.roles["members"]
        random = np.random.default_rng([data.settings.seed, 2])
        images = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2)
        pixels[rows] = transforms.jpeg(images, random).permute(0, 2, 3, 1).numpy()
    return dataclasses.replace(data, dataset=dataclasses.replace(data.dataset, pixels=pixels))


def trained_on(data: Data) -> nn.Module:
    """Return a classifier that was trained on the members."""
    model = build(data)
    given = {"monitor": None, "resume": None, "title": "convnet"}
    fit_model(PLAIN, data, model, data.split.roles["members"], keep=lambda state: None, **given)
    return model.audited


def accuracy(model: nn.Module, data: Data, role: str) -> float:
    """Return the share of a role's images that are classified right."""
    rows = data.split.roles[role]
    given = len(rows), next(model.parameters()).device
    found = predicted_classes(model, lambda some: data.dataset.pixels[rows[some]], *given)
    return float((found == data.dataset.labels[rows]).mean())


def trial(axes: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train one model and ask it; return its row, and those of owners whose marks it never saw."""
    started = time.perf_counter(), time.process_time()
    sizes = {name: axes[name] for name in ("image_size", "epochs", "seed")}
    data = prepare(create(**RUN, **TRAINED[axes["trained"]], **sizes))
    owner = owner_of(data, axes["share"], axes["drawn by"], axes["amplitude"])
    taught = published(data, owner, axes["trained"])
    row = {**axes, "marked": len(owner.rows)}
    with repeatable(data.settings.cpu_threads):
        model = trained_on(taught)
        row["accuracy on members"] = accuracy(model, taught, "members")
        row["accuracy on test"] = accuracy(model, taught, "test")
        if owner.marks is not None:
            row["psnr"] = owner.marks.psnr(owner.originals)
            row["versions"] = owner.marks.versions
            row |= _found(model, owner)
        others = [] if axes["trained"] != "as published" else list(_strangers(model, data, axes))
    row["seconds"] = time.perf_counter() - started[0]
    row["cpu seconds"] = time.process_time() - started[1]
    return row, others


def _found(model: nn.Module, owner: Owner) -> dict[str, Any]:
    """Return p-value and mean rank, of the versions as they are and with their mirror images."""
    found = {}
    for name, mirrored in (("", False), (" with mirror", True)):
        given = owner.marks, owner.originals, owner.labels
        traced = trace(model, *given, mirrored=mirrored)
        found |= {f"p{name}": traced.p, f"mean rank{name}": traced.mean_rank}
    return found


def _strangers(model: nn.Module, data: Data, axes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what owners see whose marks the model never saw: half of them mark its members."""
    if axes["share"] not in (0.0, 0.1):
        return
    for number in range(STRANGERS):
        role = ("members", "holdout")[number % 2]
        random = np.random.default_rng([data.settings.seed, 3, number])
        rows = np.sort(random.permutation(data.split.roles[role])[:IMAGES])
        originals, labels = data.dataset.pixels[rows], data.dataset.labels[rows]
        key = key_of(f"stranger {data.settings.seed} {axes['share']} {number}")
        marks = mark(originals, key, versions=VERSIONS, amplitude=axes["amplitude"])
        found = trace(model, marks, originals, labels)
        yield {**axes, "owner": number, "his images": role, "p": found.p}


def main(arguments: list[str] | None = None) -> int:
    """Train what is missing, ask, and write what was found after each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.marks", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.01, 0.05, 0.1])
    parser.add_argument("--trained", nargs="+", choices=TRAINED, default=["as published"])
    parser.add_argument("--drawn-by", nargs="+", choices=("image", "class"), default=["image"])
    parser.add_argument("--amplitudes", type=int, nargs="+", default=[8], help="levels of 256")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--image-size", type=int, default=32, help="pixels a side")
    parser.add_argument("--out", type=Path, default=results_root() / "audit")
    given = parser.parse_args(arguments)
    sizes = [given.image_size], [given.epochs]
    wanted = product(
        *sizes, given.seeds, given.trained, given.shares, given.drawn_by, given.amplitudes
    )
    torch.set_num_threads(1)
    rows, others = (Rows(given.out / name) for name in ("marks.csv", "marks_strangers.csv"))
    for one in wanted:
        axes = dict(zip(AXES, one, strict=True))
        if rows.has(axes):
            continue
        row, strangers = trial(axes)
        rows.add(row)
        others.add(*strangers)
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

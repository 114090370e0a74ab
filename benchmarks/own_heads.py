"""How wide a head, and how many steps, does a small model of one's own need?

`python -m benchmarks.own_heads`, needs CIFAR-10. PyTorch's tutorial net gets heads by `attach`,
after a plain training, and by `fit`. Its images are others than those on which a test judges the
README's verbs, so that a default may be chosen here. Cut off, it goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

import amint_core as amint
from amint_core.audit.auditable import AuditableModel as Model
from amint_core.data import load
from amint_core.locations import results_root
from amint_core.own.images import Images
from benchmarks.attached import figures
from benchmarks.outsiders import HOW, Tutorial, train
from benchmarks.resumed import Rows

#: So many of CIFAR-10's training images in the order of seed 0, and its test images: the README's
#: verbs are judged on these.
JUDGED = 20_000
SIZES = {"members": 2_000, "external": 3_000, "calibration": 1_000, "holdout": 5_000}
PLAIN_EPOCHS = 20
#: What a row's other columns do not tell.
SETTINGS = {**SIZES, "judged": JUDGED, "plain_epochs": PLAIN_EPOCHS}
#: Of an attached head: width, and passes over 3,000 external images in steps of 512.
ATTACHED = ((16, 10), (32, 10), (16, 60), (32, 60), (64, 60), ("auto", "auto"))
FITTED = ("fit", "auto")


def dealt(seed: int) -> dict[str, Images]:
    """Deal images that are none of those judged."""
    dataset = load("cifar10", progress=False)
    order = np.random.default_rng(0).permutation(np.flatnonzero(~dataset.official_test))
    rows = np.random.default_rng(seed).permutation(order[JUDGED:])[: sum(SIZES.values())]
    return amint.deal(dataset.pixels[rows], dataset.labels[rows], **SIZES, seed=seed)


def attached(roles: dict[str, Images], seed: int, width: int | str, passes: int | str) -> Model:
    """Train plainly, then attach a head."""
    torch.manual_seed(seed)
    net, members = Tutorial(), roles["members"]
    train(net, members.pixels, members.labels, PLAIN_EPOCHS)
    given = {"head_width": width, "seed": seed, "cpu_threads": 1}
    if passes != "auto":
        given["head_epochs"] = passes
    return amint.attach(net, **roles, preprocessing=HOW, **given)


def fitted(roles: dict[str, Images], seed: int, width: int | str) -> Model:
    """Train classifier and head together, with the recipe of the README's verbs."""
    torch.manual_seed(seed)
    return amint.fit(Tutorial(), **roles, head_width=width, seed=seed, cpu_threads=1)


def fitted_then_attached(roles: dict[str, Images], seed: int) -> Model:
    """Train together, then give the classifier another head."""
    net = fitted(roles, seed, "auto").enhanced.audited
    return amint.attach(net, **roles, seed=seed, cpu_threads=1)


def trials(roles: dict[str, Images], seed: int) -> Iterator[tuple[dict, Callable[[], Model]]]:
    """Yield what each head is, and what makes it."""
    for width, passes in ATTACHED:
        key = {"verb": "attach", "head_width": width, "head_epochs": passes}
        yield key, partial(attached, roles, seed, width, passes)
    for width in FITTED:
        key = {"verb": "fit", "head_width": width, "head_epochs": ""}
        yield key, partial(fitted, roles, seed, width)
    key = {"verb": "fit, then attach", "head_width": "auto", "head_epochs": "auto"}
    yield key, partial(fitted_then_attached, roles, seed)


def main(arguments: list[str] | None = None) -> int:
    """Train each head and write what it recognises, a row after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_heads", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--out", type=Path, default=results_root() / "audit")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = Rows(given.out / "own_heads.csv")
    for seed in given.seeds:
        for key, make in trials(dealt(seed), seed):
            if rows.has(key := key | {"seed": seed, "settings": SETTINGS}):
                continue
            model = make()
            found = {"width": model.enhanced.head.width, "epochs": model.card["epochs"]}
            rows.add(key | found | figures(model.card))
    print(rows.table.T)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What does a head recognise that is attached to a model of somebody else's plain training loop?

`python -m benchmarks.attached`, needs CIFAR-10. A ResNet-18 of torchvision and a ViT of timm are
trained in a loop that has nothing of this package in it, with the usual augmentation; then each
gets its head. Cut off, it goes on: a row that is there is not computed again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import amint_core as amint
from amint_core.data import load
from amint_core.locations import results_root
from amint_core.own.images import Images
from benchmarks.outsiders import HOW, MODELS, train
from benchmarks.resumed import Rows

#: At its own 128 a ResNet's head would take most of the time.
HEAD_WIDTHS = {"resnet18": 64}


def sizes_of(members: int) -> dict[str, int]:
    """Return how many images each role gets."""
    sizes = {"members": members, "external": 3 * members // 2}
    return sizes | {"calibration": 1_000, "holdout": 5_000}


def dealt(members: int, seed: int) -> dict[str, Images]:
    """Deal CIFAR-10's training images to the roles."""
    dataset = load("cifar10", progress=False)
    sizes = sizes_of(members)
    random, pool = np.random.default_rng(seed), np.flatnonzero(~dataset.official_test)
    rows = np.sort(random.permutation(pool)[: sum(sizes.values())])
    return amint.deal(dataset.pixels[rows], dataset.labels[rows], **sizes, seed=seed)


def trial(
    name: str, roles: dict[str, Images], epochs: int, seed: int, **settings: Any
) -> dict[str, Any]:
    """Train one model plainly, attach a head, and say what it recognises."""
    torch.manual_seed(seed)
    net, members = MODELS[name](), roles["members"]
    started = time.process_time()
    train(net, members.pixels, members.labels, epochs)
    plain = time.process_time() - started
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    started = time.process_time()
    given = {
        "head_width": HEAD_WIDTHS.get(name, "auto"),
        "seed": seed,
        "cpu_threads": 1,
        **settings,
    }
    model = amint.attach(net, **roles, preprocessing=HOW, **given)
    attached = time.process_time() - started
    same = all(torch.equal(weights[key], value) for key, value in net.state_dict().items())
    return {
        "weights unchanged": same,
        "plain seconds": plain,  # of the one thread, whatever else the machine does
        "attach seconds": attached,
        **figures(model.card),
    }


def figures(card: dict[str, Any]) -> dict[str, float]:
    """Return those figures of a card that a table shows."""
    mint, audited, tpr = card["mint"], card["audited"], card["mint"]["tpr_at_fpr"]
    return {
        "auc": mint["auc"]["value"],
        "tpr at 0.01": tpr["0.01"]["value"],
        "tpr at 0.01 low": tpr["0.01"]["low"],
        "tpr at 0.01 high": tpr["0.01"]["high"],
        "loss auc": card["controls"]["loss"]["value"],
        "blind auc": card["controls"]["blind"]["value"],
        "accuracy": audited["accuracy"]["value"],
        "accuracy on members": audited["accuracy_on_members"]["value"],
        "head share": card["price"]["share"],
    }


def main(arguments: list[str] | None = None) -> int:
    """Train, attach, and write what was found, a row after each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attached", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["vit", "resnet18"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--members", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=10, help="of the plain loop")
    parser.add_argument("--out", type=Path, default=results_root() / "audit")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = Rows(given.out / "attached.csv")
    for seed in given.seeds:
        for name in given.models:
            key = {"model": name, "seed": seed, "members": given.members, "epochs": given.epochs}
            width = HEAD_WIDTHS.get(name, "auto")
            key["settings"] = {**sizes_of(given.members), "head_width": width}
            if not rows.has(key):
                rows.add(key | trial(name, dealt(given.members, seed), given.epochs, seed))
    print(rows.table.T)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What do several heads buy, and what else might buy it? `python -m benchmarks.several_heads`.

Needs CIFAR-10. One ConvNet gets heads in several ways; each head's logits, their mean and the
lowest of them tell members from strangers. `head_count` was chosen on seed 100, by code before
this; the other two seeds chose nothing. Cut off, it goes on: what is trained is in the cache, and a
row that is there is not computed again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import amint_core as amint
from amint_core.evaluation.metrics import told_apart
from amint_core.locations import results_root
from amint_core.model.heads import heads_of
from amint_core.run.trainings import train_model
from amint_core.training.activations import Part, record
from amint_core.training.head_stage import membership
from amint_core.training.kinds import ATTACHED
from amint_core.training.resident import Resident
from benchmarks.resumed import Rows

SETTINGS = {
    **{"dataset": "cifar10", "model": "convnet", "setup": "middle", "near_twins": "together"},
    **{"members": 20_000, "external": 26_000, "calibration": 1_500, "holdout": 2_500},
    **{"recipe": "staged", "method": "attached", "epochs": 6, "learning_rate": 2e-3},
    **{"head_epochs": 6, "head_batch": 256, "head_copies": 1, "cpu_threads": 1},
}
#: Change → its settings.
CHANGES: dict[str, dict[str, Any]] = {
    "four heads": {"head_count": 4},
    "two copies, batch 512": {"head_copies": 2, "head_batch": 512},
    "two copies": {"head_copies": 2},
    "batch 512": {"head_batch": 512},
    "twice the passes": {"head_epochs": 12},
    "four narrow heads": {"head_count": 4, "head_width": 48},
}
#: How the logits of some heads, (H, N), become one.
JOINED: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda logits: logits.mean(0),
    "lowest": lambda logits: logits.amin(0),
}
SEEDS = (100, 101, 102)
#: Of the members so many are judged, against all holdout and calibration images.
MEMBERS = 4_000


def trial(settings: amint.RunConfig, members: int = MEMBERS) -> Iterator[dict[str, Any]]:
    """Train a run's heads, and yield what each, and the first two, three, … of them, tell."""
    run = amint.Run(settings)
    train_model(ATTACHED, run.data, run.model)
    dataset, roles, model = run.data.dataset, run.data.split.roles, run.model
    random = np.random.default_rng(settings.seed)
    inside = random.permutation(roles["members"])[:members]
    asked = np.concatenate([inside, roles["holdout"], roles["calibration"]])
    device = next(model.parameters()).device
    images = Resident.of(dataset.pixels, dataset.labels, device)
    parts = [Part(torch.from_numpy(asked).to(device))]
    given = model.audited, model.taps, images, parts
    recording = record(*given, half=False, low_pass=model.low_pass)
    heads = heads_of(model.head)
    every = torch.arange(len(asked), device=device)
    logits = torch.stack([membership(head, model.taps, recording, every) for head in heads])
    for number, one in enumerate(logits, 1):
        yield {"joined": f"head {number}", "heads": 1} | _figures(one, len(inside))
    for count in range(2, len(heads) + 1):
        for name, join in JOINED.items():
            yield {"joined": name, "heads": count} | _figures(join(logits[:count]), len(inside))


def _figures(logits: Tensor, members: int) -> dict[str, float]:
    scores = logits.cpu().numpy().astype(float)
    found = told_apart(scores[:members], scores[members:], None, ("0.01", "0.001"))
    rates = {f"tpr at {rate}": one["value"] for rate, one in found["tpr_at_fpr"].items()}
    return {"auc": found["auc"]["value"]} | rates


def main(arguments: list[str] | None = None) -> int:
    """Train heads in each way, and write what they tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.several_heads", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=results_root() / "benchmarks")
    given = parser.parse_args(arguments)
    rows = Rows(given.out / "several_heads.csv")
    for seed in given.seeds:
        for change, settings in CHANGES.items():
            key = {"change": change, "seed": seed, "settings": SETTINGS | settings}
            if not rows.has(key):
                own = amint.RunConfig.create(**SETTINGS | settings, seed=seed)
                rows.add(*[key | found for found in trial(own)])
    print(rows.table.to_string())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

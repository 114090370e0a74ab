"""The scores table: one row per image and method, from which every metric is computed.

| column | meaning |
|---|---|
| `image` | hash of the image's content |
| `index` | its place in the dataset's part |
| `role` | members, external, calibration, holdout or test |
| `member` | whether the audited model was trained on it |
| `judged` | whether metrics are computed on it; other members and calibration choose thresholds |
| `label`, `predicted` | its class, and the class the audited model gives it |
| `method` | which test gave the score |
| `score` | membership logit: above 0 says "member" |
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from amint_core.datasets.base import Dataset
from amint_core.datasets.splits import Split
from amint_core.inference import both_outputs
from amint_core.mint import EnhancedAuditedModel


def score_images(
    model: EnhancedAuditedModel,
    dataset: Dataset,
    split: Split,
    method: str,
    device: torch.device,
) -> pd.DataFrame:
    """Score every image of every role; the columns are those of the module's table."""
    tables = []
    for name, role in split.roles.items():
        if not len(role.indices):
            continue
        images = getattr(dataset, role.part)
        logits, membership = both_outputs(model, images, role.indices, device, f"score {name}")
        judged = np.full(len(role.indices), name == split.judged_role)
        table = {
            "image": images.hashes[role.indices].astype(str),
            "index": role.indices,
            "role": name,
            "member": name == "members",
            "judged": split.members_judged if name == "members" else judged,
            "label": images.labels[role.indices],
            "predicted": logits.argmax(1),
            "method": method,
            "score": membership.astype(np.float64),
        }
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)

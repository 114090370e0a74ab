"""The scores table: one row per image and method, from which every metric is computed.

| column | meaning |
|---|---|
| `image` | hash of the image's content |
| `part`, `index` | its place in the dataset |
| `role` | members, external, calibration, holdout or test |
| `member` | whether the audited model was trained on it |
| `judged` | whether metrics are computed on it; other members and calibration choose thresholds |
| `label`, `predicted` | its class, and the class the audited model gives it |
| `method` | which test gave the score |
| `score` | above 0 says "member"; NaN for test images that nobody judges, and for no test at all |
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from amint_core.datasets.base import Dataset
from amint_core.datasets.splits import Split


def images_of(dataset: Dataset, split: Split) -> pd.DataFrame:
    """Return the table's columns that no model is needed for, from `image` to `label`."""
    return pd.concat([_of_role(dataset, split, role) for role in split.roles], ignore_index=True)


def _of_role(dataset: Dataset, split: Split, name: str) -> pd.DataFrame:
    role = split.roles[name]
    images = getattr(dataset, role.part)
    judged = np.full(len(role.indices), name == split.judged_role)
    return pd.DataFrame(
        {
            "image": images.hashes[role.indices].astype(str),
            "part": role.part,
            "index": role.indices,
            "role": name,
            "member": name == "members",
            "judged": split.members_judged if name == "members" else judged,
            "label": images.labels[role.indices],
        }
    )


def pixels_of(dataset: Dataset, images: pd.DataFrame) -> np.ndarray:
    """Return the (N, H, W, C) uint8 pixels of a table's N images, read into memory."""
    pixels = np.empty((len(images), *dataset.pool.pixels.shape[1:]), np.uint8)
    for part in ("pool", "test"):
        of_part = (images["part"] == part).to_numpy()
        index = images["index"].to_numpy()[of_part]
        pixels[of_part] = getattr(dataset, part).pixels[index]
    return pixels

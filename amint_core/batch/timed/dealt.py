"""A dataset dealt to its roles, on the device: shared by all runs of one dataset and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from amint_core.data.base import Dataset
from amint_core.data.split import Split, make_split
from amint_core.data.twins import nearest_member
from amint_core.evaluation.scores import images_of
from amint_core.training.resident import Resident

#: Roles that get a score, in the order of the table.
SCORED = ("members", "calibration", "holdout", "test")
#: Columns of `images_of` that the table leaves out, or keeps in fewer bytes.
_LEFT_OUT = ["image", "member"]
_SMALL = {"role": "category", "index": np.int32, "label": np.int16, "group": np.int32}


@dataclass(frozen=True)
class Dealt:
    """A dataset and who is who in it.

    Attributes:
        dataset: the decoded images.
        split: which image has which role.
        images: the dataset's images, on the device.
        rows: role → (N,) rows of `images`.
        table: one row per scored image, in the order of `SCORED`: `role`, `index`,
            `official_test`, `judged`, `label`, `twin` (see `nearest_member`), and `group` where
            images come in tracks.
    """

    dataset: Dataset
    split: Split
    images: Resident
    rows: dict[str, Tensor]
    table: pd.DataFrame

    @property
    def scored(self) -> Tensor:
        """(N,) rows of the scored images, in the table's order."""
        return torch.cat([self.rows[role] for role in SCORED])


def deal(dataset: Dataset, sizes: Mapping[str, int], seed: int, device: torch.device) -> Dealt:
    """Bring a dataset to the device and deal it, all roles but `test` from the training pool.

    Raises:
        DataError: a role wants more images than there are.
    """
    split = make_split(dataset, "strict", sizes, seed)
    images = Resident.of(dataset.pixels, dataset.labels, device)
    rows = {role: torch.from_numpy(index).to(device) for role, index in split.roles.items()}
    table = images_of(dataset, split).drop(columns=_LEFT_OUT)
    table = table[table["role"] != "external"].reset_index(drop=True)
    others = torch.cat([rows[role] for role in SCORED[1:]])
    twins = nearest_member(images.pixels[rows["members"]], images.pixels[others]).cpu().numpy()
    twins = np.concatenate([np.ones(len(rows["members"]), np.float32), twins]).round(3)
    small = {name: kind for name, kind in _SMALL.items() if name in table}
    return Dealt(dataset, split, images, rows, table.astype(small).assign(twin=twins))

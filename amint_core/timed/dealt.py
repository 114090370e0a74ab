"""A dataset dealt to its roles, on the device: shared by all runs of one dataset and seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from amint_core.datasets.base import Dataset
from amint_core.datasets.splits import ROLES, Split, make_split
from amint_core.evaluation.scores import has_tracks
from amint_core.evaluation.twins import nearest_member
from amint_core.training.resident import Resident

#: Roles that get a score, in the order of the table.
SCORED = ("members", "calibration", "holdout", "test")


@dataclass(frozen=True)
class Dealt:
    """A dataset and who is who in it.

    Attributes:
        dataset: the decoded images.
        split: which image has which role.
        images: the pool's images, then the test part's, on the device.
        rows: role → (N,) rows of `images`.
        table: one row per scored image, in the order of `SCORED`: `role`, `part`, `index`,
            `judged`, `label`, `twin`, and `group` where images come in tracks.
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

    Args:
        dataset: the decoded images.
        sizes: images per role.
        seed: the split follows from it.
        device: where the images go.

    Raises:
        DataError: a role wants more images than there are.
    """
    split = make_split(dataset, "strict", {role: sizes[role] for role in ROLES}, seed)
    pool, test = dataset.pool, dataset.test
    images = Resident.of(
        np.concatenate([pool.pixels, test.pixels]),
        np.concatenate([pool.labels, test.labels]),
        device,
    )
    first = {"pool": 0, "test": len(pool)}
    rows = {
        name: torch.from_numpy(role.indices + first[role.part]).to(device)
        for name, role in split.roles.items()
    }
    return Dealt(dataset, split, images, rows, _table(dataset, split, images, rows))


def _table(
    dataset: Dataset, split: Split, images: Resident, rows: Mapping[str, Tensor]
) -> pd.DataFrame:
    others = torch.cat([rows[role] for role in SCORED[1:]])
    twins = nearest_member(images.pixels[rows["members"]], images.pixels[others]).cpu().numpy()
    twins = np.concatenate([np.ones(len(rows["members"]), np.float32), twins])
    parts = [_of_role(dataset, split, role) for role in SCORED]
    return pd.concat(parts, ignore_index=True).assign(twin=twins.round(3))


def _of_role(dataset: Dataset, split: Split, name: str) -> pd.DataFrame:
    role = split.roles[name]
    images = getattr(dataset, role.part)
    judged = split.members_judged if name == "members" else np.full(len(role), name == "holdout")
    table = pd.DataFrame(
        {
            "role": name,
            "part": role.part,
            "index": role.indices.astype(np.int32),
            "judged": judged,
            "label": images.labels[role.indices].astype(np.int16),
        }
    )
    if has_tracks(dataset):
        table["group"] = images.groups[role.indices].astype(np.int32)
    return table

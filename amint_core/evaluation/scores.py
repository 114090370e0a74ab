"""The scores table: one row per image and method, from which every metric is computed.

| column | meaning |
|---|---|
| `image` | hash of the image's content |
| `index` | its place in the dataset |
| `official_test` | whether it is of the dataset's official test set, or else of the pool |
| `role` | members, external, calibration, holdout or test |
| `member` | whether the audited model was trained on it |
| `judged` | whether metrics are computed on it; other members and calibration choose thresholds |
| `group` | the track it is a frame of; only where images come in tracks |
| `label`, `predicted` | its class, and the class the audited model gives it |
| `method` | which test gave the score |
| `score` | higher for members; NaN for test images that nobody judges, and for no test at all |
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from amint_core.data.base import Dataset
from amint_core.data.split import Split
from amint_core.evaluation.clusters import Groups, are_clustered

#: Beside a run's metrics: the rows of its scores that they follow from, small enough to be kept.
JUDGED_FILE = "judged.parquet"


def images_of(dataset: Dataset, split: Split) -> pd.DataFrame:
    """Return the table's columns that no model is needed for, from `image` to `label`."""
    return pd.concat([_of_role(dataset, split, role) for role in split.roles], ignore_index=True)


def _of_role(dataset: Dataset, split: Split, role: str) -> pd.DataFrame:
    index = split.roles[role]
    table = pd.DataFrame(
        {
            "image": dataset.hashes[index].astype(str),
            "index": index,
            "official_test": dataset.official_test[index],
            "role": role,
            "member": role == "members",
            "judged": split.members_judged if role == "members" else role == split.judged_role,
            "label": dataset.labels[index],
        }
    )
    return table.assign(group=dataset.groups[index]) if has_tracks(dataset) else table


def has_tracks(dataset: Dataset) -> bool:
    """Tell whether images of the pool come in tracks, frames of which are alike."""
    return are_clustered(dataset.groups[~dataset.official_test])


def tracks_of(dataset: Dataset, index: np.ndarray) -> np.ndarray:
    """Return (n,) numbers that frames of one track share; without tracks, each image has its own.

    Args:
        dataset: where the images are from.
        index: (n,) indices into it.
    """
    tracks = pd.DataFrame({"test": dataset.official_test[index], "group": dataset.groups[index]})
    return tracks.groupby(["test", "group"]).ngroup().to_numpy()


def groups_of(scores: pd.DataFrame) -> Groups | None:
    """Return the groups of the members and of the non-members in a table; None without tracks."""
    if "group" not in scores:
        return None
    group, member = scores["group"].to_numpy(), scores["member"].to_numpy(bool)
    return group[member], group[~member]


def pixels_of(dataset: Dataset, images: pd.DataFrame) -> np.ndarray:
    """Return the (N, H, W, C) uint8 pixels of a table's N images, read into memory."""
    return np.asarray(dataset.pixels[images["index"].to_numpy()])


def counted(scores: pd.DataFrame, audited_role: str) -> pd.DataFrame:
    """Return the rows that count for a metric, small: judged ones and those of `audited_role`.

    Scores are float32 where that loses nothing, else float64; `image` is left out, as the index in
    the dataset says the same.
    """
    rows = scores[scores["judged"] | (scores["role"] == audited_role)]
    rows = rows.drop(columns="image").sort_values(["method", "role", "index"], ignore_index=True)
    small = rows["score"].astype(np.float32)
    kinds = dict.fromkeys(("role", "method"), "category")
    kinds |= {name: np.int32 for name in ("index", "label", "predicted", "group") if name in rows}
    same = (small == rows["score"]) | rows["score"].isna()
    return rows.astype(kinds).assign(score=small if same.all() else rows["score"])


def write_counted(scores: pd.DataFrame, audited_role: str, target: Path) -> None:
    """Write `counted` rows to `target`, a Parquet file."""
    table = counted(scores, audited_role)
    table.to_parquet(target, index=False, compression="zstd", compression_level=19)

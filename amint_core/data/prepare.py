"""A run's data: its images, and who is who among them."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch

from amint_core.config import RunConfig
from amint_core.data import load
from amint_core.data.base import Dataset
from amint_core.data.split import ROLES, Split, make_split
from amint_core.data.twins import with_twins_together


@dataclass(frozen=True)
class Data:
    """A dataset and who is who in it.

    Attributes:
        settings: the run's settings.
        dataset: the decoded images.
        split: which image has which role.
    """

    settings: RunConfig
    dataset: Dataset
    split: Split

    @property
    def example(self) -> torch.Tensor:
        """Two blank images, (2, C, H, W), for looking at a model's shapes."""
        side = self.dataset.image_size
        return torch.zeros(2, self.dataset.channels, side, side)

    def table(self) -> pd.DataFrame:
        """Count the images of each role, and say what it is for."""
        purpose = {
            "members": "D, the training set: to be recognised",
            "external": "E, non-members the MINT head learns from",
            "calibration": "non-members that choose thresholds",
            "holdout": "non-members that are judged",
            "test": "labelled, for audited accuracy",
        }
        if self.split.judged_role == "test":
            purpose["test"] += "; also judged as non-members"
        counts = {name: len(index) for name, index in self.split.roles.items()}
        return pd.DataFrame(
            [(name, count, purpose[name]) for name, count in counts.items() if count],
            columns=["role", "images", "purpose"],
        )


def prepare(settings: RunConfig) -> Data:
    """Load the run's dataset and split it into roles.

    Raises:
        DataError: the files are missing or damaged, or have too few images for the sizes.
    """
    dataset = load(settings.dataset, settings.data, settings.image_size)
    dataset = in_groups(dataset, settings)
    sizes = {role: getattr(settings, role) for role in ROLES}
    # Defect 9: the published notebooks take no notice of GTSRB's tracks.
    tracks = settings.has("tracks_ignored")
    split = make_split(dataset, settings.protocol, sizes, settings.seed, ignore_tracks=tracks)
    return Data(settings, dataset, split)


def in_groups(dataset: Dataset, settings: RunConfig) -> Dataset:
    """Return the dataset with those images in one group that the run deals together."""
    return with_twins_together(dataset) if settings.near_twins == "together" else dataset

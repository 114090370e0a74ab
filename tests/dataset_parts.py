"""The two parts of a dataset, for tests that look at one of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np


def pool_of(dataset) -> SimpleNamespace:
    """Return pixels, labels, groups and hashes of the pool."""
    return _part(dataset, ~dataset.official_test)


def official_test_of(dataset) -> SimpleNamespace:
    """Return the same of the official test set."""
    return _part(dataset, dataset.official_test)


def _part(dataset, chosen: np.ndarray) -> SimpleNamespace:
    kinds = ("pixels", "labels", "groups", "hashes")
    return SimpleNamespace(**{kind: getattr(dataset, kind)[chosen] for kind in kinds})

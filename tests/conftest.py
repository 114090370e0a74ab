"""Fixtures that every test shares: private folders for caches and results, fixed seeds."""

from __future__ import annotations

import os
import random
from pathlib import Path

import fuzzing
import numpy as np
import pytest

fuzzing.load_profile()


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    """Keep caches and results of a test out of the project; real data stays where it is."""
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "results"))


@pytest.fixture(autouse=True)
def fixed_seeds():
    """Start every test from the same random state, PyTorch's included."""
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def tables_alone(monkeypatch):
    """Write reports without figures, which take most of their time, where tables are looked at."""
    from amint_core import report

    monkeypatch.setattr(report, "FIGURES", {})


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    """One cache for the whole session, so that real images are decoded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def real_data(shared_cache, monkeypatch) -> Path:
    """The folder of real datasets; skips where there is none."""
    root = os.environ.get("AMINT_DATA")
    if not root:
        pytest.skip("AMINT_DATA is not set: tests on real images need a folder of datasets.")
    if not Path(root).is_dir():
        pytest.fail(f"AMINT_DATA names {root}, which is not a folder.")
    monkeypatch.setenv("AMINT_CACHE", str(shared_cache))
    return Path(root)

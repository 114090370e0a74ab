"""The same figures under pytest-benchmark: `make bench`."""

from __future__ import annotations

import pytest
import torch

from amint_core.locations import results_root
from benchmarks.figures import add, figures, no_results
from benchmarks.loading import BenchmarkError, announce
from benchmarks.tables import write_all

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(scope="session")
def results(pytestconfig):
    """All figures so far."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():
            announce()
    except BenchmarkError as error:
        pytest.exit(str(error), returncode=2)
    return no_results(DEVICE)


@pytest.mark.parametrize("figure", figures(DEVICE), ids=lambda figure: figure.name)
def test_figure(figure, benchmark, results):
    """Measure one figure; what pytest-benchmark shows are the seconds of our side's turns."""

    def harness(target, setup, rounds):
        benchmark.pedantic(target, setup=setup, rounds=rounds)

    add(results, figure, figure.measure(harness=harness))
    # After each figure: what is measured stays, whatever becomes of the rest.
    write_all(results, results_root() / "benchmarks", DEVICE)

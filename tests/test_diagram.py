"""The diagram of a model and its taps."""

import pandas as pd
import pytest
from read_back import texts

from amint_core import report
from amint_core.errors import ModelError
from amint_core.report import run_title

TITLE = run_title("CIFAR-10 [STAND-IN]", "mobilenet", "middle")
STAGES = [
    {"layer": "stem", "output": "8×32×32", "parameters": 100, "tap": False, "shared": True},
    {"layer": "norm", "output": "8×32×32", "parameters": 16, "tap": False, "shared": True},
    {"layer": "low", "output": "16×16×16", "parameters": 1000, "tap": True, "shared": True},
    {"layer": "high", "output": "16×16×16", "parameters": 1000, "tap": True, "shared": True},
    {"layer": "classifier", "output": "10", "parameters": 170, "tap": False, "shared": False},
]


@pytest.mark.parametrize("form", [list, pd.DataFrame])
def test_tap_diagram_names_stages_and_folds_those_of_one_shape(form):
    text = texts(report.tap_diagram(form(STAGES), TITLE))
    for name in ("stem\nto norm", "low", "high", "classifier", "16×16×16", "MINT head", TITLE):
        assert name in text
    assert text.count("tap\n") == 2


def test_tap_diagram_without_taps_is_refused():
    with pytest.raises(ModelError, match="no stage as a tap"):
        report.tap_diagram([stage | {"tap": False} for stage in STAGES], TITLE)

"""Transformed images: their table and figure by recipe and views, over seeds."""

import numpy as np
import pytest
from made_runs import made_metrics, put, seal_files, transformed
from read_back import profile, table, text_of, texts

from amint_core.errors import ResultsError
from amint_core.files import write_json
from amint_core.locations import results_root
from amint_core.report import render
from amint_core.report.figures import FIGURES
from amint_core.report.read import read_runs
from amint_core.report.tables import transformations


@pytest.fixture
def results():
    return results_root()


def test_transformations_by_recipe_and_views_over_seeds(results):
    put(results, made_metrics(method="passive"))
    for seed, value in ((0, 0.90), (1, 0.94)):
        put(results, transformed(("jpeg", "flip"), value, seed))
    put(results, transformed(("flip",), 0.80, recipe="published"))
    put(results, transformed(("flip",), 0.85, views="flips"))
    rows = table(transformations)
    own = rows.query("recipe == 'fixed' and views == 'one'").set_index("transformation")
    assert list(own.index) == ["exact", "flip", "jpeg"]  # exact first, then in one order
    assert own.loc["exact", "auc"] == pytest.approx(0.92)
    assert own.loc["flip", "auc"] == pytest.approx(0.72)
    assert own.loc["jpeg", "auc_sd"] == pytest.approx(np.std([0.80, 0.84], ddof=1))
    assert (own["seeds"] == 2).all()
    text = text_of(transformations)
    assert text.count("[STAND-IN]") == 4
    assert render.SEEDS in text
    first = text.split("AUC: ")[1].split("Calibrated")[0]
    (line,) = (line for line in first.splitlines() if "published" in line)
    assert ".800" in line
    assert "–" in line  # JPEG was not measured there
    assert "fixed, views: flips" in text
    drawn = texts(FIGURES["transformations"].draw(profile()))
    for label in ("published", "jpeg", ".92", "[STAND-IN]"):
        assert label in drawn


def test_a_damaged_transformation_is_refused_by_name(results):
    metrics = transformed(("flip",), 0.9)
    folder = put(results, metrics)
    metrics["transformations"]["flip"]["auc"]["value"] = "high"
    write_json(folder / "metrics.json", metrics)
    seal_files(folder)
    with pytest.raises(ResultsError, match=r"transformations\.flip\.auc\.value = 'high'"):
        read_runs("quick")

"""What docs/marks.md says of real images follows from results/audit, and its code runs."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from said_of_marks import LINES, PREDICTED_P, judged, table
from scipy import stats
from torch import nn

from amint_core.locations import project_root
from benchmarks import marks as benchmark

PAGE = (project_root() / "docs" / "marks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("lines", LINES)
def test_every_measured_line_stands_in_the_page(lines) -> None:
    for line in lines():
        assert line in PAGE


def test_a_tenth_marked_is_found_in_every_model() -> None:
    rows = judged()
    assert (rows.loc[rows["share"] == 0.1, "p"] < PREDICTED_P).all()


def test_no_owner_is_misled_by_a_model_that_never_saw_his_marks() -> None:
    rows = table("marks_strangers")
    assert set(rows["share"]) == {0.0, 0.1}
    assert set(rows["his images"]) == {"members", "holdout"}
    # One-sided: p takes steps, which are rounded up.
    assert stats.kstest(rows["p"], "uniform", alternative="greater").pvalue > 0.01
    for level in (0.01, 0.05):
        spread = 3 * np.sqrt(level * (1 - level) / len(rows))
        assert (rows["p"] <= level).mean() <= level + spread


def test_the_code_of_the_page_marks_and_asks(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    published, deposited = [], []
    names = {"images": images, "labels": np.arange(6) % 3, "deposit": deposited.append}
    names["lot"] = "numbers of a lottery"
    names |= {"publish": published.append, "model": nn.Sequential(nn.Flatten(), nn.Linear(192, 3))}
    exec(re.search(r"```python\n(.*?)```", PAGE, re.S).group(1), names)
    assert 0 < names["found"].p <= 1
    assert np.abs(published[0].astype(int) - images).max() == 8
    assert re.fullmatch(r"[0-9a-f]{64}", deposited[0])


def test_the_benchmark_trains_what_is_missing_and_nothing_twice(tmp_path, monkeypatch) -> None:
    sizes = {"members": 40, "external": 60, "holdout": 20, "test": 20, "data": "standin"}
    monkeypatch.setattr(benchmark, "RUN", {**benchmark.RUN, **sizes})
    for name, number in {"STRANGERS": 2, "IMAGES": 2, "VERSIONS": 2}.items():
        monkeypatch.setattr(benchmark, name, number)
    small = ["--epochs", "1", "--image-size", "8", "--seeds", "0", "--out", str(tmp_path)]
    assert benchmark.main([*small, "--shares", "0", "0.1"]) == 0
    before = pd.read_csv(tmp_path / "marks.csv")
    assert before["marked"].tolist() == [0, 4]
    assert before["p"].isna().tolist() == [True, False]
    assert len(pd.read_csv(tmp_path / "marks_strangers.csv")) == 4
    more = ["--shares", "0.1", "--trained", "as published", "JPEG", "flip and shift"]
    assert benchmark.main([*small, *more]) == 0
    after = pd.read_csv(tmp_path / "marks.csv")
    pd.testing.assert_frame_equal(after[:2], before)
    assert len(after) == 4
    assert len(pd.read_csv(tmp_path / "marks_strangers.csv")) == 4

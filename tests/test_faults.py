"""The count of faults counts honestly."""

import json
import random
import time

import pandas as pd
import pytest

from amint_core.files import UNFINISHED
from amint_core.store import files_to_hash, hashes, write_sealed
from benchmarks import faults

NUMBERS = {"auc": 0.5, "training": {"seconds": 0}}


class Made(faults.Place):
    """A place whose run writes what a test says."""

    def __init__(self, folder, writes=NUMBERS, status=0, says=""):
        super().__init__(folder)
        self.writes, self.status, self.says = writes, status, says

    def start(self, more="", limit=None):
        run = self.folder / "results" / "quick" / "runs" / "one"
        run.mkdir(parents=True, exist_ok=True)
        for name in ("scores.parquet", "history.csv", "model.safetensors", "config.json"):
            (run / name).write_text("content")
        (run / "metrics.json").write_text(json.dumps(self.writes))
        write_sealed(run / "manifest.json", {"files": hashes(files_to_hash(run))})
        return 0

    def end(self, child, seconds=1):
        return self.status


@pytest.mark.parametrize(
    ("made", "status", "outcome"),
    [
        ({}, 0, "survived"),
        ({"writes": {"auc": 0.5, "training": {"seconds": 3.25}}}, 2, "survived"),
        ({"writes": {"auc": 0.6, "training": {"seconds": 0}}}, 0, "wrong"),
        ({"status": 2}, 0, "lost"),
        ({"says": "Traceback (most recent call last)"}, 2, "foreign"),
        ({}, 1, "foreign"),
        ({}, -6, "foreign"),
        ({}, -9, "survived"),
    ],
)
def test_an_outcome_is_called_what_it_is(tmp_path, made, status, outcome):
    place = Made(tmp_path / "place", **made)
    place.log.write_text(place.says)
    assert place.outcome(NUMBERS, status) == outcome


def test_what_stays_is_seen(tmp_path):
    place = Made(tmp_path / "place")
    (place.folder / f"{UNFINISHED}abc").mkdir()
    assert place.outcome(NUMBERS, 0) == "left"


def test_every_damage_changes_content():
    content, draw = bytes(range(1, 200)), random.Random(0)
    for damage in faults.DAMAGES.values():
        assert all(damage(content, draw) != content for _ in range(50))


def test_outcomes_are_counted_by_kind():
    kinds = ["kill -9", "kill -9", "full disk", "Ctrl-C"]
    outcomes = ["survived", "wrong", "not tried", "survived"]
    table = faults.counted(pd.DataFrame({"kind": kinds, "outcome": outcomes})).set_index("kind")
    assert list(table.index) == ["kill -9", "Ctrl-C", "full disk", "all"]
    assert table.loc["all"].to_dict() == {
        **{"trials": 4, "survived": 2, "lost": 0, "wrong": 1, "foreign": 0, "left": 0},
        "not tried": 1,
    }


def test_trials_go_in_rounds_until_the_time_is_over(monkeypatch):
    def trial(place, draw, known):
        time.sleep(0.01)
        return "survived", "made up"

    monkeypatch.setattr(faults, "Known", lambda folder: None)
    monkeypatch.setattr(faults, "KINDS", {"one": (trial, 2), "other": (trial, 1)})
    rows = faults.trials(0.005)
    assert set(rows["kind"]) == {"one", "other"}
    assert set(rows["outcome"]) == {"survived"}

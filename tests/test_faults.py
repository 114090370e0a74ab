"""The count of faults counts honestly."""

import json
import os
import random
import signal
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
from tqdm.auto import tqdm

from amint_core.files import UNFINISHED
from amint_core.locations import project_root
from amint_core.store import files_to_hash, hashes, write_sealed
from benchmarks.faults import damage, trial
from benchmarks.faults.__main__ import planned
from benchmarks.faults.known import Job, at_write, write_digits
from benchmarks.faults.place import Place
from benchmarks.faults.table import by_job, counted
from benchmarks.faults.trial import OUTCOMES, Bench, Trial

NUMBERS = {"auc": 0.5, "training": {"seconds": 0}}


class Made(Place):
    """A place whose run writes what a test says."""

    def __init__(self, folder, writes=NUMBERS, status=0, says="", leaves=None, stays=()):
        super().__init__(folder, folder)
        self.writes, self.status, self.says, self.stays = writes, status, says, list(stays)
        self.leaves = leaves

    def do(self, command, before=None):
        run = self.folder / "results" / "quick" / "runs" / "one"
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.json").write_text("{}")
        (run / "metrics.json").write_text(json.dumps(self.writes))
        write_sealed(run / "manifest.json", {"files": hashes(files_to_hash(run))})
        if self.leaves:
            (run / self.leaves).write_text("half")
        return self.status

    def orphans(self, seconds=0):
        return self.stays


@pytest.fixture
def job(tmp_path):
    whole = Made(tmp_path / "whole")
    whole.do(())
    return Job("one", (), None, whole, 1.0, 0, whole.names(), whole.content())


@pytest.mark.parametrize(
    ("made", "status", "outcome"),
    [
        ({}, 0, "survived"),
        ({"writes": {"auc": 0.5, "training": {"seconds": 3.25}}}, 2, "survived"),
        ({"writes": {"auc": 0.6, "training": {"seconds": 0}}}, 0, "wrong"),
        ({"status": 2}, 0, "lost"),
        ({"says": "Traceback (most recent call last)"}, 2, "foreign"),
        ({}, 1, "foreign"),
        ({}, -signal.SIGABRT, "foreign"),
        ({}, -signal.SIGKILL, "survived"),
        ({"stays": ["4711 S"]}, 0, "orphan"),
        ({"leaves": f"{UNFINISHED}abc"}, 0, "leftover"),
        ({"leaves": "checkpoint.pt"}, 0, "leftover"),
        ({"leaves": "model.damaged-1"}, 0, "survived"),
    ],
)
def test_an_outcome_is_called_what_it_is(tmp_path, job, made, status, outcome):
    place = Made(tmp_path / "place", **made)
    place.log.write_text(place.says)
    assert trial.outcome(Bench(None, place, random.Random(0)), job, [status]) == outcome


def test_a_missing_file_is_lost(tmp_path, job):
    place = Made(tmp_path / "place")
    job.names.add("results/quick/runs/one/scores.parquet")
    assert trial.outcome(Bench(None, place, random.Random(0)), job, [0]) == "lost"


def test_a_file_that_is_not_its_manifests_is_lost(tmp_path, job):
    place = Made(tmp_path / "place")
    shown = place.do

    def do(command, before=None):
        shown(command)
        (place.folder / "results/quick/runs/one/config.json").write_text("{ }")
        return 0

    place.do = do
    assert trial.outcome(Bench(None, place, random.Random(0)), job, [0]) == "lost"


def test_every_damage_changes_content():
    content, draw = bytes(range(1, 200)), random.Random(0)
    for change in damage.DAMAGES.values():
        assert all(change(content, draw) != content for _ in range(50))


def test_another_schema_has_the_right_hashes(tmp_path):
    write_sealed(tmp_path / "metrics.json", {"mint": 1, "audited": 2})
    write_sealed(tmp_path / "manifest.json", {"files": hashes([tmp_path / "metrics.json"])})
    damage.SCHEMAS[".json"](tmp_path / "metrics.json", random.Random(0))
    damage.answer_for(tmp_path / "metrics.json")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["files"] == hashes([tmp_path / "metrics.json"])
    assert len(json.loads((tmp_path / "metrics.json").read_text())) == 2  # one part, and the seal


def test_something_happens_at_a_write_of_this_process_under_a_folder(tmp_path):
    seen = []
    at_write(tmp_path, 2, lambda: seen.append((tmp_path / "a").exists()))
    (tmp_path / "a").write_text("1")
    assert seen == []
    (tmp_path / "a").read_text()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    assert seen == [True]


def test_a_command_is_heard_though_the_count_itself_writes_into_a_file(tmp_path):
    code = f"""
from pathlib import Path
from benchmarks.faults.place import Place
print("before", flush=True)
place = Place(Path({str(tmp_path / "place")!r}), Path({str(tmp_path)!r}))
print(place.do(("list",)), "mobilenet" in place.said())
"""
    with open(tmp_path / "out", "w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True, cwd=project_root())
    assert (tmp_path / "out").read_text().split() == ["before", "0", "True"]


def test_no_command_waits_for_the_progress_bar_of_one_that_was_killed(tmp_path):
    def killed():
        tqdm.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    place = Place(tmp_path / "place", tmp_path)
    tqdm(range(1), disable=False).close()  # there is a lock, which is shared
    assert place.do(("list",), before=killed) == -signal.SIGKILL
    child = place.start(("list",), before=lambda: list(tqdm(range(2))))
    assert place.end(child, seconds=60) == 0


def test_made_up_digits_are_mnist(tmp_path):
    from amint_core import data

    write_digits(tmp_path / "MNIST" / "raw")
    found = data.load("mnist", image_size=8, root=tmp_path, progress=False)
    assert len(found) == 400
    assert len(set(found.hashes)) == 400


def test_outcomes_are_counted_by_kind():
    kinds = ["kill -9", "kill -9", "full disk", "Ctrl-C"]
    outcomes = ["survived", "wrong", "leftover", "survived"]
    rows = pd.DataFrame({"kind": kinds, "outcome": outcomes, "kills": [3, 1, 0, 0], "job": "run"})
    table = counted(rows).set_index("kind")
    assert list(table.index) == ["kill -9", "full disk", "Ctrl-C", "all"]
    expected = {"trials": 4, "kills": 4, "survived": 2, "lost": 0, "wrong": 1, "foreign": 0}
    assert table.loc["all"].to_dict() == expected | {"orphan": 0, "leftover": 1}
    assert by_job(rows).to_dict("records") == [
        {"job": "run", "trials": 4, "kills": 4, "survived": 2}
    ]


def test_a_time_limit_cuts_all_kinds_alike(monkeypatch):
    made = {"one": 20, "other": 10}
    part = SimpleNamespace(
        trials=lambda known: [Trial(k, "run", None) for k, n in made.items() for _ in range(n)]
    )
    monkeypatch.setattr("benchmarks.faults.__main__.PARTS", ((part, 1),))
    first = [one.kind for one in planned(None, seed=0)][:15]
    assert first.count("one") == pytest.approx(10, abs=2)


def test_a_part_that_ends_at_half_has_twice_the_share(monkeypatch):
    parts = [
        (SimpleNamespace(trials=lambda known, kind=kind: [Trial(kind, "", None)] * 40), last)
        for kind, last in (("soon", 0.5), ("late", 1))
    ]
    monkeypatch.setattr("benchmarks.faults.__main__.PARTS", parts)
    order = [one.kind for one in planned(None, seed=0)]
    assert len(order) == 80
    assert order[:30].count("soon") == pytest.approx(20, abs=2)


def test_the_committed_count_is_what_is_promised():
    table = pd.read_csv(project_root() / "results" / "faults" / "faults.csv").set_index("kind")
    everything = table.loc["all"]
    assert everything["kills"] >= 200
    assert everything["survived"] == everything["trials"] == table["trials"].iloc[:-1].sum()
    assert not table[list(OUTCOMES[1:])].to_numpy().any()

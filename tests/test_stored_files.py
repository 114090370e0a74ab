"""Whatever is stored has the hash of its content, and damage is found when it is read."""

import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import seal_files
from short_training import settings, stored, train
from small_run import SMALL

from amint_core import store
from amint_core.errors import DamagedError, ResultsError
from amint_core.files import write_json
from amint_core.locations import project_root
from amint_core.run import shadows, steps
from amint_core.settings import create


def flipped(content):
    """Change one bit in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def zeroed(content):
    """Zero a range that was not zero."""
    start = next(place for place in range(len(content) // 3, len(content)) if content[place])
    return content[:start] + bytes(16) + content[start + 16 :]


DAMAGES = {
    "flipped": flipped,
    "zeroed": zeroed,
    "truncated": lambda content: content[: len(content) * 2 // 3],
    "emptied": lambda content: b"",
}


@pytest.fixture(params=DAMAGES.values(), ids=DAMAGES)
def damage(request):
    """Damage a file in one of the ways; return what it then holds."""

    def change(file: Path) -> bytes:
        content = request.param(file.read_bytes())
        assert content != file.read_bytes()
        file.write_bytes(content)
        return content

    return change


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A finished run with shadow models and transformations, to be copied from."""
    places = {name: tmp_path_factory.mktemp(name) for name in ("AMINT_CACHE", "AMINT_RESULTS")}
    with pytest.MonkeyPatch.context() as patch:
        for name, place in places.items():
            patch.setenv(name, str(place))
        chosen = {**SMALL, "method": "lira_online", "shadows": 4, "transformations": ("flip",)}
        steps.run_all(create(**chosen))
    return places


@pytest.fixture
def run(whole_run, tmp_path, monkeypatch):
    """A copy of the finished run's folder and cache."""
    import shutil

    for name, place in whole_run.items():
        shutil.copytree(place, tmp_path / name, ignore=shutil.ignore_patterns(".lock"))
        monkeypatch.setenv(name, str(tmp_path / name))
    (folder,) = (tmp_path / "AMINT_RESULTS").glob("*/runs/*")
    return folder


FILES = (
    *("metrics.json", "config.json", "history.csv", "scores.parquet", "transformed.parquet"),
    *("model.safetensors", "manifest.json"),
)


@pytest.mark.parametrize("name", FILES)
def test_damage_in_a_run_is_found_when_it_is_read(run, name, damage):
    for file in FILES[:-1]:
        assert store.run_file(run / file) == run / file
    damage(run / name)
    asked = "metrics.json" if name == "manifest.json" else name
    with pytest.raises(DamagedError, match=rf"{name} is .*run it again"):
        store.run_file(run / asked)


@pytest.mark.parametrize("name", ["model.safetensors", "history.csv", "logits-*.npy"])
def test_damage_in_a_training_is_said_and_the_file_made_again(run, name, damage, capsys):
    files = sorted((run.parents[3] / "AMINT_CACHE" / "trainings").glob(f"*/{name}"))
    before = [file.read_bytes() for file in files]
    aside = damage(files[-1])
    capsys.readouterr()
    chosen = {**SMALL, "method": "lira_online", "shadows": 4, "transformations": ("flip",)}
    steps.run_all(create(**chosen))
    said = capsys.readouterr().out
    assert f"{files[-1].name} is damaged" in said
    assert files[-1].with_name(f"{files[-1].name}.damaged-1").read_bytes() == aside
    if name != "history.csv":  # which has seconds in it
        assert [file.read_bytes() for file in files] == before


def test_damage_in_a_checkpoint_is_said_and_training_starts_over(damage, capsys):
    _, run = train(settings(epochs=1))
    training = stored(run)
    from amint_core.training.loop import State

    training.keep(State(epoch=1, model=run.model.state_dict()))
    assert training.state().epoch == 1
    damage(training.checkpoint)
    assert training.state() is None
    assert "checkpoint.pt is damaged" in capsys.readouterr().out
    assert not training.checkpoint.exists()


def test_the_hash_of_the_file_before_stays_until_the_new_one_is_there(tmp_path):
    """Killed between the two renames, the old file is still whole."""
    file = tmp_path / "checkpoint.pt"
    script = (
        "import os, pathlib, signal, sys\n"
        "from amint_core import store\n"
        "file = pathlib.Path(sys.argv[1])\n"
        "with store.stored(file) as temporary: temporary.write_text('first')\n"
        "replace = os.replace\n"
        "def killed(source, target):\n"
        "    if pathlib.Path(target) == file: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(source, target)\n"
        "os.replace = killed\n"
        "with store.stored(file) as temporary: temporary.write_text('second')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(file)], cwd=project_root())
    assert done.returncode == -signal.SIGKILL
    assert store.read(file, Path.read_text) == "first"
    with store.stored(file) as temporary:
        temporary.write_text("second")
    assert store.read(file, Path.read_text) == "second"


def test_a_file_without_its_hash_is_not_trusted(tmp_path):
    file = tmp_path / "logits.npy"
    np.save(file, np.zeros(3))
    with pytest.raises(DamagedError, match="Delete it to make it again"):
        store.read(file, np.load)
    with pytest.raises(ResultsError, match=r"none\.npy is missing"):
        store.read(tmp_path / "none.npy", np.load)
    assert store.read_or_set_aside(tmp_path / "none.npy", np.load) is None


def test_damaged_files_of_one_name_are_all_kept(tmp_path):
    for _ in range(2):
        (tmp_path / "a.npy").write_bytes(b"half")
        assert store.read_or_set_aside(tmp_path / "a.npy", np.load) is None
    assert {path.name for path in tmp_path.iterdir()} == {"a.npy.damaged-1", "a.npy.damaged-2"}


def test_a_hash_is_as_sha256sum_reads_it(tmp_path):
    with store.stored(tmp_path / "a.txt") as temporary:
        temporary.write_text("content")
    check = ["sha256sum", "--check", "a.txt.sha256"]
    assert subprocess.run(check, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0


def test_sealed_json_is_read_back_and_an_edit_is_found(tmp_path, damage):
    file = tmp_path / "description.json"
    store.write_sealed(file, {"λ": 1.5, "parts": {"pool": [3, 2]}})
    assert store.read_sealed(file) == {"λ": 1.5, "parts": {"pool": [3, 2]}}
    damage(file)
    with pytest.raises(DamagedError, match=r"description\.json is damaged"):
        store.read_sealed(file)


def test_changed_files_of_a_folder_are_named(tmp_path, damage):
    for name in ("a.npy", "b.npy", "c.npy"):
        np.save(tmp_path / name, np.arange(9))
    recorded = store.hashes(tmp_path.glob("*.npy"))
    assert store.changed(tmp_path, recorded) == []
    damage(tmp_path / "b.npy")
    (tmp_path / "c.npy").unlink()
    assert sorted(store.changed(tmp_path, recorded)) == ["b.npy", "c.npy"]


def test_a_run_without_its_manifest_is_not_read(tmp_path):
    run = tmp_path / "runs" / "one"
    write_json(run / "metrics.json", {"mint": 1})
    with pytest.raises(ResultsError, match=r"manifest\.json is missing"):
        store.run_json(run / "metrics.json")
    store.write_sealed(run / "manifest.json", {"run": "one"})  # without a hash of anything
    with pytest.raises(DamagedError, match=r"metrics\.json is not what the run wrote"):
        store.run_json(run / "metrics.json")
    seal_files(run)
    assert store.run_json(run / "metrics.json") == {"mint": 1}
    write_json(run / "metrics.json", {"mint": 2})
    with pytest.raises(DamagedError, match=r"metrics\.json is not what the run wrote"):
        store.run_file(run / "metrics.json")


def test_shadow_logits_are_those_of_the_first_time_after_damage(damage, capsys):
    run = steps.Run(create(**SMALL, method="salem", shadows=1))
    steps.train(run)
    first = shadows.answers(run.shadows, steps.case_of(run)).logits
    (file,) = run.shadows.trainings[0].folder.glob("logits-*.npy")
    damage(file)
    capsys.readouterr()
    again = shadows.answers(run.shadows, steps.case_of(run)).logits
    assert np.array_equal(first, again)
    assert "is damaged" in capsys.readouterr().out


def test_every_committed_run_is_what_its_manifest_says():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none is without hashes
        for folder in sorted((project_root() / "results").glob("*/runs/*")):
            store.run_json(folder / "metrics.json")
            pd.read_csv(store.run_file(folder / "history.csv"))


def test_a_copy_of_a_run_beside_it_is_passed_over_with_a_word(tmp_path, capsys):
    names = {"a": "a", "a_backup": "a", "b (copy)": "b", "old": None}
    for folder, run in names.items():
        content = {"files": {}} if run is None else {"run": run}
        write_json(tmp_path / folder / "manifest.json", content)
    runs = sorted(tmp_path.iterdir())
    # The second of a pair is a copy; alone, a renamed run is for the reader to judge.
    assert [run.name for run in store.without_copies(runs)] == ["a", "b (copy)", "old"]
    said = capsys.readouterr().out
    assert "a_backup is a copy of a, and passed over" in said
    assert said.count("passed over") == 1

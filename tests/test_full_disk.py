"""A full disk, used-up inodes and a file-size limit: said in words, nothing lost, nothing left."""

import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from short_training import without_times
from small_run import SMALL

from amint_core.errors import AmintError, ResultsError
from amint_core.files import UNFINISHED, atomic_path, clear_unfinished, write_text
from amint_core.locations import project_root
from amint_core.run import steps
from amint_core.run.folder import run_folder
from amint_core.settings import create


def unfinished(folder):
    return list(folder.rglob(f"{UNFINISHED}*"))


@pytest.fixture
def disk(tmp_path, monkeypatch, request):
    """A small disk of its own for cache and results; needs the right to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", getattr(request, "param", "size=32m"), "tmpfs", place]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    monkeypatch.setenv("AMINT_CACHE", str(place / "cache"))
    monkeypatch.setenv("AMINT_RESULTS", str(place / "results"))
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def filled(place, free):
    """Leave so many bytes on a disk."""
    ballast, found = place / "ballast", os.statvfs(place)
    ballast.write_bytes(bytes(max(found.f_bavail * found.f_frsize - free, 0)))
    return ballast


def test_where_the_disk_was_full_the_rerun_ends_as_an_undisturbed_run(disk, monkeypatch):
    with monkeypatch.context() as patch:
        for name in ("AMINT_CACHE", "AMINT_RESULTS"):
            patch.setenv(name, str(disk.parent / name))
        undisturbed = without_times(steps.run_all(create(**SMALL)))
    for free, at in ((0, "config.json"), (8 << 10, "checkpoint.pt")):
        ballast = filled(disk, free)
        with pytest.raises(AmintError, match=f"{at}: No space left on device.*nothing is lost"):
            steps.run_all(create(**SMALL))
        ballast.unlink()
        assert unfinished(disk) == []
    assert without_times(steps.run_all(create(**SMALL))) == undisturbed


WRITERS = {
    "checkpoint": lambda path, values: torch.save({"a": torch.from_numpy(values)}, path),
    "weights": lambda path, values: save_file({"a": torch.from_numpy(values)}, path),
    "logits": lambda path, values: path.open("wb").write(values.tobytes()),
    "array": lambda path, values: np.save(path.open("wb"), values),
    "csv": lambda path, values: pd.DataFrame(values).to_csv(path),
    "parquet": lambda path, values: pd.DataFrame({"a": values}).to_parquet(path),
    "text": lambda path, values: path.write_text(str(values.tolist())),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_on_a_full_disk_is_told_the_same_way(disk, writer):
    write_text(disk / "file", "before")
    filled(disk, 100 << 10)
    values = np.random.default_rng(0).random(100_000)
    refused = pytest.raises(ResultsError, match=r"file: No space left on device.*is unchanged")
    with refused, atomic_path(disk / "file") as temporary:
        WRITERS[writer](temporary, values)
    assert sorted(path.name for path in disk.iterdir()) == ["ballast", "file"]
    assert (disk / "file").read_text() == "before"


@pytest.mark.parametrize("disk", ["size=4m,nr_inodes=16"], indirect=True)
def test_used_up_inodes_are_named(disk):
    for number in range(8):
        (disk / str(number)).touch()
    refused = ""
    while not refused and number < 20:
        number += 1
        try:
            write_text(disk / str(number), "text")
        except ResultsError as error:
            refused = str(error)
    assert "no inode left" in refused
    assert unfinished(disk) == []


@pytest.mark.parametrize("limit", [200, 20_000])
def test_a_file_size_limit_is_named(limit):
    command = [sys.executable, "-m", "amint_core", "run"]
    command += [f"{name}={value}" for name, value in SMALL.items()]

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        command, cwd=project_root(), capture_output=True, text=True, preexec_fn=limited, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "ulimit -f" in done.stderr
    assert "Traceback" not in done.stderr
    assert unfinished(run_folder(create(**SMALL)).parent) == []


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from amint_core.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "model.safetensors")]
    done = subprocess.run(command, cwd=project_root(), check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(UNFINISHED)
    write_text(tmp_path / "other.txt", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_a_living_writers_file_stays(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        write_text(tmp_path / "b.txt", "b")
        clear_unfinished(tmp_path)
        temporary.write_text("a")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_foreign_error_on_a_disk_that_is_not_full_stays_what_it_is(tmp_path):
    with pytest.raises(RuntimeError, match="enforce fail"), atomic_path(tmp_path / "a"):
        raise RuntimeError("enforce fail")


def test_a_writer_that_says_nothing_of_the_disk_is_asked_again(tmp_path, monkeypatch):
    from amint_core import files

    def refuse(self, mode):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(files.Path, "open", refuse)
    refused = pytest.raises(ResultsError, match=r"Disk quota exceeded.*nothing is lost")
    with refused, files.atomic_path(tmp_path / "a"):
        raise RuntimeError("enforce fail")

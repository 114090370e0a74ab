"""A full disk, used-up inodes and a file-size limit: said in words, nothing lost, nothing left."""

import os
import resource
import signal
import subprocess
import sys

import pytest
from short_training import without_times
from small_run import SMALL

from amint_core.errors import AmintError, ResultsError
from amint_core.files import UNFINISHED, clear_unfinished, write_text
from amint_core.locations import project_root
from amint_core.run import steps
from amint_core.run.folder import run_folder
from amint_core.settings import create

SHADOWED = {**SMALL, "method": "salem", "shadows": 1, "transformations": ("flip",), "epochs": 2}


def unfinished(folder):
    return list(folder.rglob(f"{UNFINISHED}*"))


@pytest.fixture
def disk(tmp_path, monkeypatch, request):
    """A small disk of its own for cache and results; needs the right to mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", getattr(request, "param", "size=4m"), "tmpfs", place]
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


def test_wherever_the_disk_gets_full_the_rerun_ends_as_an_undisturbed_run(disk, monkeypatch):
    with monkeypatch.context() as patch:
        for name in ("AMINT_CACHE", "AMINT_RESULTS"):
            patch.setenv(name, str(disk.parent / name))
        undisturbed = without_times(steps.run_all(create(**SHADOWED)))
    refused = []
    for free in (0, 8, 20, 44, 76, 108, 140, 200, 260, 320, 400, 480, 600):
        ballast = filled(disk, free << 10)
        try:
            steps.run_all(create(**SHADOWED))
        except AmintError as error:
            assert "No space left on device" in str(error), error
            refused.append(str(error).split(":")[0].rpartition("/")[2].partition(".")[0])
        else:
            break
        finally:
            ballast.unlink()
        assert unfinished(disk) == []
    assert "checkpoint" in refused
    assert len(set(refused)) >= 3, refused
    assert without_times(steps.run_all(create(**SHADOWED))) == undisturbed


@pytest.mark.parametrize("disk", ["size=4m,nr_inodes=12"], indirect=True)
def test_used_up_inodes_are_named(disk):
    with pytest.raises(AmintError, match="no inode left"):
        steps.run_all(create(**SMALL))
    assert unfinished(disk) == []


@pytest.mark.parametrize("limit", [200, 3_000, 20_000, 60_000])
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
    from amint_core.files import atomic_path

    with atomic_path(tmp_path / "a.txt") as temporary:
        write_text(tmp_path / "b.txt", "b")
        clear_unfinished(tmp_path)
        temporary.write_text("a")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_foreign_error_on_a_disk_that_is_not_full_stays_what_it_is(tmp_path):
    from amint_core.files import atomic_path

    with pytest.raises(RuntimeError, match="enforce fail"), atomic_path(tmp_path / "a"):
        raise RuntimeError("enforce fail")


def test_a_writer_that_says_nothing_of_the_disk_is_asked_again(tmp_path, monkeypatch):
    from amint_core import files

    def refuse(self, mode):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(files.Path, "open", refuse)
    refused = pytest.raises(ResultsError, match="Disk quota exceeded.*nothing is lost")
    with refused, files.atomic_path(tmp_path / "a"):
        raise RuntimeError("enforce fail")

"""Disks that are full, limited or read-only; where mounting is permitted, small ones."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.faults.killed import turns
from benchmarks.faults.known import SLOW, Job, Known, at_write
from benchmarks.faults.trial import Bench, Trial, laid_out, outcome

FULL, LIMITED = "full disk at every write", "file-size limit"
READ_ONLY = "read-only folder"
ROOM = 64  # MiB of a small disk


def trials(known: Known) -> list[Trial]:
    """Return the trials of this file."""
    found, mounts = [], may_mount(known.folder)
    for name, job in known.jobs.items():
        if name in SLOW:
            continue
        found += [Trial(FULL, name, full(turn)) for turn in turns(job)] if mounts else []
        numbers = range(1, job.writes + 1, 12 if mounts else 2)
        found += [Trial(LIMITED, name, limited(number)) for number in numbers]
        for part in ("cache", "results") if mounts else ():
            found += [Trial(READ_ONLY, name, read_only(part))]
    return found


def may_mount(folder: Path) -> bool:
    """Tell whether small disks can be mounted here."""
    try:
        with small_disk(folder / "mounted"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """Mount a disk of `ROOM` over a folder for a while."""
    place.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}m", "tmpfs", str(place)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def full(turn: list[int]) -> Callable:
    """Return a fault: the disk is full from some write of a command on, and free again after it.

    Args:
        turn: number of the write, for as many commands one after the other.
    """

    def fault(bench: Bench, job: Job) -> tuple[str, list[int], str]:
        folder, statuses = bench.place.folder, []
        ballast = folder / "ballast"

        def fill() -> None:
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, _free(folder))

        with small_disk(folder):
            laid_out(bench, job)
            for number in turn:
                before = partial(at_write, folder, number, fill)
                statuses.append(bench.place.do(job.command, before))
                ballast.unlink(missing_ok=True)
            said = f"from write {', '.join(map(str, turn))} on"
            return said, statuses, outcome(bench, job, statuses)

    return fault


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return max(1, found.f_bavail * found.f_frsize)


def limited(number: int) -> Callable:
    """Return a fault: from the `number`-th write on no file may grow beyond some bytes."""

    def fault(bench: Bench, job: Job) -> tuple[str, list[int], None]:
        laid_out(bench, job)
        size = int(10 ** bench.draw.uniform(0, 4.5))

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

        before = partial(at_write, bench.place.folder, number, limit)
        status = bench.place.do(job.command, before)
        return f"{size:,} bytes from write {number} on", [status], None

    return fault


def read_only(part: str) -> Callable:
    """Return a fault: `part` of a place, cache or results, cannot be written."""

    def fault(bench: Bench, job: Job) -> tuple[str, list[int], str]:
        laid_out(bench, job)
        inside = bench.place.folder / part
        with small_disk(inside):
            if job.before is not None:
                source = job.before.folder / part
                subprocess.run(["cp", "-a", f"{source}/.", str(inside)], check=True)
            subprocess.run(["mount", "-o", "remount,ro", str(inside)], check=True)
            status = bench.place.do(job.command)
            subprocess.run(["mount", "-o", "remount,rw", str(inside)], check=True)
            return part, [status], outcome(bench, job, [status])

    return fault

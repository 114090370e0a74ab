"""Put faults to single runs and count what becomes of them: `python -m benchmarks.faults`.

A trial does a small run of stand-in images with a fault in it, then gives the same command again.

| outcome | means |
|---|---|
| survived | the same command ends with the metrics of an undisturbed run |
| lost | it does not end, or with an error that it cannot mend |
| wrong | it ends with other metrics, or takes damaged content for whole |
| foreign | as survived, but a traceback, or an end without a word, came on the way |
| left | as survived, but an unfinished file or a process stayed |
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pandas as pd

from amint_core.cli import main as command_line
from amint_core.errors import DamagedError
from amint_core.files import UNFINISHED, write_text
from amint_core.locations import results_root
from amint_core.store import run_file
from benchmarks.machine import machine

RUN = "dataset=mnist model=tiny data=standin image_size=8 members=60 external=80 calibration=40 "
RUN += "holdout=100 test=30 epochs=4 batch_size=20 cpu_threads=1 method=salem shadows=2 "
RUN += "transformations=[flip]"
OUTCOMES = ("survived", "lost", "wrong", "foreign", "left")
PATIENCE = 120  # seconds for a run that takes one or two


class Place:
    """A folder with cache and results of its own, and runs started there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.sessions = folder, folder.parent / f"{folder.name}.log", []
        folder.mkdir(exist_ok=True)

    def start(self, more: str = "", limit: tuple[int, int] | None = None) -> int:
        """Start the run in a process of its own and return its id.

        Args:
            more: further settings.
            limit: a resource and how much of it the process may use.
        """
        child = os.fork()  # what is imported already need not be imported for each of many runs
        if child:
            self.sessions.append(child)
            return child
        try:
            os.setsid()
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ |= {"AMINT_CACHE": f"{self.folder}/cache", "TQDM_DISABLE": "1"}
            os.environ["AMINT_RESULTS"] = f"{self.folder}/results"
            if limit:
                resource.setrlimit(limit[0], (limit[1], limit[1]))
            status = command_line(["run", *RUN.split(), *more.split()])
            (self.folder.parent / "modules").write_text("\n".join(sys.modules))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 1
        sys.stdout.flush()
        os._exit(status)

    def end(self, child: int, seconds: float = PATIENCE) -> int:
        """Wait for a run and return its exit status, or minus the signal that ended it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return -signal.SIGKILL

    def metrics(self) -> dict | None:
        """Return the run's metrics without times; None where there are none."""
        found = list(self.folder.glob("results/quick/runs/*/metrics.json"))
        if not found:
            return None
        text = re.sub(r'"seconds": [\d.]+', '"seconds": 0', run_file(found[0]).read_text())
        return json.loads(text)

    def outcome(self, undisturbed: dict, status: int) -> str:
        """Give the same command again and tell what has become of the run."""
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        if status not in (0, 2, 130, -signal.SIGKILL, -signal.SIGTERM):
            said += "Traceback"  # ended without a word of ours
        if self.end(self.start()) != 0:
            return "lost"
        try:
            right = self.metrics() == undisturbed
            for name in ("scores.parquet", "history.csv", "model.safetensors", "config.json"):
                run_file(next(self.folder.glob(f"results/quick/runs/*/{name}")))
        except (DamagedError, StopIteration):
            return "lost"
        left = [*self.folder.rglob(f"{UNFINISHED}*"), *self._orphans()]
        troubles = {"wrong": not right, "foreign": "Traceback" in said, "left": left}
        return next((name for name, found in troubles.items() if found), "survived")

    def _orphans(self, seconds: float = 20) -> list[str]:
        deadline, found = time.monotonic() + seconds, [""]
        while found and time.monotonic() < deadline:
            pids = ",".join(map(str, self.sessions))
            listed = ["ps", "-o", "pid=,stat=", "-s", pids]
            lines = subprocess.run(listed, capture_output=True, text=True, check=False).stdout
            found = [line for line in lines.splitlines() if line.split()[1][0] != "Z"]
            time.sleep(0.05 if found else 0)
        for line in found:
            os.kill(int(line.split()[0]), signal.SIGKILL)
        return found


class Known:
    """A run undisturbed, with its metrics and seconds, and one that was cut off in training."""

    def __init__(self, folder: Path) -> None:
        self.whole, self.cut = Place(folder / "whole"), Place(folder / "cut")
        if self.whole.end(self.whole.start()):
            raise SystemExit(self.whole.log.read_text())
        # What a run imports is imported here, and is then there in every copy of this process.
        for name in (folder / "modules").read_text().split():
            with suppress(Exception):
                import_module(name)
        started = time.monotonic()
        if self.whole.end(Place(folder / "again").start()):
            raise SystemExit("The run ended well the first time and not the second.")
        self.seconds, self.metrics = time.monotonic() - started, self.whole.metrics()
        child = self.cut.start()
        while not list(self.cut.folder.glob("cache/trainings/*/checkpoint.pt")):
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        self.cut.end(child)

    def copy(self, place: Place, whole: bool) -> list[Path]:
        """Copy one of the two to a place and return the files that are stored there."""
        source = self.whole if whole else self.cut
        hidden = shutil.ignore_patterns(".*")
        shutil.copytree(source.folder, place.folder, dirs_exist_ok=True, ignore=hidden)
        return sorted(path for path in place.folder.rglob("*") if path.is_file())


Trial = Callable[[Place, random.Random, Known], tuple[str, str]]


def by_signal(sign: signal.Signals, more: str = "", slower: float = 1.0) -> Trial:
    """Return a trial that sends a signal at one to three random moments.

    Args:
        sign: the signal.
        more: further settings.
        slower: how much longer than the undisturbed run that takes.
    """

    def trial(place: Place, draw: random.Random, known: Known) -> tuple[str, str]:
        moments = [draw.random() * slower * known.seconds for _ in range(draw.randint(1, 3))]
        for moment in moments:
            child = place.start(more)
            time.sleep(moment)
            os.kill(child, sign)
            status = place.end(child)
        said = ", ".join(f"{moment:.2f}" for moment in moments)
        return place.outcome(known.metrics, status), f"after {said} s"

    return trial


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": lambda content, draw: content[: draw.randrange(len(content))],
    "flipped": lambda content, draw: _with(content, draw, lambda one: one ^ 1 << draw.randrange(8)),
    "zeroed": lambda content, draw: _with(content, draw, lambda one: 0, 16),
    "emptied": lambda content, draw: b"",
}


def _with(
    content: bytes, draw: random.Random, change: Callable[[int], int], size: int = 1
) -> bytes:
    start = draw.randrange(len(content))
    part = bytes(map(change, content[start : start + size]))
    return content[:start] + part + content[start + size :]


def damaged(place: Place, draw: random.Random, known: Known) -> tuple[str, str]:
    """Damage a stored file; a run's own is to be refused when it is read."""
    files = known.copy(place, whole=draw.random() < 0.8)
    file, damage = (
        draw.choice([file for file in files if file.stat().st_size]),
        draw.choice([*DAMAGES]),
    )
    content = file.read_bytes()
    while (changed := DAMAGES[damage](content, draw)) == content:
        pass
    file.write_bytes(changed)
    detail = f"{re.sub('-[0-9a-f]{24}', '', file.name)} {damage}"
    if "runs" in file.parts:
        asked = file.with_name("metrics.json") if file.name == "manifest.json" else file
        try:
            run_file(asked)
        except DamagedError:
            pass
        else:
            return "wrong", detail
    return place.outcome(known.metrics, 0), detail


def limited(which: str, least: float, most: float) -> Trial:
    """Return a trial with a random limit: a power of ten between two, of a resource.

    Args:
        which: a name of Python's `resource`; of the address space, what is in use comes on top.
        least: the least power.
        most: the largest.
    """

    def trial(place: Place, draw: random.Random, known: Known) -> tuple[str, str]:
        limit = size = int(10 ** draw.uniform(least, most))
        if which == "RLIMIT_AS":
            pages = Path("/proc/self/statm").read_text().split()[0]
            limit += int(pages) * resource.getpagesize()
        status = place.end(place.start(limit=(getattr(resource, which), limit)))
        return place.outcome(known.metrics, status), f"{size:,} bytes"

    return trial


def full_disk(place: Place, draw: random.Random, known: Known) -> tuple[str, str]:
    """Fill a small disk but for a random rest, run, and free it."""
    stored = sum(path.stat().st_size for path in known.whole.folder.rglob("*"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * stored}", "tmpfs", place.folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        return "not tried", "no right to mount a disk"
    free = draw.randrange(stored)
    try:
        ballast = place.folder / "ballast"
        ballast.write_bytes(bytes(4 * stored - free))
        status = place.end(place.start())
        ballast.unlink()
        return place.outcome(known.metrics, status), f"{free >> 10} KiB free"
    finally:
        subprocess.run(["umount", "--lazy", place.folder], check=True)


def two_at_once(place: Place, draw: random.Random, known: Known) -> tuple[str, str]:
    """Start the same run twice."""
    wait = draw.random() * known.seconds
    first = place.start()
    time.sleep(wait)
    second = place.start()
    statuses = place.end(first), place.end(second)
    return place.outcome(known.metrics, max(statuses, key=abs)), f"{wait:.2f} s apart"


def clock_set_back(place: Place, draw: random.Random, known: Known) -> tuple[str, str]:
    """Give all files times to come."""
    ahead = time.time() + draw.uniform(1, 10**7)
    for file in known.copy(place, whole=draw.random() < 0.5):
        os.utime(file, (ahead, ahead))
    return place.outcome(known.metrics, 0), f"{ahead - time.time():.0f} s"


#: Kind → (the trial, how often in a round).
KINDS: dict[str, tuple[Trial, int]] = {
    "kill -9": (by_signal(signal.SIGKILL), 14),
    "kill -9 of a driver of two workers": (by_signal(signal.SIGKILL, "workers=2", 8), 1),
    "Ctrl-C": (by_signal(signal.SIGINT), 2),
    "SIGTERM": (by_signal(signal.SIGTERM), 2),
    "damage to a stored file": (damaged, 8),
    "full disk": (full_disk, 4),
    "file-size limit": (limited("RLIMIT_FSIZE", 1, 5.5), 2),
    "address-space limit": (limited("RLIMIT_AS", 6, 8.7), 2),
    "two at once": (two_at_once, 2),
    "clock set back": (clock_set_back, 1),
}


def trials(minutes: float, seed: int = 0) -> pd.DataFrame:
    """Try in rounds over all kinds until the time is over: kind, outcome, detail."""
    draw, rows = random.Random(seed), []
    order = [kind for kind, (_, often) in KINDS.items() for _ in range(often)]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        known = Known(Path(folder))
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            draw.shuffle(order)
            for number, kind in enumerate(order):
                place = Place(Path(folder) / f"trial-{len(rows)}")
                outcome, detail = KINDS[kind][0](place, draw, known)
                rows.append({"kind": kind, "outcome": outcome, "detail": detail})
                if outcome != "survived":
                    print(f"{kind}, {detail}: {outcome}\n{_last_words(place)}", flush=True)
                shutil.rmtree(place.folder, ignore_errors=True)
                if time.monotonic() > end and number:
                    break
    return pd.DataFrame(rows)


def _last_words(place: Place) -> str:
    said = place.log.read_text(errors="replace") if place.log.exists() else ""
    return "\n".join(said.splitlines()[-12:])


def counted(rows: pd.DataFrame) -> pd.DataFrame:
    """Count trials and outcomes by kind, and in all."""
    table = pd.crosstab(rows["kind"], rows["outcome"])
    others = [name for name in table if name not in OUTCOMES]
    table = table.reindex(columns=[*OUTCOMES, *others], fill_value=0)
    table = table.reindex([kind for kind in KINDS if kind in table.index])
    table.loc["all"] = table.sum()
    table.insert(0, "trials", table.sum(axis=1))
    return table.rename_axis("kind").reset_index()


def main(arguments: list[str] | None = None) -> int:
    """Try, print and write the table; 1 where something did not survive."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=results_root() / "faults")
    given = parser.parse_args(arguments)
    on = machine("cpu")  # the code that is tried, whatever is committed meanwhile
    rows = trials(given.minutes, given.seed)
    table, odd = counted(rows), rows[rows["outcome"] != "survived"]
    text = (
        f"{len(rows)} trials in {given.minutes:g} minutes, seed {given.seed}, on {on['device']} "
        f"({on['cores']} cores), commit {(on['commit'] or 'unknown')[:7]}"
        f"{' with changes' if on['changed'] else ''}. A run of the model tiny on stand-in images; "
        "outcomes as in benchmarks/faults.py.\n\n"
        f"{table.to_markdown(index=False)}\n\n"
        + (odd.to_markdown(index=False) if len(odd) else "Every trial survived.")
    )
    write_text(given.out / "faults.csv", table.to_csv(index=False))
    write_text(given.out / "faults.md", text + "\n")
    print(text)
    return int(bool(len(odd)))


if __name__ == "__main__":
    raise SystemExit(main())

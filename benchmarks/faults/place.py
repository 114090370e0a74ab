"""A folder with data, cache and results of its own, and commands that are given there."""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from amint_core.cli import main as command_line

PATIENCE = 600  # seconds for a command that takes a few, on a machine with other work
#: Locks stay by design, and logs and what a batch's machinery keeps differ from run to run.
_ASIDE = re.compile(r"\.lock$|^results/\w+/logs/|\.papermill\.lock$|papermill\.log$|\.ipynb$")
_SECONDS = re.compile(rb'"(seconds\w*|finished)": ("[^"]*"|[\d.e-]+)')


class Place:
    """A folder for one trial; its log lies beside it.

    Attributes:
        folder: holds `cache` and `results`, and `data` where the trial damages that.
        data: the datasets' folder.
        modules: where a command leaves the names of what it has imported; None: nowhere.
    """

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data, self.sessions = folder, data, []
        self.heard: dict[int, int] = {}  # command → the pipe that it speaks into
        self.modules: Path | None = None
        self.log = folder.with_name(f"{folder.name}.log")
        folder.mkdir(exist_ok=True)

    def start(self, command: tuple[str, ...], before: Callable[[], None] | None = None) -> int:
        """Give a command in a process of its own and return its id.

        Args:
            command: what follows `amint` on the command line.
            before: called in that process first; where the fault comes from.
        """
        # By a pipe, since limits of files are no limits of what can be said.
        listening, speaking = os.pipe()
        child = os.fork()  # what is imported already need not be imported for each of many trials
        if child:
            os.close(speaking)
            os.set_blocking(listening, False)
            self.sessions.append(child)
            self.heard[child] = listening
            return child
        try:
            os.setsid()
            os.close(listening)
            os.dup2(speaking, 1)
            os.dup2(speaking, 2)
            os.close(speaking)
            # The old ones would take the pipe for the file that they may have been opened on.
            sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
            # tqdm's own lock is shared by all processes that are forked from one: a command that is
            # killed while it holds that lock would stop the others for good.
            tqdm.set_lock(threading.RLock())
            signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever `make` ignores
            os.environ |= {"AMINT_DATA": str(self.data), "TQDM_DISABLE": "1"}
            os.environ |= {f"AMINT_{n.upper()}": f"{self.folder}/{n}" for n in ("cache", "results")}
            if before:
                before()
            status = command_line(list(command))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        if self.modules:
            self.modules.write_text("\n".join(sys.modules))
        os._exit(status)

    def end(self, child: int, seconds: float = PATIENCE) -> int:
        """Wait for a command and return its exit status, or minus the signal that ended it."""
        deadline, ended = time.monotonic() + seconds, None
        while ended is None and time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            ended = os.waitstatus_to_exitcode(status) if done else None
            self._listen(child)
            time.sleep(0 if done else 0.005)
        if ended is None:  # it hung
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            ended = -signal.SIGALRM
        os.close(self.heard.pop(child))
        return ended

    def _listen(self, child: int) -> None:
        """Add to the log what a command has said meanwhile."""
        with suppress(BlockingIOError), self.log.open("ab") as log:
            while said := os.read(self.heard[child], 2**16):
                log.write(said)

    def do(self, command: tuple[str, ...], before: Callable[[], None] | None = None) -> int:
        """Give a command, wait for it, and return its exit status."""
        return self.end(self.start(command, before))

    def said(self) -> str:
        """Return what all commands have printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def names(self) -> set[str]:
        """Return the places of all files but locks and logs, from the folder on."""
        found = (str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
        return {name for name in found if not _ASIDE.search(name)}

    def content(self) -> dict[str, str]:
        """Return place → hash of each file under `results`, times aside."""
        files = (path for path in (self.folder / "results").rglob("*") if path.is_file())
        named = {str(path.relative_to(self.folder)): path for path in files}
        return {n: _digest(path) for n, path in named.items() if not _ASIDE.search(n)}

    def orphans(self, seconds: float = 20) -> list[str]:
        """Return the processes of all commands that have not ended after a while; end them."""
        deadline = time.monotonic() + seconds
        while True:
            pids = ",".join(map(str, self.sessions)) or "0"
            listed = ["ps", "-o", "pid=,stat=", "-s", pids]
            lines = subprocess.run(listed, capture_output=True, text=True, check=False).stdout
            found = [line for line in lines.splitlines() if line.split()[1][0] != "Z"]
            if not found or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        for line in found:
            os.kill(int(line.split()[0]), signal.SIGKILL)
        return found


def _digest(path: Path) -> str:
    """Return a hash of a file's content without times; of a manifest's, without hashes of files
    that hold times."""
    content = path.read_bytes()
    if path.name in ("metrics.json", "history.csv") or path.suffix == ".csv":
        content = _without_seconds(content)
    if path.name == "manifest.json":
        return ""  # its own seal and the hashes in it are checked apart
    return hashlib.sha256(content).hexdigest()


def _without_seconds(content: bytes) -> bytes:
    if content.lstrip()[:1] == b"{":
        return _SECONDS.sub(b"", content)
    try:
        table = pd.read_csv(io.BytesIO(content), dtype=str)
    except ValueError:  # pandas' own are, too: a damaged file, which is what it is
        return content
    return table[[n for n in table if "seconds" not in n]].to_csv(index=False).encode()

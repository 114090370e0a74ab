"""Write each finished run of a timed grid at once, in the background.

A run's folder holds `metrics.json`, `manifest.json`, `history.csv` and `scores.parquet`, the
answers alone: (N,) `score` and `predicted`. The N images that they belong to are the same for all
runs of a split and stand once, in `splits/` of the profile.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from pyarrow.parquet import read_schema

from amint_core import provenance
from amint_core.batch.timed.dealt import Dealt
from amint_core.batch.timed.units import Result
from amint_core.config import RunConfig, as_name
from amint_core.errors import DamagedError, ResultsError
from amint_core.evaluation.both_judgements import judge_twice
from amint_core.files import atomic_path, read_json, writable
from amint_core.locations import shown
from amint_core.methods import METHODS
from amint_core.model import zoo
from amint_core.run.folder import seal
from amint_core.run.read_back import columns_besides_losses
from amint_core.run.steps import describe_data
from amint_core.store import (
    files_to_hash,
    is_judged_twice,
    run_file,
    run_manifest,
    set_aside,
    sha256,
    write_sealed,
)

#: What the files of a run hold; of its history besides losses and accuracies, and besides the
#: number of the head where there are several.
METRICS = {"run", "data", "mint", "paper", "audited", "training"}
HISTORY = {"stage", "epoch", "seconds"}
ANSWERS = {"score", "predicted"}
_PATIENCE = 5.0  # seconds to wait for another process to let go of the grid
DIGITS = 3  # after the point, of a head's logits; metrics are computed from scores as stored


@contextmanager
def writing_alone(root: Path) -> Iterator[None]:
    """Keep other processes from writing the same runs.

    Args:
        root: results/<profile>.

    Raises:
        ResultsError: another process is writing them, or the folder cannot be written.
    """
    lock = FileLock(root / ".grid.lock")
    with writable(root, "AMINT_RESULTS"):
        try:
            lock.acquire(timeout=_PATIENCE)
        except Timeout:
            raise ResultsError(
                f"Another process is running a grid into {shown(root)}. Wait until it has ended, "
                "or stop it."
            ) from None
    try:
        yield
    finally:
        lock.release()


def is_done(root: Path, run: RunConfig) -> bool:
    """Tell whether a run has been saved and is what was saved; of a damaged one it is said."""
    folder = root / "runs" / run.id
    if not (folder / "metrics.json").is_file():
        return False
    try:
        for file in files_to_hash(folder):
            run_file(file)
    except DamagedError as error:
        print(f"amint: {error}", flush=True)
        return False
    if not _is_written_so(folder):
        print(f"amint: {shown(folder)} was written by another version: run again", flush=True)
        return False
    return True


def _is_written_so(folder: Path) -> bool:
    """Tell whether a run's files have the parts that `Saver` writes."""
    try:
        history = columns_besides_losses(pd.read_csv(folder / "history.csv", nrows=0))
        answers = set(read_schema(folder / "scores.parquet").names)
        metrics = set(read_json(folder / "metrics.json"))
    except (OSError, ValueError, TypeError):  # of pandas and pyarrow, too
        return False
    return (metrics, history - {"head"}, answers) == (METRICS, HISTORY, ANSWERS)


def lacks_images(root: Path, run: RunConfig) -> bool:
    """Tell whether the images that a finished run was judged on are missing, or not those."""
    folder = root / "runs" / run.id
    images = root / "splits" / read_json(folder / "metrics.json")["data"]["split_file"]
    return not (images.is_file() and sha256(images) == run_manifest(folder).get("split_file"))


def write_images(root: Path, dealt: Dealt) -> Path:
    """Write the images of a split, once for all its runs, and return where."""
    images = _images_of(root, dealt)
    if not _holds(images, dealt.table):
        _write_table(images, dealt.table)
    return images


def restore_images(root: Path, dealt: Dealt) -> None:
    """Write the images of a split anew where the file of none of its runs is there, and say so.

    Then all its runs get the hash of what is there: another version of pyarrow writes the same
    table in other bytes.

    Raises:
        DamagedError: a run's manifest is not what it wrote.
    """
    images = _images_of(root, dealt)
    of_split = [
        (file.parent, manifest)
        for file in sorted((root / "runs").glob("*/manifest.json"))
        if (manifest := run_manifest(file.parent)).get("split") == dealt.split.digest
        and is_judged_twice(read_json(file.parent / "metrics.json"))
    ]
    known = {manifest["split_file"] for _, manifest in of_split if "split_file" in manifest}
    as_known = images.is_file() and (not known or sha256(images) in known)
    if not (as_known and _holds(images, dealt.table)):
        if images.is_file():
            set_aside(images)
        _write_table(images, dealt.table)
        print(f"amint: {shown(images)}: written anew", flush=True)
    there = sha256(images)
    for folder, manifest in of_split:
        if manifest.get("split_file") != there:
            write_sealed(folder / "manifest.json", {**manifest, "split_file": there})


def _images_of(root: Path, dealt: Dealt) -> Path:
    return root / "splits" / f"{as_name(dealt.dataset.spec.name)}-{dealt.split.digest[:12]}.parquet"


@cache
def _code_of(model: str) -> str:
    """Return a hash of all sources that compute a run; made once, as reading them takes a while."""
    return provenance.code_fingerprint(__name__, *zoo.code_of(model))


@dataclass
class Saver:
    """Judges and writes results on a thread of its own, so that the device need not wait.

    Attributes:
        root: results/<profile>.
        device: where the runs were computed.
        say: prints a line per run.
        refused: run → why its result was not kept.
    """

    root: Path
    device: torch.device
    say: Callable[[str], None] = print
    pending: list[Future] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)

    @cached_property
    def _machine(self) -> dict[str, Any]:
        return {
            "versions": provenance.versions(),
            "device": self.device.type,
            "hardware": provenance.hardware(self.device),
            "git": provenance.git_state(),
        }

    def save(self, result: Result, dealt: Dealt) -> None:
        """Take a result; its tensors are copied before this returns. What has diverged is refused:
        `refused` says so."""
        scores, method = result.scores.float().cpu().numpy(), METHODS[result.run.method]
        if not method.untested and not np.isfinite(scores).all():
            self.refused[result.run.id] = (
                "some scores are not finite numbers, so the training has diverged. Try a lower "
                "head_rate or learning_rate."
            )
            return
        if method.asks_head:  # losses may differ near 0 by less
            scores = scores.round(DIGITS)
        predicted = result.predicted.cpu().numpy().astype(np.int16)
        answers = pd.DataFrame({"score": scores, "predicted": predicted})
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.pending.append(self._thread.submit(self._write, result, dealt, answers, now))

    def then(self, action: Callable[[], None]) -> None:
        """Do something after all that was to be written before."""
        self.pending.append(self._thread.submit(action))

    def require_written(self) -> None:
        """Raise what went wrong with a run that was to be written: others would fare no better."""
        for one in self.pending:
            if one.done():
                one.result()

    def close(self) -> None:
        """Wait until all is written, and raise what went wrong."""
        self._thread.shutdown(wait=True)
        for one in self.pending:
            one.result()

    def _write(self, result: Result, dealt: Dealt, answers: pd.DataFrame, now: str) -> None:
        run, dataset, split = result.run, dealt.dataset, dealt.split
        folder = self.root / "runs" / run.id
        images = write_images(self.root, dealt)
        for other in files_to_hash(folder) if folder.is_dir() else ():
            other.unlink()  # another version's, or `amint run`'s, which would be sealed as ours
        _write_table(folder / "scores.parquet", answers)
        with atomic_path(folder / "history.csv") as temporary:
            pd.DataFrame(result.history).to_csv(temporary, index=False, float_format="%.5g")
        metrics = {
            "run": {"id": run.id, "settings": run.model_dump(mode="json")},
            "data": describe_data(dataset, split) | {"split_file": images.name},
            **judge_twice(pd.concat([dealt.table, answers], axis=1)),
            "training": result.training | {"hardware": self._machine["hardware"]},
        }
        manifest = {"run": run.id, "finished": now, **self._machine}
        manifest["code"] = _code_of(run.model)
        manifest |= {"data": dataset.fingerprint, "split": split.digest}
        manifest["split_file"] = sha256(images)
        seal(folder, metrics, manifest)
        self.say(f"  {run.id}: {in_a_line(metrics)}")


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")


def _holds(path: Path, table: pd.DataFrame) -> bool:
    """Tell whether a file holds a table; one that holds another, or is damaged, is set aside."""
    if not path.is_file():
        return False
    try:
        if pd.read_parquet(path).equals(table):
            return True
    except (OSError, ValueError):  # pyarrow's errors are either
        pass
    set_aside(path)
    return False


def in_a_line(metrics: dict[str, Any]) -> str:
    """Say what came out of a run."""
    words = [f"audited {metrics['audited']['accuracy']['value']:.3f}"]
    mint, paper = metrics["mint"], metrics["paper"]
    if mint:
        at = {"AUC": mint["auc"], "calibrated": mint.get("accuracy_calibrated")}
        at |= {"TPR at 1 %": mint["tpr_at_fpr"]["0.01"], "at .1 %": mint["tpr_at_fpr"]["0.001"]}
        at |= {"paper's": paper["accuracy"] if paper else None}
        words += [f"{name} {one['value']:.3f}" for name, one in at.items() if one and one["value"]]
    training = metrics["training"]
    seconds = training["seconds_trunk"], training["seconds_head"]
    return ", ".join([*words, f"{seconds[0]:.1f} + {seconds[1]:.1f} s"])

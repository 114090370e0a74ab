"""Write each finished run of a timed grid at once, in the background."""

from __future__ import annotations

import datetime
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from amint_core import provenance
from amint_core.evaluation.twofold import judge_twice
from amint_core.files import atomic_path, write_json
from amint_core.timed.dealt import Dealt
from amint_core.timed.units import Result, Spec

DIGITS = 3  # of a stored score; metrics are computed from scores as they are stored


def run_folder(root: Path, spec: Spec) -> Path:
    """Return the folder of a run's files."""
    return root / "runs" / spec.id


def is_done(root: Path, spec: Spec) -> bool:
    """Tell whether a run has been saved."""
    return (run_folder(root, spec) / "metrics.json").is_file()


def split_file(root: Path, dealt: Dealt) -> Path:
    """Return the file of the images that are scored, one for all runs of a split."""
    name = dealt.dataset.spec.name
    return root / "splits" / f"{name}-{dealt.split.digest[:12]}.parquet"


def read_scores(root: Path, run: Path, split: str) -> pd.DataFrame:
    """Return a run's scores beside the images they belong to; see `Dealt.table`."""
    images = pd.read_parquet(root / "splits" / split)
    return pd.concat([images, pd.read_parquet(run / "scores.parquet")], axis=1)


@dataclass
class Saver:
    """Judges and writes results on a thread of its own, so that the device need not wait.

    Attributes:
        root: results/<profile>.
        device: where the runs were computed.
        say: prints a line per run.
    """

    root: Path
    device: torch.device
    say: Any = print
    pending: list[Future] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._machine = {
            "versions": provenance.versions(),
            "device": self.device.type,
            "hardware": provenance.hardware(self.device),
            "git": provenance.git_state(),
            "code": provenance.code_fingerprint(),
        }

    def save(self, result: Result, dealt: Dealt) -> None:
        """Take a result; its tensors are copied before this returns."""
        scores = result.scores.float().cpu().numpy().round(DIGITS)
        predicted = result.predicted.cpu().numpy().astype(np.int16)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        given = (result, dealt, scores, predicted, now)
        self.pending.append(self._thread.submit(self._write, *given))

    def close(self) -> None:
        """Wait until all is written, and raise what went wrong."""
        self._thread.shutdown(wait=True)
        for one in self.pending:
            one.result()

    def _write(
        self, result: Result, dealt: Dealt, scores: np.ndarray, predicted: np.ndarray, now: str
    ) -> None:
        spec = result.spec
        folder, split = run_folder(self.root, spec), split_file(self.root, dealt)
        if not split.is_file():
            _write_table(split, dealt.table)
        answers = pd.DataFrame({"score": scores, "predicted": predicted})
        _write_table(folder / "scores.parquet", answers)
        with atomic_path(folder / "history.csv") as temporary:
            pd.DataFrame(result.history).to_csv(temporary, index=False, float_format="%.5g")
        table = pd.concat([dealt.table, answers], axis=1)
        judged = judge_twice(table)
        metrics = {
            "run": {"id": spec.id, "settings": _plain(spec.settings)},
            "data": _describe(dealt) | {"split_file": split.name},
            **judged,
            "training": result.training | {"hardware": self._machine["hardware"]},
        }
        identity = {"data": dealt.dataset.fingerprint, "split": dealt.split.digest}
        manifest = {"run": spec.id, "finished": now, **self._machine, **identity}
        manifest["scores"] = hashlib.sha256((folder / "scores.parquet").read_bytes()).hexdigest()
        write_json(folder / "manifest.json", manifest)
        write_json(folder / "metrics.json", metrics)  # last: it says that the run is complete
        self.say(f"  {spec.id}: {in_a_line(metrics)}")


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


def _describe(dealt: Dealt) -> dict[str, Any]:
    dataset, split = dealt.dataset, dealt.split
    return {
        "dataset": dataset.spec.name,
        "title": dataset.title,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "split": split.digest,
        "sizes": {name: len(role) for name, role in split.roles.items()},
        "duplicates_removed": split.duplicates_removed,
        "image_size": dataset.image_size,
        "classes": dataset.num_classes,
        "notes": list(dataset.notes),
    }


def _plain(settings: Any) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()
    }


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")

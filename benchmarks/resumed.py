"""A table that is written row by row, so that an experiment goes on where it was cut off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from amint_core import provenance
from amint_core.files import write_text


class Rows:
    """Rows of an experiment in a CSV file, as text, each with hardware and commit.

    A value that is a table of settings is kept as its hash: a row of other settings than those
    that are asked for counts as none.
    """

    def __init__(self, file: Path) -> None:
        text = {"dtype": str, "keep_default_na": False}
        self.file = file
        self.table = pd.read_csv(file, **text) if file.is_file() else pd.DataFrame()

    def has(self, key: dict[str, Any]) -> bool:
        """Tell whether there is a row with these values."""
        if not set(key) <= set(self.table):
            return False
        same = [self.table[name] == _text(value) for name, value in key.items()]
        return bool(pd.concat(same, axis=1).all(axis=1).any())

    def add(self, *rows: dict[str, Any]) -> None:
        """Add rows, if any, and write the file."""
        if not rows:
            return
        made = {"hardware": provenance.hardware(torch.device("cpu"))} | provenance.git_state()
        texts = [{name: _text(value) for name, value in (row | made).items()} for row in rows]
        self.table = pd.concat([self.table, pd.DataFrame(texts)], ignore_index=True)
        write_text(self.file, self.table.to_csv(index=False))


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""runs.csv: one row per run with all its metrics and settings."""

from __future__ import annotations

import pandas as pd

from amint_core.report.averages import DATA
from amint_core.report.read import Results, run_rows
from amint_core.report.registry import Table


def rows(results: Results) -> pd.DataFrame:
    """Return a row per run, exact."""
    table = run_rows(results).drop(columns="path")
    table.insert(table.columns.get_loc("source"), "data", table.pop("source").map(DATA))
    return table


TABLE = Table("runs", rows)

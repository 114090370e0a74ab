"""The tables of a profile, one small file each: exact as CSV, and for readers.

A new one is a file with its `TABLE`, listed here.
"""

from __future__ import annotations

from amint_core.report.registry import Table
from amint_core.report.tables import (
    ablation,
    comparison,
    differences,
    lambda_curves,
    runs,
    table1,
    transformations,
)

#: Name → table, in the order in which they are written.
TABLES: dict[str, Table] = {
    one.name: one
    for one in (
        table1.TABLE,
        comparison.TABLE,
        ablation.TABLE,
        transformations.TABLE,
        runs.TABLE,
        lambda_curves.TABLE,
        differences.TABLE,
    )
}

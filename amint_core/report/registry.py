"""What a table and a figure of a profile are; a new one is a file listed in its package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from amint_core.report.read import Results
from amint_core.report.render import Document


@dataclass(frozen=True)
class Table:
    """One table of a profile.

    Attributes:
        name: of its files.
        rows: results → its exact values, as in the CSV file.
        document: results → what readers get; None: the CSV file alone.
        of_scores: whether it holds what only the runs' scores tell.
    """

    name: str
    rows: Callable[[Results], pd.DataFrame]
    document: Callable[[Results], Document] | None = None
    of_scores: bool = False


@dataclass(frozen=True)
class Drawing:
    """One figure of a profile.

    Attributes:
        name: of its files.
        draw: results → the figure; where there is nothing to show it says why.
        of_scores: whether it is drawn from the runs' scores.
    """

    name: str
    draw: Callable[[Results], Figure]
    of_scores: bool = False

"""What docs/two_stages.md says of the time to a cell on two CPU cores."""

from collections.abc import Iterator

import pandas as pd

from amint_core.locations import project_root
from amint_core.report.names import model_title

FILE = project_root() / "results" / "benchmarks" / "speedrun.csv"


def of_rows() -> Iterator[str]:
    """Yield a row for each run."""
    for _, row in pd.read_csv(FILE).iterrows():
        names = ("calibrated", "auc", "tpr at 0.01")
        figures = [f"{row[name]:.3f}".removeprefix("0") for name in names]
        yield (
            f"| {model_title(row['model'])} | {row['seconds'] / 60:.1f} | {' | '.join(figures)} | "
            f"{row['audited']:.3f}".replace("0.", ".")
            + f" | {row['figures aimed at']} in "
            f"{row['minutes aimed at']} | {row['published seconds'] / 3600:.1f} | "
            f"{row['times quicker']:.0f} |"
        )


SOURCES = (of_rows,)

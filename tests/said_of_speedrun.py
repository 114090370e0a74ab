"""What docs/two_stages.md says of the time to a cell on two CPU cores."""

from collections.abc import Iterator

import pandas as pd
from said_of_table1 import three

from amint_core.locations import project_root
from amint_core.report.names import model_title

FILE = project_root() / "results" / "benchmarks" / "speedrun.csv"


def of_rows() -> Iterator[str]:
    """Yield a row for each run."""
    for _, row in pd.read_csv(FILE).iterrows():
        figures = [three(row[name]) for name in ("calibrated", "auc", "tpr at 0.01", "audited")]
        processor = ", ".join(row["hardware"].split(", ")[:-1])  # without the number of threads
        yield (
            f"| {model_title(row['model'])} | {processor} | {row['seconds'] / 60:.1f} | "
            f"{' | '.join(figures)} | "
            f"{row['figures aimed at']} in {row['minutes aimed at']} | "
            f"{row['published seconds'] / 3600:.1f} | {row['times quicker']:.0f} |"
        )


SOURCES = (of_rows,)

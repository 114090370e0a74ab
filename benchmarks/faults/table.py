"""Count trials by kind, and write the table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from amint_core.files import write_text
from benchmarks.faults.trial import OUTCOMES
from benchmarks.machine import machine


def counted(rows: pd.DataFrame) -> pd.DataFrame:
    """Count trials, kills and outcomes by kind, and in all."""
    table = pd.crosstab(rows["kind"], rows["outcome"]).reindex(columns=OUTCOMES, fill_value=0)
    table = table.reindex(rows["kind"].unique())
    table.insert(0, "trials", table.sum(axis=1))
    table.insert(1, "kills", rows.groupby("kind")["kills"].sum())
    table.loc["all"] = table.sum()
    return table.rename_axis("kind").reset_index()


def by_job(rows: pd.DataFrame) -> pd.DataFrame:
    """Count the trials and kills of each job; what is handed out is only read."""
    table = (
        rows.replace({"job": {"": "none"}})
        .groupby("job", sort=False)
        .agg(
            trials=("kills", "size"),
            kills=("kills", "sum"),
            survived=("outcome", lambda found: int((found == "survived").sum())),
        )
    )
    return table.reset_index()


def write(rows: pd.DataFrame, planned: int, minutes: float, folder: Path) -> str:
    """Write the counts as CSV, and everything as Markdown; return the latter."""
    on, table, odd = machine("cpu"), counted(rows), rows[rows["outcome"] != "survived"]
    skipped = f", of {planned} planned" if planned > len(rows) else ""
    text = (
        f"{len(rows)} trials{skipped}, {int(rows['kills'].sum())} kills, in {minutes:.1f} minutes "
        f"on {on['device']} ({on['cores']} cores), commit {(on['commit'] or 'unknown')[:7]}"
        f"{' with changes' if on['changed'] else ''}. Runs of the model tiny on made-up digits; "
        "outcomes as in benchmarks/faults/__init__.py.\n\n"
        f"{table.to_markdown(index=False)}\n\n{by_job(rows).to_markdown(index=False)}\n\n"
    )
    columns = ["kind", "job", "detail", "outcome"]
    text += odd[columns].to_markdown(index=False) if len(odd) else "Every trial survived."
    write_text(folder / "faults.csv", table.to_csv(index=False))
    write_text(folder / "faults.md", text + "\n")
    return text

"""Results as JSON, CSV and Markdown, with the machine and each target's outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from amint_core.batch.planning import busy
from amint_core.files import atomic_path, write_json, write_text
from amint_core.report.names import model_title
from amint_core.report.style import save
from benchmarks.chart import draw
from benchmarks.configurations import HEAD, HEAD_CASE, MEMORY, PRICE_OVER_FLOOR


def write_all(results: dict[str, Any], folder: Path, name: str) -> None:
    """Write `name`.json, .md, .csv, .png and .svg into `folder`."""
    write_json(folder / f"{name}.json", results)
    write_text(folder / f"{name}.md", markdown(results))
    with atomic_path(folder / f"{name}.csv") as temporary:
        pd.DataFrame(results["steps"]).to_csv(temporary, index=False)
    if results["steps"]:
        save(draw(results), folder / name)


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare the figures with the project's targets; one row each, met or not and by how much."""
    rows = []
    for row in results["steps"]:
        case = f"{model_title(row['model'])} {row['image_size']}×{row['image_size']}"
        if row["target"]:
            rows.append(
                _target(f"{case}: times faster than published", row["speedup"], row["target"], True)
            )
        if row["device"] == "cpu":
            rows.append(
                _target(f"{case}: price over its floor", row["price_over_floor"], PRICE_OVER_FLOOR)
            )
            rows.append(_target(f"{case}: peak memory of published", row["memory"], MEMORY))
        if (row["model"], row["image_size"]) == HEAD_CASE:
            rows.append(_target(f"{case}: head's share of a step", row["head_time"], HEAD))
    return rows


def _target(what: str, found: float, target: float, more_is_better: bool = False) -> dict[str, Any]:
    short = (target - found if more_is_better else found - target) / target
    outcome = "met" if short <= 0 else f"missed by {100 * short:.0f} %"
    sign = "≥" if more_is_better else "≤"
    return {"target": what, "found": f"{found:.3g}", "wanted": f"{sign} {target:g}", "": outcome}


def markdown(results: dict[str, Any]) -> str:
    """Return all tables with what they were measured on."""
    found, matrix = results["machine"], results["matrix"]
    marks = f", at commit {found['commit'][:7]}" if found.get("commit") else ""
    marks += busy.warning(results["others"])
    parts = [
        f"Measured on {found['device']} ({found['cores']} cores, {found['memory_gib']} GiB), "
        f"PyTorch {found['versions']['torch']}; matrix products {matrix['fp32'] / 1e9:,.0f} "
        f"GFLOP/s in fp32, {matrix['bf16'] / 1e9:,.0f} in bf16{marks}. "
        "Ratios are medians of interleaved pairs in one run, with the least and the largest pair "
        "behind them. Images are made up.",
        "## Steps",
        _table([_step(row) for row in results["steps"]]),
        "Batch: members, and as many external images. Price: active training against training the "
        "audited model alone; its floor counts operations, 1 + s·|E|/|D| + h. Memory: peak of the "
        "training process, without and with what the imported libraries take, against the "
        "published loop's (its two loading processes left out). Matrix share: of the machine's "
        "fastest matrix product.",
        "## Targets",
        _table(targets(results)),
    ]
    for section, title in (
        ("loading", "Loading, images per second"),
        ("growth", "Growth"),
        ("shadows", "Shadow models side by side"),
    ):
        parts += [f"## {title}", _table([_rounded(row) for row in results[section]])]
    return "\n\n".join(parts) + "\n"


#: Column of the table of steps → how a row of the results is told in it.
_STEP = {
    "image": "{image_size}",
    "batch": "{batch}",
    "ours in": "{active_precision}",
    "published, s": "{published_seconds:.3g}",
    "ours, s": "{active_seconds:.3g}",
    "times faster": "{speedup:.2f} ({speedup_low:.2f}–{speedup_high:.2f})",
    "price": "{price:.2f} ({price_low:.2f}–{price_high:.2f})",
    "floor": "{floor:.2f}",
    "head: operations": "{head_flops:.1%}",
    "head: time": "{head_time:.1%}",
    "images/s": "{images_per_second:,.0f}",
    "matrix share": "{matrix_share:.0%}",
    "published, MiB": "{published_mib:,.0f}",
    "ours, MiB": "{active_mib:,.0f}",
    "memory": "{memory:.2f}",
    "with libraries": "{process_memory:.2f}",
    "scored/s": "{scored_per_second:,.0f}",
    "scoring, times faster": "{scoring:.2f} ({scoring_low:.2f}–{scoring_high:.2f})",
}


def _step(row: dict[str, Any]) -> dict[str, str]:
    sizes = {f"{kind}_mib": row[f"{kind}_bytes"] / 2**20 for kind in ("published", "active")}
    told = {column: text.format(**row, **sizes) for column, text in _STEP.items()}
    return {"model": model_title(row["model"]), **told}


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: format(v, ",.3g" if v < 100 else ",.0f") if isinstance(v, float) else v
        for name, v in row.items()
    }


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "Not measured."
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)

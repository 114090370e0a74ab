"""Results as JSON, CSV and Markdown, with the machine and each target's outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from amint_core.batch.planning import busy
from amint_core.files import atomic_path, write_json, write_text
from amint_core.report.style import model_title, save
from benchmarks.chart import draw
from benchmarks.configurations import HEAD, HEAD_CASE, MEMORY, PRICE_OVER_FLOOR

MIB = 2**20


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
    parts = [
        f"Measured on {_machine(results)}{_commit(results)}{busy.warning(results['others'])}. "
        "Ratios are medians of interleaved pairs in one run, with the least and the largest pair "
        "behind them. Images are made up.",
        "## Steps",
        _steps(results["steps"]),
        "Batch: members, and as many external images. Price: active training against training the "
        "audited model alone; its floor counts operations, 1 + s·|E|/|D| + h. Memory: peak of the "
        "training process, without and with what the imported libraries take, against the "
        "published loop's (its two loading processes left out). Matrix share: of the machine's "
        "fastest matrix product.",
        "## Targets",
        _table(targets(results)),
        "## Loading, images per second",
        _table([_rounded(row) for row in results["loading"]]),
        "## Growth",
        _table([_rounded(row) for row in results["growth"]]),
        "## Shadow models side by side",
        _table([_rounded(row) for row in results["shadows"]]),
    ]
    return "\n\n".join(parts) + "\n"


def _commit(results: dict[str, Any]) -> str:
    commit = results["machine"].get("commit")
    return f", at commit {commit[:7]}" if commit else ""


def _machine(results: dict[str, Any]) -> str:
    found, matrix = results["machine"], results["matrix"]
    return (
        f"{found['device']} ({found['cores']} cores, {found['memory_gib']} GiB), PyTorch "
        f"{found['versions']['torch']}; matrix products {matrix['fp32'] / 1e9:,.0f} GFLOP/s in "
        f"fp32, {matrix['bf16'] / 1e9:,.0f} in bf16"
    )


def _steps(rows: list[dict[str, Any]]) -> str:
    return _table(
        [
            {
                "model": model_title(row["model"]),
                "image": row["image_size"],
                "batch": row["batch"],
                "ours in": row["active_precision"],
                "published, s": f"{row['published_seconds']:.3g}",
                "ours, s": f"{row['active_seconds']:.3g}",
                "times faster": _ratio(row, "speedup"),
                "price": _ratio(row, "price"),
                "floor": f"{row['floor']:.2f}",
                "head: operations": f"{row['head_flops']:.1%}",
                "head: time": f"{row['head_time']:.1%}",
                "images/s": f"{row['images_per_second']:,.0f}",
                "matrix share": f"{row['matrix_share']:.0%}",
                "published, MiB": f"{row['published_bytes'] / MIB:,.0f}",
                "ours, MiB": f"{row['active_bytes'] / MIB:,.0f}",
                "memory": f"{row['memory']:.2f}",
                "with libraries": f"{row['process_memory']:.2f}",
                "scored/s": f"{row['scored_per_second']:,.0f}",
                "scoring, times faster": _ratio(row, "scoring"),
            }
            for row in rows
        ]
    )


def _ratio(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.2f} ({row[name + '_low']:.2f}–{row[name + '_high']:.2f})"


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: f"{v:,.3g}"
        if isinstance(v, float) and v < 100
        else f"{v:,.0f}"
        if isinstance(v, float)
        else v
        for name, v in row.items()
    }


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "Not measured."
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)

"""The paper's Table 1 beside ours: sheets and one figure, from the saved runs alone.

`amint report --profile table1` writes results/table1/tables/table1.{csv,md} and
results/table1/figures/table1.{png,svg}. A cell has the paper's own judgement (threshold .5, the
official test images as non-members), the same at a calibrated threshold, the strict one, and the
audited accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from amint_core.config import RunConfig, settings_of
from amint_core.errors import ResultsError
from amint_core.locations import shown
from amint_core.report import paper
from amint_core.report.averages import DATA
from amint_core.report.checked import damaged, in_short, is_number, is_text
from amint_core.report.names import setup_title
from amint_core.report.read import (
    all_settings,
    copied_in,
    is_timed,
    require_own_name,
    said_of_copies,
)
from amint_core.report.render import short
from amint_core.store import finished_runs, run_json, run_manifest

METHODS = {
    "attached": "Attached: a model trained as usual, then a head",
    "active": "Active: trained together with its head, then the head alone",
}
DATASETS = {name: paper.DATASETS[name] for name in dict.fromkeys(key[0] for key in paper.TABLE1)}
ABOVE, WITHIN, BELOW, NOT_REACHED = VERDICTS = ("above", "within", "below", "not reached")
TEXTS = ("dataset", "setup", "model", "method", "run", "data", "hardware", "title")
TEXTS += ("copied_in", "code", "commit")
#: Column of verdicts → ours, the paper's, and the title in the count of cells.
COMPARED = {
    "mint_verdict": ("mint_paper", "paper_mint", "MINT, as the paper judges"),
    "mint_paper_calibrated_verdict": (
        "mint_paper_calibrated",
        "paper_mint",
        "MINT, on the paper's images, calibrated threshold",
    ),
    "audited_verdict": ("audited", "paper_audited", "Audited"),
}
#: What names a cell.
KEY = ["dataset", "setup", "model"]


def read(root: Path) -> pd.DataFrame:
    """Return one row per saved run: its settings that matter, and its numbers.

    Raises:
        ResultsError: there is none, they are not of a timed grid, a file of one is damaged (named),
            or runs of one cell differ in more than their seed, or in their images.
    """
    files = finished_runs(root, f"amint grid --profile {root.name}")
    if not is_timed(root):
        raise ResultsError(
            f"{shown(root)} holds no runs of a timed grid, which alone have these sheets. The "
            f"notebook aMINTResults shows the tables of {root.name}."
        )
    found = [_checked(file) for file in files]
    runs = pd.DataFrame([row for row, _ in found])
    for _, own in runs[_in_cells(runs)].groupby([*KEY, "method"]):
        _require_seeds_alone({run: found[place][1] for place, run in own["run"].items()})
    return runs


def _in_cells(runs: pd.DataFrame) -> pd.Series:
    """Tell which runs belong to a cell of the paper's."""
    known = pd.Series([key in paper.TABLE1 for key in zip(*map(runs.get, KEY), strict=True)])
    return known.set_axis(runs.index) & runs["method"].isin(list(METHODS))


def _require_seeds_alone(runs: Mapping[str, dict[str, Any]]) -> None:
    """Refuse runs of one cell whose mean would be one of different settings or images.

    Args:
        runs: run → its settings, and `data.fingerprint`.

    Raises:
        ResultsError: they are such.
    """
    alike = [name for name in RunConfig.model_fields if name not in settings_of("averaged", "name")]
    alike.append("data.fingerprint")
    (first, mine), *others = runs.items()
    for other, its in others:
        for name in alike:
            if mine[name] != its[name]:
                raise ResultsError(
                    f"{first} and {other} are of one cell of Table 1, and differ in {name} "
                    f"({in_short(mine[name])}, {in_short(its[name])}): their mean would be of "
                    "neither. Run each with a --profile of its own, and move one of them there."
                )


def _checked(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a run's row, and its settings with `data.fingerprint`.

    The row's texts are texts, all else are numbers or missing.
    """
    metrics = run_json(file)
    try:
        row, settings = _row(metrics), all_settings(metrics)
        settings["data.fingerprint"] = metrics["data"]["fingerprint"]
    except (AttributeError, KeyError, TypeError) as error:
        raise damaged(file, f"lacks a part of what a timed grid writes ({error!r})") from error
    manifest = run_manifest(file.parent)
    row["code"], row["commit"] = manifest.get("code", ""), _commit(manifest.get("git"))
    for name, value in row.items():
        fits = is_text if name in TEXTS else is_number
        if not fits(value) and not (value is None and name not in TEXTS):
            raise damaged(file, f"has {name} = {in_short(value)}")
    require_own_name(row["run"], file)
    return row, settings


def _commit(git: Any) -> str:
    """Return the commit that a run was made at, in short; with a + if files were changed since."""
    if not isinstance(git, dict) or not isinstance(git.get("commit"), str):
        return "unknown"
    return git["commit"][:12] + ("+" if git.get("changed") else "")


def _row(metrics: dict[str, Any]) -> dict[str, Any]:
    settings, training, data = metrics["run"]["settings"], metrics["training"], metrics["data"]
    mint, judged = metrics["mint"] or {}, metrics["paper"] or {}
    rates = mint.get("tpr_at_fpr", {})
    named = ("dataset", "setup", "model", "method", "seed", "epochs", "head_epochs", "batch_size")
    return {
        **{name: settings[name] for name in named},
        "setup": setup_title(settings),
        "run": metrics["run"]["id"],
        "data": DATA[data["source"]],
        "title": data.get("title", settings["dataset"]),
        "copied_in": copied_in(metrics),
        "members": data["sizes"]["members"],
        "external": data["sizes"]["external"],
        "image_size": data["image_size"],
        "mint_paper": _value(judged.get("accuracy")),
        "mint_paper_calibrated": _value(judged.get("accuracy_calibrated")),
        "mint_calibrated": _value(mint.get("accuracy_calibrated")),
        "auc": _value(mint.get("auc")),
        "tpr_at_1pct": _value(rates.get("0.01")),
        "tpr_at_01pct": _value(rates.get("0.001")),
        "false_positives": _value(mint.get("false_positives")),
        "false_positives_without_twins": _value(
            mint.get("without_near_twins", {}).get("false_positives")
        ),
        "audited": _value(metrics["audited"]["accuracy"]),
        "audited_on_members": _value(metrics["audited"]["on_members"]),
        "seconds_trunk": training["seconds_trunk"],
        "seconds_head": training["seconds_head"],
        "hardware": training["hardware"],
    }


def _value(metric: dict[str, Any] | None) -> float | None:
    return None if metric is None else metric["value"]


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per cell of the paper and method of `METHODS`, reached or not.

    Several seeds: their mean, with `seeds` and `mint_spread`, the standard deviation of the
    calibrated accuracy.
    """
    rows = []
    # Of single runs; where it matters, it is said above the sheets.
    runs = runs.drop(columns=["title", "copied_in", "code"])
    for method in METHODS:
        own = runs[runs["method"] == method]
        for dataset, setup, model in paper.TABLE1:
            chosen = own[(own[KEY] == [dataset, setup, model]).all(axis=1)]
            printed = paper.TABLE1[dataset, setup, model]
            given = {"dataset": dataset, "setup": setup, "model": model, "method": method}
            given |= {"paper_mint": printed.mint, "paper_audited": printed.audited}
            rows.append({**_mean(chosen), **given, "seeds": len(chosen)})
    table = pd.DataFrame(rows)
    # Where no cell is reached, the columns are there all the same.
    table = table.reindex(columns=dict.fromkeys([*table, *runs, "mint_spread"]))
    for name, (ours, theirs, _) in COMPARED.items():
        table[name] = [verdict(*pair) for pair in zip(table[ours], table[theirs], strict=True)]
    first = [*KEY, "method", "seeds", "mint_paper", "paper_mint", "mint_verdict"]
    first += ["mint_paper_calibrated", "mint_paper_calibrated_verdict", "mint_calibrated"]
    first += ["audited", "paper_audited", "audited_verdict"]
    return table[[*first, *(name for name in table if name not in first)]]


def _mean(runs: pd.DataFrame) -> dict[str, Any]:
    if not len(runs):
        return {}
    numbers = runs.select_dtypes("number").mean().to_dict()
    spread = runs["mint_calibrated"].std() if len(runs) > 1 else None
    texts = {name: runs[name].iloc[0] for name in ("run", "data", "hardware")}
    texts["commit"] = _named(runs["commit"])
    return numbers | texts | {"mint_spread": spread}


def verdict(ours: float | None, theirs: float) -> str:
    """Say where our value stands, by the published noise."""
    if ours is None or pd.isna(ours):
        return NOT_REACHED
    difference = round(ours - theirs, 9)
    return WITHIN if abs(difference) <= paper.NOISE else ABOVE if difference > 0 else BELOW


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Count a method's cells by verdict."""
    rows = {}
    for method, own in table.groupby("method", sort=False):
        for column, (_, _, title) in COMPARED.items():
            found = own[column].value_counts()
            rows[f"{method}: {title}"] = {name: int(found.get(name, 0)) for name in VERDICTS}
    return pd.DataFrame.from_dict(rows, orient="index")


def as_printed(row: pd.Series) -> str:
    """Write a cell as the paper does: ours MINT/audited, in brackets the paper's."""
    theirs = f"({short(row['paper_mint'], 2)}/{short(row['paper_audited'], 2)})"
    if row["mint_verdict"] == NOT_REACHED:
        return f"– {theirs}"
    return f"{short(row['mint_paper'], 2)}/{short(row['audited'], 2)} {theirs}"


def calibrated(row: pd.Series) -> str:
    """Write a cell's MINT accuracy at the calibrated threshold, in brackets the paper's at .5."""
    ours = short(row["mint_paper_calibrated"], 2) or "–"
    return f"{ours} ({short(row['paper_mint'], 2)})"


def strict(row: pd.Series) -> str:
    """Write a cell's strict judgement likewise: calibrated accuracy, TPR at 1 % in brackets."""
    if row["mint_verdict"] == NOT_REACHED:
        return "–"
    return f"{short(row['mint_calibrated'])} ({short(row['tpr_at_1pct'], 2)})"


def laid_out(table: pd.DataFrame, method: str, write: Callable[[pd.Series], str]) -> pd.DataFrame:
    """Return a row per dataset and setup, a column per model, as the paper's Table 1."""
    own = table[table["method"] == method].set_index(KEY)
    return pd.DataFrame(
        [
            {"Dataset": title, "Setup": setup}
            | {
                name: write(own.loc[(dataset, setup, model)])
                for model, name in paper.MODELS.items()
            }
            for dataset, title in DATASETS.items()
            for setup in paper.SETUPS
        ]
    )


def sizes(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the second sheet: sizes, epochs, seconds, by dataset, method and model."""
    given = ("members", "external", "image_size", "batch_size", "epochs", "head_epochs")
    found = ("seconds_trunk", "seconds_head", "audited", "audited_on_members")
    columns = dict.fromkeys(given, _distinct) | dict.fromkeys(found, "mean")
    columns["commit"] = _named
    order = {name: place for place, name in enumerate([*DATASETS, *METHODS, *paper.MODELS])}
    with_head = runs[runs["method"].isin(list(METHODS))]
    table = with_head.groupby(["dataset", "method", "model"], as_index=False).agg(columns)
    table = table.sort_values(
        ["dataset", "method", "model"], key=lambda names: names.map(order).fillna(99)
    )
    return table[["dataset", "method", "model", *columns]].reset_index(drop=True)


def _distinct(values: pd.Series) -> str:
    """Write all values of a setting: a mean of 10 and 16 epochs would be one that no run had."""
    return ", ".join(f"{value:.15g}" for value in sorted(values.dropna().unique()))


def _named(values: pd.Series) -> str:
    """Name all of some texts, each once."""
    return ", ".join(sorted(values.unique()))


def others(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of no cell: loss attack, λ = 0, ConvNet, taps of one's own."""
    columns = ["dataset", "model", "setup", "method", "seed", "epochs", "audited"]
    columns += ["audited_on_members", "mint_paper", "mint_calibrated", "auc", "tpr_at_1pct"]
    return runs.loc[~_in_cells(runs), columns].sort_values(columns[:5]).reset_index(drop=True)


def images(table: pd.DataFrame) -> str:
    """Say where the images of runs or cells come from."""
    made_up = table["data"] == DATA["standin"]
    if not made_up.any():
        return "real images"
    if made_up[table["data"].notna()].all():
        return "STAND-IN images"
    names = (DATASETS.get(name, name) for name in table.loc[made_up, "dataset"].unique())
    return f"real images (STAND-IN: {', '.join(names)})"


def said_of_code(runs: pd.DataFrame) -> str:
    """Say in a sentence which cells are means over seeds that different code made; or nothing.

    A grid that goes on keeps what another version finished.
    """
    of_cells = runs[_in_cells(runs)].groupby([*KEY, "method"])["code"].nunique()
    mixed = [" ".join(cell) for cell, codes in of_cells.items() if codes > 1]
    return f" Seeds made by different code are averaged in: {', '.join(mixed)}." if mixed else ""


def document(runs: pd.DataFrame, table: pd.DataFrame) -> str:
    """Return all sheets as Markdown."""
    hardware = ", ".join(sorted(runs["hardware"].unique()))
    parts = [
        f"# Table 1 on {images(runs)}\n\n"
        f"{len(runs)} runs on {hardware}. MINT / audited accuracy, the paper's in brackets. MINT "
        "as the paper judges it: probability .5, all members against the official test images "
        "(Tiny ImageNet: validation). The calibrated threshold is chosen on half of the members "
        "and on calibration images, which nothing else is done with, and judged on the other half "
        "and the same test images. A dash: not reached. The published noise is "
        f"±{paper.NOISE:.2f}: '{WITHIN}' means no farther from the printed value."
        + said_of_copies(runs)
        + said_of_code(runs),
        _markdown("Cells by verdict", counts(table).reset_index(names="Method")),
    ]
    for method, title in METHODS.items():
        reached = int((table.loc[table["method"] == method, "mint_verdict"] != NOT_REACHED).sum())
        title = f"{title} ({reached} of {len(paper.TABLE1)} cells)"
        parts.append(_markdown(title, laid_out(table, method, as_printed)))
        parts.append(
            _markdown(
                f"{title}: MINT on the paper's images at a calibrated threshold (the paper's at "
                "probability .5)",
                laid_out(table, method, calibrated),
            )
        )
        parts.append(
            _markdown(
                f"{title}: strict. Calibrated MINT accuracy (TPR at 1 % FPR), judged on holdout "
                "images from the members' own pool",
                laid_out(table, method, strict),
            )
        )
    several = table[table["seeds"] > 1]
    if len(several):
        columns = [*KEY, "method", "seeds", "mint_calibrated", "mint_spread", "audited"]
        parts.append(_markdown("Cells with several seeds", several[columns], ".4f"))
    parts.append(_markdown("Beside the paper's cells", others(runs), ".3f"))
    parts.append(_markdown("Sizes, epochs, seconds", sizes(runs), ".2f"))
    return "\n\n".join(parts) + "\n"


def _markdown(title: str, table: pd.DataFrame, digits: str = ".3f") -> str:
    known = table.astype(object).where(table.notna(), None)  # a dash stands for None alone
    text = known.to_markdown(index=False, floatfmt=digits, missingval="–", disable_numparse=False)
    return f"## {title}\n\n{text}"

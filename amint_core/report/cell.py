"""One cell of the paper's Table 1, closely: a saved run of a timed grid, and how it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amint_core.config import only_given
from amint_core.errors import ResultsError, SettingsError, unknown_name
from amint_core.evaluation.both_judgements import read_scores
from amint_core.evaluation.judge import PAPER_THRESHOLD
from amint_core.locations import shown
from amint_core.report import paper
from amint_core.report.render import measured, short
from amint_core.report.sheets import METHODS
from amint_core.report.style import BLACK, GREY, ROLES, headed, styled
from amint_core.store import run_json

#: Whose scores are drawn, by role; of members the half that no threshold was chosen on.
DRAWN = {"members": "members", "test": "official test images", "holdout": "holdout images"}


@dataclass(frozen=True)
class Cell:
    """What names a run of a timed grid."""

    dataset: str
    setup: str
    model: str
    method: str
    seed: int = 0

    @classmethod
    def of(cls, namespace: Mapping[str, Any]) -> Cell:
        """Return the cell that a notebook's `globals()` name, beside its `profile`.

        Raises:
            SettingsError: a parameter does not exist, or the table has no such method.
        """
        names = [field.name for field in fields(cls)]
        given = only_given(namespace, [*names, "profile"])
        if given["method"] not in METHODS:
            raise SettingsError(unknown_name("method of the table", given["method"], METHODS))
        return cls(**{name: given[name] for name in names})


@dataclass(frozen=True)
class Closely:
    """A saved run.

    Attributes:
        title: the dataset's (stand-in data says so), the model's, the setup and the method.
        metrics: as in its metrics.json.
        scores: (N,) rows of judged and other images, see `evaluation/both_judgements.py`.
        printed: the MINT accuracy that the paper prints for the cell; None: it has none.
    """

    title: str
    metrics: dict[str, Any]
    scores: pd.DataFrame
    printed: float | None


def read(folder: Path, runs: pd.DataFrame, cell: Cell) -> Closely:
    """Read the run of a cell.

    Args:
        folder: results/<profile>.
        runs: the profile's, as `sheets.read` returns them.

    Raises:
        ResultsError: there is no such run, or it tests nothing.
        DamagedError: a file is not what the run wrote.
    """
    chosen: list[str] = []
    for name, value in asdict(cell).items():
        there = sorted(runs[name].unique())
        if value not in there:
            of = f" for {', '.join(chosen)}" if chosen else ""
            raise ResultsError(
                f"{shown(folder)} has no run with {name} = {value!r}{of}. There are: "
                f"{', '.join(map(str, there))}."
            )
        chosen.append(str(value))
        runs = runs[runs[name] == value]
    row = runs.iloc[0]
    run = folder / "runs" / row["run"]
    metrics = run_json(run / "metrics.json")
    if not metrics["mint"]:
        raise ResultsError(f"{row['run']} tests no membership: choose another method.")
    printed = paper.TABLE1.get((cell.dataset, cell.setup, cell.model))
    model = paper.MODELS.get(cell.model, cell.model)
    return Closely(
        f"{row['title']} · {model} · {cell.setup} · {cell.method}",
        metrics,
        read_scores(folder, run, metrics["data"]["split_file"]),
        printed.mint if printed else None,
    )


def judgements(run: Closely) -> pd.DataFrame:
    """Return a row per judgement of the same scores, with 95 % intervals."""
    mint, as_paper = run.metrics["mint"], run.metrics["paper"] or {}
    chosen, calibrated = mint.get("threshold_calibrated"), "accuracy_calibrated"
    rows = [
        ("the paper's", DRAWN["test"], PAPER_THRESHOLD, as_paper.get("accuracy")),
        ("calibrated", DRAWN["test"], chosen, as_paper.get(calibrated)),
        ("strict", DRAWN["holdout"], chosen, mint.get(calibrated)),
    ]
    return pd.DataFrame(
        [
            {
                "judgement": name,
                "non-members": others,
                "threshold (logit)": threshold,
                "MINT accuracy": measured(**value) if value else "–",
            }
            for name, others, threshold, value in rows
        ]
    ).set_index("judgement")


@styled
def draw(run: Closely) -> Figure:
    """Draw where the scores lie, and what each threshold would make of them.

    Left: scores of members and of both kinds of non-members. Right: MINT accuracy against the
    official test images and against holdout images at every threshold. Lines stand at probability
    .5 and at the calibrated threshold.
    """
    drawn = run.scores[run.scores["judged"] | (run.scores["role"] != "members")]
    scores = {role: drawn.loc[drawn["role"] == role, "score"].to_numpy() for role in DRAWN}
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
    headed(figure, run.title)
    everything = np.concatenate(list(scores.values()))
    bins = np.linspace(*np.quantile(everything, [0.001, 0.999]), 60)
    for role, values in scores.items():
        if len(values):
            look = {"bins": bins, "density": True, "color": ROLES[role], "histtype": "step"}
            left.hist(values, label=f"{DRAWN[role]} ({len(values):,})", lw=1.5, **look)
    thresholds = np.linspace(bins[0], bins[-1], 400)
    for role in ("test", "holdout"):
        if len(scores[role]):
            accuracies = _at_every(thresholds, scores["members"], scores[role])
            right.plot(thresholds, accuracies, color=ROLES[role], label=DRAWN[role])
    if run.printed is not None:
        label = f"the paper's cell ({short(run.printed, 2)})"
        right.axhline(run.printed, color=GREY, ls=":", lw=1.5, label=label)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "ncol": 2}
    right.legend(**below)
    for axes in (left, right):
        _thresholds(axes, run.metrics["mint"].get("threshold_calibrated"))
        axes.set_xlabel("membership logit")
    left.legend(**below)
    left.set(title="Scores", ylabel="density")
    right.set(title="MINT accuracy at every threshold, by non-members", ylabel="MINT accuracy")
    return figure


def _at_every(thresholds: np.ndarray, members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (T,) accuracies at (T,) thresholds: the mean of both sides' own."""
    missed, passed = (
        np.searchsorted(np.sort(side), thresholds, "right") / len(side)
        for side in (members, others)
    )
    return (1 - missed + passed) / 2


def _thresholds(axes: Axes, calibrated: float | None) -> None:
    axes.axvline(PAPER_THRESHOLD, color=BLACK, lw=1.2, label="probability .5")
    if calibrated is not None:
        label = f"calibrated ({calibrated:.3g})"
        axes.axvline(calibrated, color=BLACK, lw=1.2, ls="--", label=label)

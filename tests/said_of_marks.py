"""The lines of docs/marks.md that hold measured numbers, from results/audit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from said_of_audit import percent, table
from scipy import stats

#: The seed that amplitude, draws and way of asking were chosen on, and no other figure is of.
DESIGN_SEED = 100
EPOCHS, FEWER = 30, (2, 5)
PREDICTED_P, PREDICTED_COST = 1e-4, 0.01


def judged() -> pd.DataFrame:
    """Return the rows of models that nothing was chosen by."""
    rows = table("marks")
    return rows[rows["seed"] != DESIGN_SEED]


def models(size: int, trained: str, share: float, epochs: int = EPOCHS) -> pd.DataFrame:
    """Return the rows of one kind of model, a seed each."""
    rows = judged()
    wanted = {"image_size": size, "trained": trained, "share": share, "epochs": epochs}
    same = np.logical_and.reduce([rows[name] == value for name, value in wanted.items()])
    return rows[same].set_index("seed")


def costs(size: int, share: float) -> pd.Series:
    """Return by how much audited accuracy of each seed lies above that of its unmarked model."""
    marked, plain = (models(size, "as published", one)["accuracy on test"] for one in (share, 0.0))
    return (marked - plain).dropna()


def p_value(value: float) -> str:
    """Return a p-value as the page writes it."""
    return f"{value:.0e}".replace("e-0", "e-")


def of_shares() -> Iterator[str]:
    """Yield the rows of the table of shares, at both sizes."""
    rows = judged()
    whole = rows[(rows["trained"] == "as published") & (rows["epochs"] == EPOCHS)]
    shares = whole.groupby("image_size")["share"]
    for size, found in shares.unique().items():
        for share in sorted(found):
            rows = models(size, "as published", share)
            accuracy = percent(rows["accuracy on test"].mean())
            if not share:
                yield f"| {size} | none | {len(rows)} | – | – | {accuracy} | – |"
                continue
            ranks = f"{rows['mean rank'].mean():.2f} | {p_value(rows['p'].max())}"
            change = f"{100 * costs(size, share).mean():+.1f} points"
            marked = f"{percent(share, 0)}, {rows['marked'].iloc[0]:.0f} images"
            yield f"| {size} | {marked} | {len(rows)} | {ranks} | {accuracy} | {change} |"


def of_predictions() -> Iterator[str]:
    """Yield what became of the predictions."""
    rows = judged()
    tenth = rows[(rows["share"] == 0.1) & (rows["trained"] == "as published")]
    below = int((tenth["p"] < PREDICTED_P).sum())
    yield f"p below 1e-4 with 10 % marked: in {below} of {len(tenth)} models"
    change = costs(16, 0.1)
    low, high = stats.t.interval(0.95, len(change) - 1, change.mean(), stats.sem(change))
    mean, low, high = (f"{100 * one:+.1f}" for one in (change.mean(), low, high))
    within = int((change.abs() <= PREDICTED_COST).sum())
    yield f"{mean} points [{low}, {high}] over {len(change)} seeds, within one point in {within}"
    least, most = (f"{100 * one:+.1f}" for one in (change.min(), change.max()))
    yield f"from {least} to {most}"


def of_strangers() -> Iterator[str]:
    """Yield how often owners whose marks no model saw have low p-values."""
    rows = table("marks_strangers")
    yield f"{len(rows)} owners of 20 images each"
    for level in (0.01, 0.05):
        yield f"at most {percent(level, 0)} for {percent((rows['p'] <= level).mean())}"
    low = stats.kstest(rows["p"], "uniform", alternative="greater").pvalue
    yield f"test that low ones are no more frequent than they should be has p = {low:.2f}"
    yield f"in steps of up to {percent(np.diff(steps()).max())}"
    both = stats.kstest(rows["p"], "uniform").pvalue
    yield f"two-sided against a p without steps it has p = {both:.2g}"
    yield f"χ² over ten parts of the counted distribution has p = {by_parts(rows['p']):.2f}"


def steps() -> np.ndarray:
    """Return all p-values, from the lowest, that 20 ranks among 16 versions can have."""
    images, versions = 20, 16
    ways = np.ones(1)
    for _ in range(images):
        ways = np.convolve(ways, np.full(versions, 1 / versions))
    return ways.cumsum()


def by_parts(p: pd.Series) -> float:
    """Return the p-value of χ² on ten parts, about equally likely, of what p can be."""
    ends = steps()[np.searchsorted(steps(), np.arange(0.1, 0.95, 0.1))]
    part = np.searchsorted(ends, p.to_numpy() * (1 - 1e-3))  # four digits of p are kept
    expected = np.diff(np.r_[0, ends, 1]) * len(p)
    return float(stats.chisquare(np.bincount(part, minlength=10), expected).pvalue)


def of_treatments() -> Iterator[str]:
    """Yield the rows of the table of what was done with the images before training."""
    for trained in ("as published", "flip and shift", "JPEG"):
        rows = models(16, trained, 0.05)
        cells = [p_value(rows[f"p{how}"].max()) for how in ("", " with mirror")]
        yield f"| {trained} | {len(rows)} | {rows['mean rank'].mean():.2f} | {' | '.join(cells)} |"


def of_epochs() -> Iterator[str]:
    """Yield the rows of the table of models that learnt less by heart."""
    for epochs in (*FEWER, EPOCHS):
        rows = models(16, "as published", 0.05, epochs)
        right = (percent(rows[f"accuracy on {role}"].mean()) for role in ("members", "test"))
        worst = p_value(rows["p"].max())
        told = " | ".join(right)
        yield f"| {epochs} | {len(rows)} | {told} | {rows['mean rank'].mean():.2f} | {worst} |"


def of_design() -> Iterator[str]:
    """Yield the rows of the table that the design was chosen by."""
    rows = table("marks")
    for row in rows[rows["seed"] == DESIGN_SEED].to_dict("records"):
        cells = [p_value(row[f"p{how}"]) for how in ("", " with mirror")]
        yield (
            f"| {row['drawn by']} | {row['amplitude']}, {row['psnr']:.0f} dB | "
            f"{percent(row['share'], 0)} | {row['trained']} | {row['mean rank']:.2f} | "
            f"{' | '.join(cells)} |"
        )


def of_sizes() -> Iterator[str]:
    """Yield what the runs were and took."""
    rows = table("marks")
    yield f"took {rows['cpu seconds'].sum() / 60:.0f} minutes of computing"
    rows = rows[rows["epochs"] == EPOCHS]
    right = rows["accuracy on members"].min()
    yield f"classify at least {np.floor(1000 * right) / 10:.1f} % of their members rightly"
    yield ", ".join(sorted({one.split(",")[0] for one in rows["hardware"]}))


LINES = (of_shares, of_predictions, of_strangers, of_treatments, of_epochs, of_design, of_sizes)

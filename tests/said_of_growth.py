"""What docs/two_stages.md says of results/growth: figures, seconds and disk by members."""

from collections.abc import Iterator
from functools import cache

import pandas as pd
import torch
from said_of_table1 import three

from amint_core.config import RunConfig
from amint_core.data import DATASETS
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.model import zoo
from amint_core.model.preflight import probe
from amint_core.run.recorded import DISK_BUDGET
from amint_core.run.staged import copies_of
from amint_core.training.activations import size_of

IMAGENET = 1_300_000  # members, in round numbers


@cache
def runs() -> pd.DataFrame:
    """A row per number of members: the head's figures, seconds of both stages, bytes recorded."""
    rows: dict[int, dict] = {}
    for file in (project_root() / "results" / "growth").glob("runs/*/metrics.json"):
        metrics = read_json(file)
        settings, seconds = RunConfig(**metrics["run"]["settings"]), metrics["training"]["seconds"]
        row = rows.setdefault(settings.members, {"external": settings.external})
        if settings.method == "plain":
            row["model"] = seconds
            continue
        mint = metrics["mint"]
        row |= {"head": seconds, "audited": metrics["audited"]["accuracy"]["value"]}
        row |= {"auc": mint["auc"]["value"], "calibrated": mint["accuracy_calibrated"]["value"]}
        row |= {"tpr": mint["tpr_at_fpr"]["0.01"]["value"], "bytes": _recorded(settings)}
        row["steps"] = settings.head_epochs * (settings.external // settings.head_batch)
    return pd.DataFrame.from_dict(rows, orient="index").sort_index()


def _recorded(settings: RunConfig) -> int:
    dataset = DATASETS[settings.dataset]
    side = settings.image_size or dataset.image_size
    audited = zoo.create(settings.model, dataset.channels, side, dataset.num_classes)
    taps = zoo.default_taps(settings.model, audited, settings.setup)
    shapes = probe(audited, list(taps), torch.zeros(2, dataset.channels, side, side))
    images = settings.members + settings.external * (1 + copies_of(settings))
    return size_of(shapes, images)


def of_rows() -> Iterator[str]:
    for members, row in runs().iterrows():
        figures = (three(row[name]) for name in ("auc", "calibrated", "tpr", "audited"))
        seconds = (f"{row[name]:.0f}" for name in ("model", "head"))
        yield (
            f"| {members:,} | {row['external']:,.0f} | {' | '.join(figures)} | "
            f"{' | '.join(seconds)} | {row['bytes'] / 2**30:.1f} |"
        )


def of_sentences() -> Iterator[str]:
    table = runs()
    few, many = table.loc[2_000], table.loc[20_000]
    yield f"ten passes are {few['steps']:.0f} steps for 2,000 members (TPR {three(few['tpr'])})"
    yield f"learns by heart and tells no others by (TPR {three(table.loc[40_000]['tpr'])})"
    share = IMAGENET / 20_000
    hours = (f"{many[name] * share / 3600:.0f}" for name in ("model", "head"))
    yield (
        "the model would take {} hours and the head {} on one such core, and the recording "
        "{:.0f} GiB, where the cache holds {:.0f} GiB".format(
            *hours, many["bytes"] * share / 2**30, DISK_BUDGET / 2**30
        )
    )


SOURCES = (of_rows, of_sentences)

"""The lines of docs/own_model.md that hold measured numbers, from results/audit."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from said_of_audit import table

NAMES = {"resnet18": "ResNet-18 (torchvision)", "vit": "ViT (timm)", "tutorial": "tutorial net"}


def share(value: float, digits: int = 3) -> str:
    """Return a share as the page writes it."""
    return f"{value:.{digits}f}".removeprefix("0")


def of_heads() -> Iterator[str]:
    """Yield the rows of the table of heads on a small model."""
    for row in table("own_heads").to_dict("records"):
        width = row["head_width"]
        asked = f"{width}" if str(width) == str(row["width"]) else f"{width}: {row['width']}"
        yield (
            f"| {row['verb']} | {asked} | {row['epochs']} | {share(row['auc'])} | "
            f"{share(row['tpr at 0.01'])} | {row['head share']:.1f} |"
        )


def of_attached() -> Iterator[str]:
    """Yield the rows of the table of models from elsewhere."""
    for row in table("attached").to_dict("records"):
        cells = [share(row[name]) for name in ("accuracy", "loss auc", "auc", "tpr at 0.01")]
        minutes = (f"{row[f'{part} seconds'] / 60:.1f}" for part in ("plain", "attach"))
        cells += [f"{row['members accused']} and {row['strangers accused']}", " + ".join(minutes)]
        yield f"| {NAMES[row['model']]} | {' | '.join(cells)} |"


def of_setting() -> Iterator[str]:
    """Yield how large the models from elsewhere were trained."""
    assert table("attached")["model"].is_unique
    (members,), (epochs,) = (table("attached")[name].unique() for name in ("members", "epochs"))
    yield f"{members:,} members, {epochs} epochs"


LINES = (of_heads, of_attached, of_setting)


def rows_of(verb: str) -> pd.DataFrame:
    """Return the heads that a verb made."""
    heads = table("own_heads")
    return heads[heads["verb"] == verb]

"""The lines of docs/own_model.md that hold measured numbers, from results/audit."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from said_of_audit import table


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
    """Yield what heads recognise of models from elsewhere."""
    rows = table("attached").set_index("model")
    (members,), (epochs,) = (rows[name].unique() for name in ("members", "epochs"))
    yield f"{members:,} members of CIFAR-10, {epochs} epochs, one seed"
    assert rows["weights unchanged"].all()
    for model, called in (("resnet18", "ResNet-18"), ("vit", "ViT")):
        row = rows.loc[model]
        right = (share(row[name]) for name in ("accuracy", "accuracy on members"))
        found = (share(row[name]) for name in ("auc", "tpr at 0.01", "loss auc"))
        minutes = (f"{row[f'{part} seconds'] / 60:.1f}" for part in ("plain", "attach"))
        yield f"| {called} | {' | '.join((*right, *found, *minutes))} |"


SOURCES = (of_heads, of_attached)


def rows_of(verb: str) -> pd.DataFrame:
    """Return the heads that a verb made."""
    heads = table("own_heads")
    return heads[heads["verb"] == verb]

"""What the pages say of results/ensemble: one head and three, on the same models."""

from collections.abc import Iterator

import pandas as pd
from said_of_profiles import COLUMNS, KINDS, alone, runs, side_by_side
from said_of_table1 import three

from amint_core.locations import project_root

#: Recipe → its heads, as the page has them.
HEADS = {"staged": "one head", "staged_ensemble": "three heads, the lowest logit"}
PLACES = [(recipe, "attached", "plain") for recipe in HEADS]


def of_all_rows() -> Iterator[str]:
    """Yield the rows of the page's table."""
    counts = [str((runs("ensemble")["recipe"] == recipe).sum()) for recipe in HEADS]
    for row, count in zip(_rows(COLUMNS), counts, strict=True):
        yield f"{row} {count} |"


def of_transformed() -> Iterator[str]:
    """Yield the rows of AUC on transformed images."""
    return _rows(KINDS)


def _rows(columns: tuple[str, ...]) -> Iterator[str]:
    for heads, place in zip(HEADS.values(), PLACES, strict=True):
        yield (
            f"| {heads} | " + " | ".join(alone("ensemble", place, name) for name in columns) + " |"
        )


def of_what_follows() -> Iterator[str]:
    """Yield the numbers in the sentences beside the tables, and in README."""
    for rate, words in (("0.001", ".1 %"), ("0.01", "1 %")):
        one, several = side_by_side("ensemble", PLACES, f"tpr at {rate}")
        yield f"TPR at {words} FPR {one} → {several}"
    one, several = side_by_side("ensemble", PLACES, "calibrated")
    yield f"calibrated accuracy {one} → {several}"
    yield f"resize {_after('resize', 'tpr_at_1pct_fpr')}, JPEG {_after('jpeg', 'tpr_at_1pct_fpr')}"
    resized, encoded = (_after(kind, "accuracy_calibrated") for kind in ("resize", "jpeg"))
    yield f"calibrated accuracy after resizing {resized}, after JPEG {encoded}"
    found = runs("ensemble").pivot(index="seed", columns="recipe", values="tpr at 0.001")
    assert found["staged"].max() < found["staged_ensemble"].min()
    yield (
        f"{three(found['staged'].min())} to {three(found['staged'].max())} with one head, "
        f"{three(found['staged_ensemble'].min())} to {three(found['staged_ensemble'].max())} with "
        "three"
    )


def _after(kind: str, measure: str) -> str:
    """One head's and three heads' value after a transformation, from the committed table."""
    table = pd.read_csv(project_root() / "results" / "ensemble" / "tables" / "transformations.csv")
    found = table[table["transformation"] == kind].set_index("recipe")[measure]
    return " → ".join(three(found[recipe]) for recipe in HEADS)


SOURCES = (of_all_rows, of_transformed, of_what_follows)

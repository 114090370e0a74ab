"""What the pages say of results/ensemble: one head in three ways and three heads, on one model."""

from collections.abc import Iterator

import pandas as pd
from said_of_profiles import COLUMNS, KINDS, OF_HEADS, runs, with_interval
from said_of_table1 import three

from amint_core.locations import project_root

ONE, THREE = "one head", "three heads, the lowest logit"
COPIES = "one head, two copies of each external image, batches of 512"
TPR = "tpr_at_01pct_fpr"
LONGER = "one head, two copies, three times the passes"
#: A row of the page's table → its heads, recorded copies, and passes.
HEADS = {ONE: (1, 1, 8), COPIES: (1, 2, 8), LONGER: (1, 2, 24), THREE: (3, 1, 8)}


def _found(title: str) -> pd.DataFrame:
    """The runs of a row, by seed."""
    found = runs("ensemble")
    own = found[(found[list(OF_HEADS)] == list(HEADS[title])).all(axis=1)]
    return own.set_index("seed").sort_index()


def _shown(title: str, columns: tuple[str, ...]) -> str:
    return " | ".join(three(_found(title)[name].mean()) for name in columns)


def of_all_rows() -> Iterator[str]:
    """Yield the rows of the page's table."""
    assert sum(len(_found(title)) for title in HEADS) == len(runs("ensemble"))
    for title in HEADS:
        yield f"| {title} | {_shown(title, COLUMNS)} | {len(_found(title))} |"


def of_transformed() -> Iterator[str]:
    """Yield the rows of AUC on transformed images."""
    for title in (ONE, THREE):
        yield f"| {title} | {_shown(title, KINDS)} |"


def of_what_follows() -> Iterator[str]:
    """Yield the numbers in the sentences beside the tables, and in README."""
    of_three = with_interval("ensemble", ("staged_ensemble", "attached", "plain"), TPR)
    yield f"{three(_found(ONE)['tpr at 0.001'].mean())} → {of_three}"
    for rate, words in (("0.001", ".1 %"), ("0.01", "1 %")):
        one, several = (three(_found(title)[f"tpr at {rate}"].mean()) for title in (ONE, THREE))
        yield f"TPR at {words} FPR {one} → {several}"
    one, several = (three(_found(title)["calibrated"].mean()) for title in (ONE, THREE))
    yield f"calibrated accuracy {one} → {several}"
    yield f"resize {_after('resize', 'tpr_at_1pct_fpr')}, JPEG {_after('jpeg', 'tpr_at_1pct_fpr')}"
    resized, encoded = (_after(kind, "accuracy_calibrated") for kind in ("resize", "jpeg"))
    yield f"calibrated accuracy after resizing {resized}, after JPEG {encoded}"
    rates = {title: _found(title)["tpr at 0.001"] for title in HEADS}
    alone = pd.concat([rates[title] for title in (ONE, COPIES, LONGER)])
    assert alone.max() < rates[THREE].min() / 2
    yield "at .1 % FPR less than half of what three heads find"
    yield (
        f"single seeds have {three(alone.min())} to {three(alone.max())} with one head, however it "
        f"learns, and {three(rates[THREE].min())} to {three(rates[THREE].max())} with three"
    )


def _after(kind: str, measure: str) -> str:
    """One head's and three heads' value after a transformation, from the committed table."""
    table = pd.read_csv(project_root() / "results" / "ensemble" / "tables" / "transformations.csv")
    found = table[table["transformation"] == kind].set_index("recipe")[measure]
    return " → ".join(three(found[recipe]) for recipe in ("staged", "staged_ensemble"))


SOURCES = (of_all_rows, of_transformed, of_what_follows)

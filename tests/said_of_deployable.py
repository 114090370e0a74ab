"""What the pages say of results/deployable: a classifier that one would deploy, and its head."""

from collections.abc import Iterator

import said_of_profiles
import said_of_table1
from said_of_profiles import alone, side_by_side
from said_of_table1 import two

from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.report.paper import TABLE1

#: Of each row: recipe, method and target, in the page's order; those without runs are left out.
HEADS = [(recipe, "attached", "plain") for recipe in ("staged", "staged_ensemble")]
ROWS = [
    *HEADS,
    *(
        ("staged", method, "plain")
        for method in ("yeom", "passive_unseen", "lookup_perceptual", "blind")
    ),
]


def of_all_rows() -> Iterator[str]:
    """Yield the rows of the page's table."""
    return said_of_profiles.of_all_rows("deployable", ROWS, recipes=False)


def of_transformed() -> Iterator[str]:
    """Yield the rows of AUC on transformed images."""
    return said_of_profiles.of_transformed("deployable", ROWS, recipes=False)


def of_what_follows() -> Iterator[str]:
    """Yield the numbers in the sentences beside the table, and in README."""

    def of(column: str, method: str) -> str:
        return alone("deployable", ("staged", method, "plain"), column)

    of_paper = sorted(cell.audited for place, cell in TABLE1.items() if place[0] == "cifar10")
    ours = said_of_table1.cells().query("dataset == 'cifar10' and method == 'attached'")["audited"]
    yield (
        f"classify CIFAR-10 with {two(of_paper[0])} to {two(of_paper[-1])} accuracy, and the best "
        f"of ours in Table 1 with {two(ours.max())}"
    )
    yield f"classifies {of('audited', 'attached')} of the test images rightly"
    yield f"calibrated accuracy {of('calibrated', 'attached')}"
    files = list((project_root() / "results" / "deployable").glob("runs/*-attached-*/metrics.json"))
    rare = [read_json(file)["mint"]["tpr_at_fpr"]["0.001"] for file in files]
    assert len(rare) == 4
    assert all(rate["low"] == 0 for rate in rare)
    yield "its interval begins at 0 in every run"
    one, several = side_by_side("deployable", HEADS, "tpr at 0.001")
    yield f"TPR at .1 % FPR {one} → {several}"
    yield f"on that ResNet-8 (one seed, interval from 0) {one} → {several}"
    one, several = side_by_side("deployable", HEADS, "calibrated")
    yield f"calibrated accuracy {one} → {several}"
    for kind in said_of_profiles.KINDS:
        one, several = side_by_side("deployable", HEADS, kind)
        assert one < several
    yield f"The loss tells them with AUC {of('auc', 'yeom')}"


SOURCES = (of_all_rows, of_transformed, of_what_follows)

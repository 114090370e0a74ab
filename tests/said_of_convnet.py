"""What the pages say of results/convnet: a model that one would use, from the committed metrics."""

from collections.abc import Iterator

import said_of_profiles
from said_of_profiles import alone, side_by_side

#: Of each row: recipe, method and target, in the page's order; those without runs are left out.
ROWS = [
    (recipe, method, target)
    for recipe in ("best", "staged", "staged_robust")
    for method, target in (
        *((name, "plain") for name in ("active", "joint", "plain", "attached", "passive")),
        *((name, "plain") for name in ("passive_unseen", "memorizer", "yeom", "gmint", "salem")),
        *((name, "plain") for name in ("watson", "lira_online", "lira_offline", "rmia_online")),
        *((name, "plain") for name in ("rmia_offline", "bavaria_online", "bavaria_offline")),
        *((name, "active") for name in ("yeom", "salem", "watson", "lira_online", "lira_offline")),
        *((name, "active") for name in ("rmia_online", "rmia_offline", "bavaria_online")),
        *(
            ("bavaria_offline", "active"),
            ("undeclared", "plain"),
            ("undeclared_with_loss", "plain"),
        ),
        *(("yeom", "undeclared"), ("misdeclared", "plain"), ("misdeclared_with_loss", "plain")),
        *(("yeom", "misdeclared"), ("lookup", "plain"), ("lookup_perceptual", "plain")),
        *(("lookup_windows", "plain"), ("blind", "plain"), ("random", "plain")),
    )
]


def of_all_rows() -> Iterator[str]:
    """Yield the rows of the page's table."""
    return said_of_profiles.of_all_rows("convnet", ROWS)


def of_transformed() -> Iterator[str]:
    """Yield the rows of AUC on transformed images."""
    return said_of_profiles.of_transformed("convnet", ROWS)


def of_what_follows() -> Iterator[str]:
    """Yield the numbers in the sentences below the table."""

    def beside(recipe: str, column: str, *methods: str) -> list[str]:
        return side_by_side("convnet", [(recipe, name, "plain") for name in methods], column)

    def of(column: str, method: str, target: str = "plain") -> str:
        return alone("convnet", ("best", method, target), column)

    auc = beside("staged", "auc", "attached", "active")
    tpr = beside("staged", "tpr at 0.001", "attached", "active")
    yield (
        f"AUC {auc[0]} and TPR {tpr[0]} at .1 % FPR, against {auc[1]} and {tpr[1]} of the joint "
        "training's"
    )
    for recipe in ("best", "staged"):
        yield "{} with its MINT loss, {} without it in the same joint pass, {} alone".format(
            *beside(recipe, "audited", "active", "joint", "plain")
        )
    yield f"AUC {of('auc', 'undeclared')} and TPR {of('tpr at 0.01', 'undeclared')} at 1 % FPR"
    yield f"AUC {of('auc', 'misdeclared')}: below .5"
    auc, tpr = (of(column, "yeom", "undeclared") for column in ("auc", "tpr at 0.01"))
    yield f"as a whole (AUC {auc}), but at 1 % FPR hardly one of them (TPR {tpr})"


SOURCES = (of_all_rows, of_transformed, of_what_follows)

"""What the pages say of results/convnet: a model that one would use, from the committed metrics."""

from collections.abc import Iterator

import said_of_profiles
from said_of_profiles import mean

#: Of each row: recipe, method and target, in the page's order; those without runs are left out.
ROWS = [
    (recipe, method, target)
    for recipe in ("best", "staged")
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

    def of(recipe: str, method: str, column: str, target: str = "plain") -> str:
        return mean("convnet", recipe, method, column, target)

    rate = "tpr at 0.001"
    yield "AUC {} and TPR {} at .1 % FPR, against {} and {} of the joint training's".format(
        *(of("staged", name, column) for name in ("attached", "active") for column in ("auc", rate))
    )
    order = "active", "joint", "plain"
    for recipe in ("best", "staged"):
        yield "{} with its MINT loss, {} without it in the same joint pass, {} alone".format(
            *(of(recipe, name, "audited") for name in order)
        )
    yield "AUC {} and TPR {} at 1 % FPR".format(
        *(of("best", "undeclared", column) for column in ("auc", "tpr at 0.01"))
    )
    yield f"AUC {of('best', 'misdeclared', 'auc')}: below .5"
    yield "as a whole (AUC {}), but at 1 % FPR hardly one of them (TPR {})".format(
        *(of("best", "yeom", column, "undeclared") for column in ("auc", "tpr at 0.01"))
    )


SOURCES = (of_all_rows, of_transformed, of_what_follows)

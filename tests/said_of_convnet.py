"""What the pages say of results/convnet: a model that one would use, from the committed metrics."""

from collections.abc import Iterator
from functools import cache

import pandas as pd
from said_of_table1 import three

from amint_core.config import RunConfig
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.methods import METHODS

FOLDER = project_root() / "results" / "convnet"
SETTINGS = ("recipe", "method", "target", "seed")
#: Of each row: recipe, method and target, in the page's order; those without runs are left out.
ROWS = [
    (recipe, method, target)
    for recipe in ("best", "staged")
    for method, target in (
        *((name, "plain") for name in ("active", "joint", "plain", "attached", "passive")),
        *((name, "plain") for name in ("passive_unseen", "memorizer", "yeom", "gmint", "salem")),
        *((name, "plain") for name in ("watson", "lira_online", "lira_offline", "rmia_online")),
        *((name, "plain") for name in ("rmia_offline", "bavaria_online", "bavaria_offline")),
        *((name, "active") for name in ("yeom", "lira_online", "lira_offline", "rmia_online")),
        *((name, "active") for name in ("rmia_offline", "bavaria_online", "bavaria_offline")),
        *(("undeclared", "plain"), ("undeclared_with_loss", "plain"), ("yeom", "undeclared")),
        *(("misdeclared", "plain"), ("misdeclared_with_loss", "plain"), ("yeom", "misdeclared")),
        *((name, "plain") for name in ("lookup", "lookup_perceptual", "lookup_windows")),
        *(("blind", "plain"), ("random", "plain")),
    )
]
KINDS = ("exact", "flip", "shift", "crop", "resize", "jpeg", "blur", "noise", "brightness")


@cache
def runs() -> pd.DataFrame:
    """A row per run: what it was, and what its metrics say."""
    rows = []
    for file in sorted(FOLDER.glob("runs/*/metrics.json")):
        metrics = read_json(file)
        settings, mint = RunConfig(**metrics["run"]["settings"]), metrics["mint"] or {}
        tpr = mint.get("tpr_at_fpr") or {}
        rows.append(
            {name: getattr(settings, name) for name in SETTINGS}
            | {
                "auc": _value(mint.get("auc")),
                "calibrated": _value(mint.get("accuracy_calibrated")),
            }
            | {f"tpr at {rate}": _value(tpr.get(rate)) for rate in ("0.01", "0.001")}
            | {"audited": _value((metrics["audited"] or {}).get("accuracy"))}
            | {
                kind: _value(found["auc"])
                for kind, found in (metrics.get("transformations") or {}).items()
            }
        )
    return pd.DataFrame(rows)


def _value(found: dict | None) -> float | None:
    return None if found is None else found["value"]


def _shown(values: pd.Series) -> str:
    return three(values.mean()) if values.notna().all() else "–"


def _name(recipe: str, method: str, target: str) -> str:
    against = {"plain": "", "active": " on the auditable model"}.get(
        target, f" on the {target} members"
    )
    return f"{recipe} | {METHODS[method].title}{against}"


def of_all_rows() -> Iterator[str]:
    """Yield the rows of the page's table: means over the seeds that there are."""
    found = runs().set_index(list(SETTINGS[:3])).sort_index()
    for place in ROWS:
        if place in found.index:
            own = found.loc[[place]]
            columns = ("auc", "calibrated", "tpr at 0.01", "tpr at 0.001", "audited")
            shown = " | ".join(_shown(own[name]) for name in columns)
            yield f"| {_name(*place)} | {shown} | {len(own)} |"


def of_transformed() -> Iterator[str]:
    """Yield the rows of AUC on transformed images."""
    found = runs().dropna(subset=["crop"]).set_index(list(SETTINGS[:3])).sort_index()
    for place in ROWS:
        if place in found.index:
            shown = " | ".join(_shown(found.loc[[place], kind]) for kind in KINDS)
            yield f"| {_name(*place)} | {shown} |"


def of_what_follows() -> Iterator[str]:
    """Yield the numbers in the sentences below the table."""

    def of(recipe: str, method: str, column: str, target: str = "plain") -> str:
        found = runs().query("recipe == @recipe and method == @method and target == @target")
        assert len(found), f"no run {recipe} {method} {target}"
        return three(found[column].mean())

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

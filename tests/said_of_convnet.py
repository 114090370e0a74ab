"""What the pages say of results/convnet: a model that one would use, from the committed metrics."""

from collections.abc import Iterator

import said_of_profiles
from said_of_profiles import PRECISION, alone, difference, side_by_side, with_interval
from said_of_table1 import signed

from amint_core.batch.grid import grid_file, load_grid
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.methods import METHODS

#: Of each row: recipe, method and target, in the page's order; those without runs are left out.
ROWS = [
    (recipe, method, target)
    for recipe in ("best", "staged", "staged_robust")
    for method, target in (
        *((name, "plain") for name in ("active", "joint", "plain", "attached", "passive")),
        *((name, "plain") for name in ("passive_unseen", "memorizer", "yeom", "gmint")),
        *((name, "plain") for name in ("gmint_filters", "salem")),
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


#: Those that README shows.
IN_README = [
    ("best", "active", "plain"),
    ("staged", "attached", "plain"),
    *(("best", name, "plain") for name in ("joint", "plain", "passive", "passive_unseen")),
    *(("best", name, "plain") for name in ("gmint", "gmint_filters", "yeom", "salem", "watson")),
    *(("best", name, "plain") for name in ("lira_online", "lira_offline", "bavaria_online")),
    *(("best", name, "plain") for name in ("rmia_online", "rmia_offline", "undeclared")),
    ("best", "yeom", "undeclared"),
    *(("best", name, "plain") for name in ("misdeclared", "memorizer", "blind", "lookup")),
    *(("best", name, "plain") for name in ("lookup_perceptual", "random")),
]


def of_readme() -> Iterator[str]:
    """Yield the rows of README's table."""
    return said_of_profiles.of_all_rows("convnet", IN_README, recipes=False)


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

    auc = beside("staged", "auc", "attached", "active")
    tpr = beside("staged", "tpr at 0.01", "attached", "active")
    rare = [
        with_interval("convnet", ("staged", name, "plain"), "tpr_at_01pct_fpr")
        for name in ("attached", "active")
    ]
    yield (
        f"AUC {auc[0]} and TPR {tpr[0]} at 1 % FPR, against {auc[1]} and {tpr[1]} of the joint "
        f"training's; at .1 % FPR it has TPR {rare[0]}, the joint training's {rare[1]}"
    )
    for recipe, link in (("staged", ", a difference of"), ("best", ",")):
        told = "{} with its MINT loss, {} without it in the same joint pass, {} alone".format(
            *beside(recipe, "audited", "active", "joint", "plain")
        )
        yield f"{told}{link} {signed(_cost(recipe))}"
    assert _cost("staged")["high"] < 0 < _cost("best")["high"]
    yield f"AUC {_of('auc', 'undeclared')} and TPR {_of('tpr at 0.01', 'undeclared')} at 1 % FPR"
    yield f"AUC {_of('auc', 'misdeclared')}: below .5"
    auc, tpr = (_of(column, "yeom", "undeclared") for column in ("auc", "tpr at 0.01"))
    yield f"as a whole (AUC {auc}), but at 1 % FPR hardly one of them (TPR {tpr})"


def of_readme_text() -> Iterator[str]:
    """Yield the numbers in README's sentences about its table."""
    run, *others = load_grid(grid_file("convnet")).values()
    (shadows,) = {one.shadows for one in others if one.shadows}
    yield (
        f"{run.members:,} members, {run.external:,} external images, {run.epochs} epochs, "
        f"{shadows} shadow models; judged on half of the members and {run.holdout:,} images"
    )
    yield (
        f"does not recognise the others (AUC {_of('auc', 'undeclared')}; [on MobileNet]"
        "(docs/methods.md#the-same-on-the-papers-mobilenet) a little, "
        f"{alone('mobilenet', ('best', 'undeclared', 'plain'), 'auc')})"
    )
    jointly = with_interval("convnet", ("best", "active", "plain"), "tpr_at_01pct_fpr")
    yield f"At .1 % the head that learnt jointly finds {jointly} of them"
    for name in SHADOWED:
        assert "[.000, " in with_interval("convnet", ("best", name, "plain"), "tpr_at_01pct_fpr")
    online = sorted(
        (name for name in SHADOWED if name.endswith("online")),
        key=lambda name: _of("tpr at 0.01", name),
        reverse=True,
    )
    assert online == ["bavaria_online", "rmia_online", "lira_online"]
    bavaria, rmia, lira = (
        with_interval("convnet", ("best", name, "plain"), "tpr_at_1pct_fpr") for name in online
    )
    yield (
        f"at 1 % FPR BaVarIA (online) finds {bavaria} of the members, RMIA (online) {rmia}, "
        f"LiRA (online) {lira}."
    )


#: Attacks that set a model beside shadow models that know an image and others that do not.
SHADOWED = [
    f"{name}_{when}" for name in ("lira", "bavaria", "rmia") for when in ("online", "offline")
]

#: Attacks with few shadow models or none.
NOT_FEWER = ("yeom", "salem", "watson")


def of_what_holds() -> Iterator[str]:
    """Yield the numbers of the points on what holds and what does not."""
    attached = with_interval("convnet", ("staged", "attached", "plain"), "tpr_at_01pct_fpr")
    yield (
        f"with TPR {attached} at .1 % FPR; learnt beside it (`best`), with calibrated accuracy "
        f"{_of('calibrated', 'active')} and TPR {_of('tpr at 0.01', 'active')} at 1 % FPR"
    )
    for recipe, text in (
        ("best", "{} against {} on the ConvNet with `best`, a difference of "),
        ("staged", "{} against {} with `staged`, "),
    ):
        places = [(recipe, name, "plain") for name in ("active", "joint")]
        told = text.format(*side_by_side("convnet", places, "audited"))
        yield told + signed(_cost(recipe))
    yield f"(passive MINT, AUC {_of('auc', 'passive')})"
    yield f"(memorizer, {_of('auc', 'memorizer')})"
    yield (
        f"AUC {_of('auc', 'yeom')} where a model has learnt its 2,000 images by heart, and yet TPR "
        f"{_of('tpr at 0.01', 'yeom')} at 1 % FPR"
    )
    on_both = [
        " and ".join(_of("tpr at 0.01", method, target) for target in ("plain", "active"))
        for method in SHADOWED
        if method.endswith("online")
    ]
    yield "LiRA {}, BaVarIA {}, RMIA {}".format(*on_both)
    kinds = ("jpeg", "noise", "flip", "crop")
    yield "after JPEG (AUC {}) or noise ({}), but not a mirrored ({}) or cropped ({}) one".format(
        *(_of(kind, "active") for kind in kinds)
    )
    robust = [
        alone("convnet", ("staged_robust", "attached", "plain"), kind)
        for kind in ("flip", "resize", "blur", "shift", "crop")
    ]
    yield "mirrored ({}), resized ({}) and blurred ({}) members, not so shifted ({})".format(
        *robust[:4]
    )
    yield f"cropped ({robust[4]}) ones"
    blind = with_interval("deployable", ("staged", "blind", "plain"), "auc")
    yield (
        f"at chance, or hardly above, on the strict split of CIFAR-10 (AUC {_of('auc', 'blind')}; "
        "on the split of [ResNet-8](two_stages.md#a-classifier-that-one-would-deploy), with half "
        f"of 20,000 members, {blind}, one seed each)"
    )
    right = 100 * float(_of(PRECISION, "active"))
    yield f"{right:.0f} % of the images that `best` accuses are members"


def of_manifests() -> Iterator[str]:
    """Yield of how many runs nobody can say exactly which code made them."""
    files = list((project_root() / "results" / "convnet").glob("runs/*/manifest.json"))
    changed = sum(read_json(file)["git"]["changed"] for file in files)
    yield f"{changed} of the {len(files)} say besides that the checkout held uncommitted changes"


def of_attacks_on_both() -> Iterator[str]:
    """Yield what holds of attacks on the plain model and on the auditable one."""
    runs = said_of_profiles.runs("convnet")
    attacks = runs.loc[runs["target"] == "active", "method"].unique()
    assert set(attacks) == {*SHADOWED, *NOT_FEWER}
    for method in attacks:
        auc, tpr = (
            difference("convnet", ("best", method, "active"), "target=plain", measure)
            for measure in ("auc", "tpr_at_1pct_fpr")
        )
        assert auc["high"] < 0
        assert (tpr["high"] < 0) == (method in SHADOWED)
    yield (
        "each of these attacks has a lower AUC on the auditable ConvNet than on the plain one, and "
        "LiRA, BaVarIA and RMIA find fewer members at 1 % FPR; for "
        f"{', '.join(METHODS[name].title.split()[0] for name in NOT_FEWER)} the interval of that "
        "difference holds 0"
    )


def _cost(recipe: str) -> dict[str, float]:
    """Audited accuracy with the MINT loss minus without it in the same joint pass."""
    more = difference("convnet", (recipe, "joint", "plain"), "active", "audited_accuracy")
    return {"value": -more["value"], "low": -more["high"], "high": -more["low"]}


def _of(column: str, method: str, target: str = "plain") -> str:
    return alone("convnet", ("best", method, target), column)


SOURCES = (
    of_all_rows,
    of_transformed,
    of_what_follows,
    of_readme_text,
    of_what_holds,
    of_manifests,
    of_attacks_on_both,
)

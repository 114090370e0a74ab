"""What the pages say of results/convnet: a model that one would use, from the committed metrics."""

from collections.abc import Iterator

import said_of_profiles
from said_of_profiles import PRECISION, alone, side_by_side

from amint_core.batch.grid import grid_file, load_grid
from amint_core.methods import METHODS

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


#: Those that README shows.
IN_README = [
    ("best", "active", "plain"),
    ("staged", "attached", "plain"),
    *(("best", name, "plain") for name in ("joint", "plain", "passive", "passive_unseen")),
    *(("best", name, "plain") for name in ("gmint", "yeom", "salem", "watson", "lira_online")),
    *(("best", name, "plain") for name in ("lira_offline", "bavaria_online", "rmia_online")),
    *(("best", name, "plain") for name in ("rmia_offline", "undeclared")),
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
    tpr = beside("staged", "tpr at 0.001", "attached", "active")
    yield (
        f"AUC {auc[0]} and TPR {tpr[0]} at .1 % FPR, against {auc[1]} and {tpr[1]} of the joint "
        "training's"
    )
    for recipe in ("best", "staged"):
        yield "{} with its MINT loss, {} without it in the same joint pass, {} alone".format(
            *beside(recipe, "audited", "active", "joint", "plain")
        )
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
    yield f"says nothing of the others (AUC {_of('auc', 'undeclared')})"
    found = max((_of("tpr at 0.01", name), METHODS[name].title) for name in SHADOWED)
    yield f"The best attack, {found[1]}, finds {found[0]} of the members at 1 % FPR"


#: Attacks that set a model beside shadow models that know an image and others that do not.
SHADOWED = [
    f"{name}_{when}" for name in ("lira", "bavaria", "rmia") for when in ("online", "offline")
]


def of_what_holds() -> Iterator[str]:
    """Yield the numbers of the points on what holds and what does not."""
    attached = alone("convnet", ("staged", "attached", "plain"), "tpr at 0.001")
    yield (
        f"with TPR {attached} at .1 % FPR; learnt beside it (`best`), with calibrated accuracy "
        f"{_of('calibrated', 'active')} and TPR {_of('tpr at 0.01', 'active')} at 1 % FPR"
    )
    places = [("best", name, "plain") for name in ("active", "joint")]
    yield "{} against {} on the ConvNet, three seeds".format(
        *side_by_side("convnet", places, "audited")
    )
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
    yield f"at chance on the strict split of CIFAR-10 (AUC {_of('auc', 'blind')})"
    right = 100 * float(_of(PRECISION, "active"))
    yield f"`best` is right about {right:.0f} % of the images that it accuses"


def of_attacks_on_both() -> Iterator[str]:
    """Yield what holds of every attack, on the plain model and on the auditable one."""
    runs = said_of_profiles.runs("convnet")
    attacked = runs.loc[runs["target"] == "active", "method"].unique()
    assert set(SHADOWED) < set(attacked)
    for method in attacked:
        places = [("best", method, target) for target in ("plain", "active")]
        for column in ("auc", "tpr at 0.01"):
            plain, active = map(float, side_by_side("convnet", places, column))
            assert active < plain
    yield "each of these attacks tells fewer members of the auditable ConvNet than of the plain one"


def _of(column: str, method: str, target: str = "plain") -> str:
    return alone("convnet", ("best", method, target), column)


SOURCES = (
    of_all_rows,
    of_transformed,
    of_what_follows,
    of_readme_text,
    of_what_holds,
    of_attacks_on_both,
)

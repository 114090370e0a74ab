"""What the pages say of results/robust: two heads on one model, after images were encoded anew."""

from collections.abc import Iterator

from said_of_profiles import COLUMNS, KINDS, alone, side_by_side

#: Recipe → what its head sees, as the page has it.
HEADS = {
    "staged": "images as they are",
    "staged_robust": "no finest detail, and both mirrorings",
}
PLACES = [(recipe, "attached", "plain") for recipe in HEADS]


def of_all_rows() -> Iterator[str]:
    """Yield the rows of the page's table."""
    return _rows(COLUMNS)


def of_transformed() -> Iterator[str]:
    """Yield the rows of AUC on transformed images."""
    return _rows(KINDS)


def _rows(columns: tuple[str, ...]) -> Iterator[str]:
    for seen, place in zip(HEADS.values(), PLACES, strict=True):
        yield f"| {seen} | " + " | ".join(alone("robust", place, name) for name in columns) + " |"


def of_what_follows() -> Iterator[str]:
    """Yield the numbers in the sentences below the tables, and in README."""

    def of(kind: str) -> str:
        return alone("robust", PLACES[1], kind)

    for kind in ("resize", "blur", "flip"):
        before, after = side_by_side("robust", PLACES, kind)
        yield f"{kind} {before} → {after}"
    left = ("shift", "crop")
    yield f"AUC {min(of(kind) for kind in KINDS if kind not in left)} or more"
    yield "TPR at 1 % FPR {} → {}".format(*side_by_side("robust", PLACES, "tpr at 0.01"))
    yield "shift ({}) and crop ({})".format(*map(of, left))


SOURCES = (of_all_rows, of_transformed, of_what_follows)

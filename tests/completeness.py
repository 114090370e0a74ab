"""Hold a list against what there is, so that a failure says where a name is missing or too many."""

from collections.abc import Collection


def require_all(found: Collection[str], expected: Collection[str], where: str) -> None:
    """Fail unless both hold the same names; say which place lacks some, or has some too many."""
    lacking, odd = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    assert not lacking, f"{where} lacks {lacking}"
    assert not odd, f"{where} has {odd}, which there are not"

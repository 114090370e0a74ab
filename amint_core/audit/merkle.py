"""Merkle trees as RFC 6962 defines them (section 2.1): root, and a path from each leaf to it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def _leaf(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree over a list of byte strings.

    Its levels are built from below; a last node without a partner moves up as it is. That is the
    recursion of the RFC, which splits at the largest power of two, turned around.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels = [[_leaf(data) for data in leaves]]
        while len(self._levels[-1]) > 1:
            level = self._levels[-1]
            pairs = [_node(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
            self._levels.append(pairs + level[len(pairs) * 2 :])

    @property
    def root(self) -> bytes:
        """The 32 bytes that stand for the whole list."""
        return self._levels[-1][0] if self._levels[-1] else sha256().digest()

    def path(self, index: int) -> tuple[bytes, ...]:
        """Return the hashes, from below, that lead from leaf `index` to the root."""
        path = []
        for level in self._levels[:-1]:
            if index ^ 1 < len(level):
                path.append(level[index ^ 1])
            index //= 2
        return tuple(path)


def root_from(data: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root of a tree of `size` leaves in which `data` is leaf `index`; None: none is.

    Args:
        data: what the leaf holds.
        index: its place, from 0.
        size: leaves of the tree.
        path: as `Tree.path` returns it.
    """
    if not 0 <= index < size:
        return None
    left, known = list(path), _leaf(data)
    last = size - 1
    while last > 0:
        if index % 2 or index < last:  # a partner stands beside it
            if not left:
                return None
            beside = left.pop(0)
            known = _node(beside, known) if index % 2 else _node(known, beside)
        index, last = index // 2, last // 2
    return None if left else known

"""Deal a dataset's images to the roles of an audit.

| role | paper's symbol | what it is for |
|---|---|---|
| members | D | trains the audited model |
| external | E | non-members that train the MINT model |
| calibration | – | non-members that choose thresholds and stop training |
| holdout | – | non-members that are judged (`strict`) |
| test | – | labelled images for audited accuracy; judged as non-members in `paper` |

`strict` draws the first four from the training pool, so that nothing but membership tells them
apart; tracks (GTSRB) stay whole. `paper` does as the published notebooks: the official test images
are the judged non-members.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from amint_core.data.base import Dataset
from amint_core.data.strata import allocate
from amint_core.errors import DataError, SettingsError, unknown_name

ROLES = ("members", "external", "calibration", "holdout", "test")
#: Protocol → roles that are dealt from the official test set; the others come from the pool.
FROM_TEST = {"strict": ("test",), "paper": ("calibration", "test")}
PROTOCOLS = tuple(FROM_TEST)


@dataclass(frozen=True)
class Split:
    """Who plays which role.

    Attributes:
        roles: role → (n,) int64 sorted indices into the dataset. `calibration` may be empty;
            `holdout` is there in `strict` only.
        judged_role: the non-members that are judged, "holdout" (strict) or "test" (paper).
        members_judged: (members,) bool in the order of their indices: True where judged, False
            where used with `calibration` to choose thresholds; all True without calibration.
            Tracks are whole on both sides, unless they are ignored.
        duplicates_removed: images left out because an equal one (by hash) stands before them.
        digest: SHA-256 over roles, indices and `members_judged`.
    """

    roles: dict[str, np.ndarray]
    judged_role: str
    members_judged: np.ndarray
    duplicates_removed: int
    digest: str

    @property
    def judged_members(self) -> np.ndarray:
        """Indices of the members that are judged."""
        return self.roles["members"][self.members_judged]


def make_split(
    dataset: Dataset,
    protocol: Literal["strict", "paper"],
    sizes: Mapping[str, int],
    seed: int,
    ignore_tracks: bool = False,
) -> Split:
    """Deal images to roles, stratified by class; equal images never stand in two roles.

    Args:
        dataset: what to deal from.
        protocol: "strict" or "paper"; see the module's table.
        sizes: images per role; `test` = 0 takes the whole test part, `holdout` does not count in
            `paper`.
        seed: the split follows from it, the dataset's fingerprint, the protocol and the sizes.
        ignore_tracks: split GTSRB by image, so that frames of one track stand in several roles
            (defect 9 of the published notebooks).

    Raises:
        SettingsError: a role or protocol is unknown, or a size is no whole number.
        DataError: a role wants more images than there are.
    """
    pool, test = _decks(dataset, seed, not ignore_tracks)
    wanted = role_sizes(protocol, sizes, len(test.candidates))
    from_test = FROM_TEST[protocol]
    from_pool = [role for role in wanted if role not in from_test]
    dealt = pool.deal({role: wanted[role] for role in from_pool})
    dealt |= test.deal({role: wanted[role] for role in from_test})
    roles = {role: dealt[role] for role in wanted}
    judged = _judged_members(dataset, roles, np.random.default_rng([seed, 2]), not ignore_tracks)
    return Split(
        roles=roles,
        judged_role="holdout" if protocol == "strict" else "test",
        members_judged=judged,
        duplicates_removed=pool.removed + test.removed,
        digest=_digest(dataset, roles, from_test, judged),
    )


def role_sizes(protocol: str, sizes: Mapping[str, int], test_images: int) -> dict[str, int]:
    """Return the images of each role that a protocol has; `make_split` says what is asked.

    Args:
        test_images: in the official test set; where `test` is 0, it takes all that are left.

    Raises:
        SettingsError: a role or protocol is unknown, or a size is no whole number.
    """
    wanted = _checked(protocol, sizes)
    left = test_images - sum(wanted[role] for role in FROM_TEST[protocol])
    return {**wanted, "test": wanted["test"] or max(1, left)}


class Deck:
    """Images still to be dealt, shuffled once within each class, as units that stay whole.

    A unit is a track (images that share a group, as near-twins do where they are dealt together)
    or, without tracks, a single image.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: str,
        candidates: np.ndarray,
        rng: np.random.Generator,
        whole_groups: bool,
        removed: int = 0,
    ) -> None:
        self.title, self.part, self.removed = dataset.title, part, removed
        self.candidates = candidates
        groups = dataset.groups[candidates] if whole_groups else candidates
        _, first, unit = np.unique(groups, return_index=True, return_inverse=True)
        labels = dataset.labels[candidates][first]
        self.classes, self.unit_class = np.unique(labels, return_inverse=True)
        self.unit_size = np.bincount(unit)
        self.per_class = np.bincount(self.unit_class)
        self.taken = np.zeros_like(self.per_class)
        self.tie_order = rng.permutation(len(self.classes))
        shuffled = rng.permutation(len(first))
        # Place of each unit among its class's, in shuffled order.
        by_class = np.lexsort((shuffled, self.unit_class))
        self.starts = np.cumsum(self.per_class) - self.per_class
        self.place = np.empty(len(first), np.int64)
        self.place[by_class] = np.arange(len(first)) - np.repeat(self.starts, self.per_class)
        # Images in the first so many units, class by class: what some units hold is a difference.
        self.held_before = np.concatenate([[0], np.cumsum(self.unit_size[by_class])])
        # Images in the order in which units are cut: the last unit's last frames go first.
        self.unit, self.image_order = unit, np.lexsort((candidates, shuffled[unit]))

    def deal(self, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
        """Deal the roles one after the other; the same seed gives the first the same images."""
        self._check_room(sizes)
        return {role: self._deal_one(role, size) for role, size in sizes.items()}

    def _deal_one(self, role: str, size: int) -> np.ndarray:
        room = self.per_class - self.taken
        # Enough units if all were of the longest kind; then one more until they hold enough.
        units = -(-size // int(self.unit_size.max()))
        while True:
            if units > room.sum():
                raise DataError(self._short(role, size))
            counts = allocate(units, self.per_class, room, self.tie_order)
            first = self.starts + self.taken
            if (self.held_before[first + counts] - self.held_before[first]).sum() >= size:
                break
            units += 1
        upto = (self.taken + counts)[self.unit_class]
        chosen = (self.taken[self.unit_class] <= self.place) & (self.place < upto)
        self.taken += counts
        dealt = self.image_order[chosen[self.unit[self.image_order]]][:size]
        return np.sort(self.candidates[dealt]).astype(np.int64)

    def _check_room(self, sizes: Mapping[str, int]) -> None:
        total, available = sum(sizes.values()), len(self.candidates)
        if total > available:
            parts = ", ".join(f"{role} {size:,}" for role, size in sizes.items())
            removed = f" after {self.removed:,} duplicates were left out" if self.removed else ""
            raise DataError(
                f"{self.title}: the roles want {total:,} images ({parts}), but the {self.part} "
                f"part has {available:,}{removed}. Lower one of them by {total - available:,} "
                "or more."
            )

    def _short(self, role: str, size: int) -> str:
        left = int(self.unit_size[self.place >= self.taken[self.unit_class]].sum())
        lower = f"Lower {role} to {left:,} or less, or a" if left else "Lower a"
        return (
            f"{self.title}: {role} wants {size:,} images, but the whole tracks left hold {left:,}. "
            "No track, no group and no set of near-twins that are dealt together may stand in two "
            f"roles. {lower} role before it, or let single images be dealt: no groups; in a run "
            "the defect 'tracks_ignored' or near_twins = 'as_dealt'."
        )


def _checked(protocol: str, sizes: Mapping[str, int]) -> dict[str, int]:
    if protocol not in PROTOCOLS:
        raise SettingsError(unknown_name("protocol", protocol, PROTOCOLS))
    for role in sizes:
        if role not in ROLES:
            raise SettingsError(unknown_name("role", role, ROLES))
    least = {"members": 1, "external": 1, "holdout": int(protocol == "strict")}
    for role in ROLES:
        size = sizes.get(role)
        if not isinstance(size, int | np.integer) or isinstance(size, bool):
            raise SettingsError(f"sizes[{role!r}] = {size!r}: give a whole number of images.")
        if size < least.get(role, 0):
            raise SettingsError(
                f"sizes[{role!r}] = {size}: the {protocol} protocol needs at least "
                f"{least.get(role, 0)}."
            )
    there = [role for role in ROLES if role != "holdout" or protocol == "strict"]
    return {role: int(sizes[role]) for role in there}


def _decks(dataset: Dataset, seed: int, whole_groups: bool) -> tuple[Deck, Deck]:
    """Return the pool and the test set to deal from: the first of each set of equal images."""
    first = np.sort(np.unique(dataset.hashes, return_index=True)[1])
    decks = []
    for number, part in enumerate(("pool", "test")):
        of_part = dataset.official_test == (part == "test")
        candidates = first[of_part[first]]
        removed = int(of_part.sum()) - len(candidates)
        random = np.random.default_rng([seed, number])
        decks.append(Deck(dataset, part, candidates, random, whole_groups, removed))
    return decks[0], decks[1]


def _judged_members(
    dataset: Dataset,
    roles: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    whole_groups: bool,
) -> np.ndarray:
    """Halve the members, as evenly as whole tracks allow; see `Split.members_judged`."""
    members = roles["members"]
    if not len(roles["calibration"]):
        return np.ones(len(members), bool)
    deck = Deck(dataset, "pool", members, rng, whole_groups)
    for_thresholds = deck.deal({"members": len(members) // 2})["members"]
    groups = dataset.groups[members] if whole_groups else members
    # A track that was dealt in part belongs to that side with all of its frames.
    judged = ~np.isin(groups, groups[np.isin(members, for_thresholds)])
    if not judged.any():
        raise DataError(
            f"{dataset.title}: the {len(members):,} members come in {len(np.unique(groups))} "
            "groups (tracks, near-twins), too few for two halves that share none: one chooses "
            "thresholds, the other is judged. Raise members, or set calibration = 0 to judge them "
            "all."
        )
    return judged


def _digest(
    dataset: Dataset,
    roles: Mapping[str, np.ndarray],
    from_test: Sequence[str],
    members_judged: np.ndarray,
) -> str:
    sha, pool = hashlib.sha256(), int((~dataset.official_test).sum())
    for name, index in roles.items():
        # Indices of test images are hashed from 0 on, so that digests of older runs stay valid.
        part, first = ("test", pool) if name in from_test else ("pool", 0)
        sha.update(f"{name} {part} {len(index)}\n".encode())
        sha.update((index - first).astype("<i8").tobytes())
    sha.update(members_judged.tobytes())
    return sha.hexdigest()

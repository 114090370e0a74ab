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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from amint_core.data.base import Dataset, Part
from amint_core.data.strata import allocate
from amint_core.errors import DataError, SettingsError, unknown_name

ROLES = ("members", "external", "calibration", "holdout", "test")
PROTOCOLS = ("strict", "paper")


@dataclass(frozen=True)
class Role:
    """The images of one role: `part` of the dataset, and (N,) int64 sorted indices into it."""

    part: Part
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Split:
    """Who plays which role.

    Attributes:
        roles: role → images. `calibration` may be empty; `holdout` is there in `strict` only.
        judged_role: the non-members that are judged, "holdout" (strict) or "test" (paper).
        members_judged: (members,) bool in the order of their indices: True where judged, False
            where used with `calibration` to choose thresholds; all True without calibration.
            Tracks are whole on both sides, unless they are ignored.
        duplicates_removed: images left out because an equal one (by hash) stands before them.
        digest: SHA-256 over roles, parts, indices and `members_judged`.
    """

    roles: dict[str, Role]
    judged_role: str
    members_judged: np.ndarray
    duplicates_removed: int
    digest: str


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
    wanted = _checked(protocol, sizes)
    pool, test, removed = _without_duplicates(dataset)
    pool_deck = Deck(
        dataset, "pool", pool, np.random.default_rng([seed, 0]), removed["pool"], not ignore_tracks
    )
    test_deck = Deck(dataset, "test", test, np.random.default_rng([seed, 1]), removed["test"])
    drawn = {"pool": ["members", "external"], "test": []}
    drawn["pool" if protocol == "strict" else "test"].append("calibration")
    drawn["pool"] += ["holdout"] if protocol == "strict" else []
    roles = pool_deck.deal({role: wanted[role] for role in drawn["pool"]})
    rest = sum(wanted[role] for role in drawn["test"])
    wanted["test"] = wanted["test"] or max(1, len(test) - rest)
    roles |= test_deck.deal({role: wanted[role] for role in (*drawn["test"], "test")})
    roles = {role: roles[role] for role in ROLES if role in roles}
    judged = _judged_members(dataset, roles, np.random.default_rng([seed, 2]), not ignore_tracks)
    return Split(
        roles=roles,
        judged_role="holdout" if protocol == "strict" else "test",
        members_judged=judged,
        duplicates_removed=sum(removed.values()),
        digest=_digest(roles, judged),
    )


class Deck:
    """Images still to be dealt, shuffled once within each class, as units that stay whole.

    A unit is a track (images that share a group) or, without tracks, a single image.
    """

    def __init__(
        self,
        dataset: Dataset,
        part: Part,
        candidates: np.ndarray,
        rng: np.random.Generator,
        removed: int = 0,
        whole_groups: bool = True,
    ) -> None:
        images = getattr(dataset, part)
        self.title, self.part, self.candidates, self.removed = (
            dataset.title,
            part,
            candidates,
            removed,
        )
        groups = np.asarray(images.groups)[candidates] if whole_groups else candidates
        _, first, unit = np.unique(groups, return_index=True, return_inverse=True)
        labels = np.asarray(images.labels)[candidates][first]
        self.classes, self.unit_class = np.unique(labels, return_inverse=True)
        self.unit_size = np.bincount(unit)
        self.per_class = np.bincount(self.unit_class)
        self.taken = np.zeros_like(self.per_class)
        self.tie_order = rng.permutation(len(self.classes))
        shuffled = rng.permutation(len(first))
        # Place of each unit among its class's, in shuffled order.
        by_class = np.lexsort((shuffled, self.unit_class))
        starts = np.cumsum(self.per_class) - self.per_class
        self.place = np.empty(len(first), np.int64)
        self.place[by_class] = np.arange(len(first)) - np.repeat(starts, self.per_class)
        # Images in the order in which units are cut: the last unit's last frames go first.
        self.unit, self.image_order = unit, np.lexsort((candidates, shuffled[unit]))

    def deal(self, sizes: Mapping[str, int]) -> dict[str, Role]:
        """Deal the roles one after the other; the same seed gives the first the same images."""
        self._check_room(sizes)
        return {role: Role(self.part, self._deal_one(role, size)) for role, size in sizes.items()}

    def _deal_one(self, role: str, size: int) -> np.ndarray:
        room = self.per_class - self.taken
        # Enough units if all were of the longest kind; then one more until they hold enough.
        units = -(-size // int(self.unit_size.max()))
        while True:
            if units > room.sum():
                raise DataError(self._short(role, size))
            counts = allocate(units, self.per_class, room, self.tie_order)
            upto = (self.taken + counts)[self.unit_class]
            chosen = (self.taken[self.unit_class] <= self.place) & (self.place < upto)
            if self.unit_size[chosen].sum() >= size:
                break
            units += 1
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
        return (
            f"{self.title}: {role} wants {size:,} images, but the whole tracks left hold {left:,}: "
            f"no track may stand in two roles. Lower {role} to {left:,} or less, lower a role "
            "before it, or switch on the defect 'tracks_ignored' to split by image."
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
    return {role: int(sizes[role]) for role in ROLES}


def _without_duplicates(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, dict[Part, int]]:
    """Return indices of the first of each set of equal images, the pool's before the test's."""
    pool_hashes, pool = np.unique(np.asarray(dataset.pool.hashes), return_index=True)
    test_hashes, test = np.unique(np.asarray(dataset.test.hashes), return_index=True)
    test = test[~np.isin(test_hashes, pool_hashes, assume_unique=True)]
    removed: dict[Part, int] = {
        "pool": len(dataset.pool) - len(pool),
        "test": len(dataset.test) - len(test),
    }
    return np.sort(pool), np.sort(test), removed


def _judged_members(
    dataset: Dataset, roles: Mapping[str, Role], rng: np.random.Generator, whole_groups: bool
) -> np.ndarray:
    """Halve the members, as evenly as whole tracks allow; see `Split.members_judged`."""
    members = roles["members"].indices
    if not len(roles["calibration"]):
        return np.ones(len(members), bool)
    deck = Deck(dataset, "pool", members, rng, whole_groups=whole_groups)
    for_thresholds = deck.deal({"members": len(members) // 2})["members"].indices
    groups = np.asarray(dataset.pool.groups)[members] if whole_groups else members
    # A track that was dealt in part belongs to that side with all of its frames.
    judged = ~np.isin(groups, groups[np.isin(members, for_thresholds)])
    if not judged.any():
        raise DataError(
            f"{dataset.title}: the {len(members):,} members are frames of {len(np.unique(groups))} "
            "tracks, too few for two halves that share none: one chooses thresholds, the other is "
            "judged. Raise members, or set calibration = 0 to judge them all."
        )
    return judged


def _digest(roles: Mapping[str, Role], members_judged: np.ndarray) -> str:
    sha = hashlib.sha256()
    for name, role in roles.items():
        sha.update(f"{name} {role.part} {len(role)}\n".encode())
        sha.update(role.indices.astype("<i8").tobytes())
    sha.update(members_judged.tobytes())
    return sha.hexdigest()

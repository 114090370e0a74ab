"""Who learns what: images dealt to the roles of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from amint_core.audit.preprocessing import Preprocessing
from amint_core.audit.verdict import require_calibration
from amint_core.data.base import Dataset, DatasetSpec
from amint_core.data.folders import class_order
from amint_core.data.hashes import fingerprint, image_hashes
from amint_core.data.split import Deck
from amint_core.errors import DataError, SettingsError
from amint_core.own.images import Images, gather

ROLES = ("members", "external", "calibration", "holdout")
TITLE = "Your images"
#: Larger labels are numbers of something else; each class takes a name and an output.
MOST_CLASSES = 1_000_000
#: In pixels. Smaller images have no detail to be compared by, and cannot be shifted.
SMALLEST_SIDE = 3


def deal(
    images: Any,
    labels: Sequence[int] | None = None,
    groups: Sequence[Any] | None = None,
    *,
    members: int,
    external: int,
    calibration: int,
    holdout: int = 0,
    preprocessing: Preprocessing | None = None,
    seed: int = 0,
) -> dict[str, Images]:
    """Deal images to the roles of an audit, so that nothing but membership tells them apart.

    Stratified by class; equal images never stand in two roles, nor do images of one group.

    Args:
        images, labels, groups, preprocessing: see `gather`.
        members: how many the classifier is trained on, and learns to recognise.
        external: how many the head learns from as strangers.
        calibration: how many say how strangers score: the owner's reference.
        holdout: how many judge the result, and nothing else.
        seed: the same seed deals the same roles.

    Returns:
        Role → images, for `fit` and `attach`.

    Raises:
        DataError: there are too few images, or `gather` refuses them.
        ProtocolError: calibration is too small for an audit.
        SettingsError: the size of a role is no whole number from 0 on.
    """
    pool = gather(images, labels, groups, preprocessing)
    sizes = dict(zip(ROLES, (members, external, calibration, holdout), strict=True))
    for role, size in sizes.items():
        if not isinstance(size, Integral) or size < 0:
            raise SettingsError(f"{role} = {size!r}: give a number of images.")
    require_calibration(calibration)
    dataset = as_dataset(pool)
    first = np.sort(np.unique(dataset.hashes, return_index=True)[1])  # of equal images
    random = np.random.default_rng([seed, 0])
    deck = Deck(dataset, "whole", first, random, True, len(pool) - len(first))
    dealt = deck.deal(sizes)
    return {role: pool.take(rows) for role, rows in dealt.items()}


def as_dataset(images: Images) -> Dataset:
    """Return images as the dataset that training and splitting work on."""
    count = len(images)
    labels = np.full(count, -1, np.int64) if images.labels is None else images.labels
    groups = np.arange(count)
    if images.groups is not None:
        groups = np.unique(images.groups, return_inverse=True)[1].astype(np.int64)
    test = np.zeros(count, bool)
    classes = len(images.classes) or (int(labels.max()) + 1 if count else 0)
    if classes > MOST_CLASSES:
        raise DataError(
            f"The largest label is {classes - 1:,}: labels are the numbers of classes, from 0 on. "
            "Number them: labels = np.unique(labels, return_inverse=True)[1]."
        )
    height, _, channels = images.pixels.shape[1:]
    spec = DatasetSpec("own", TITLE, channels, height, classes, find=_nowhere, obtain="")
    return Dataset(
        spec=spec,
        source="real",
        pixels=images.pixels,
        labels=labels,
        groups=groups,
        hashes=image_hashes(images.pixels),
        official_test=test,
        class_names=images.classes or tuple(map(str, range(classes))),
        fingerprint=fingerprint(images.pixels, labels, groups, test),
    )


def _nowhere(root: Any) -> Any:
    raise DataError("Images of one's own are in memory, and in no folder.")


@dataclass(frozen=True)
class Roles:
    """All images of a training, and who is who among them.

    Attributes:
        dataset: the images of all roles.
        rows: role → (n,) rows of the dataset; `holdout` may be empty.
        preprocessing: of all of them.
    """

    dataset: Dataset
    rows: dict[str, np.ndarray]
    preprocessing: Preprocessing

    def pixels(self, role: str) -> np.ndarray:
        """Return a role's (n, H, W, C) uint8 pixels."""
        return self.dataset.pixels[self.rows[role]]

    def some(self, role: str, most: int) -> np.ndarray:
        """Return at most so many rows of a role, drawn at random: images may come by class."""
        drawn = np.random.default_rng(0).permutation(self.rows[role])[:most]
        return np.sort(drawn)


def brought_together(given: dict[str, Any], preprocessing: Preprocessing | None) -> Roles:
    """Check the roles that somebody gives, and lay their images into one dataset.

    Args:
        given: role → what `gather` takes; None for no holdout.
        preprocessing: of all; None: as they come.

    Raises:
        DataError: a role is empty, roles were made ready otherwise, an image is in two of them, or
            some have groups and others none.
        ProtocolError: calibration is too small for an audit.
    """
    roles = {
        role: gather(one, preprocessing=preprocessing)
        for role, one in given.items()
        if one is not None
    }
    if "calibration" in roles:  # a replay of a training needs none
        require_calibration(len(roles["calibration"]))
    how = next(iter(roles.values())).preprocessing
    for role, images in roles.items():
        if images.preprocessing != how:
            raise DataError(
                f"The {role} are {images.preprocessing}, others {how}: a head would tell them "
                "apart by that. Bring all to one form by preprocessing=amint.Preprocessing(…)."
            )
    if min(how.height, how.width) < SMALLEST_SIDE:
        raise DataError(
            f"Images of {how.height}×{how.width} pixels are too small: give at least "
            f"{SMALLEST_SIDE}×{SMALLEST_SIDE}."
        )
    dataset = as_dataset(_joined(list(roles.values())))
    ends = np.cumsum([0, *map(len, roles.values())])
    rows = {
        role: np.arange(start, end)
        for role, start, end in zip(roles, ends[:-1], ends[1:], strict=True)
    }
    rows.setdefault("holdout", np.arange(0))
    _require_apart(dataset, rows)
    return Roles(dataset, rows, how)


def _joined(roles: list[Images]) -> Images:
    """Lay images of all roles one after the other; equal groups of two roles are one group."""
    pixels, classes = np.concatenate([one.pixels for one in roles]), _classes(roles)
    if classes:  # a role in a folder numbers the classes that it has
        roles = [
            replace(one, labels=np.array([classes.index(name) for name in one.classes])[one.labels])
            if one.classes
            else one
            for one in roles
        ]
    labels = [
        np.full(len(one), -1, np.int64) if one.labels is None else one.labels for one in roles
    ]
    grouped = [one.groups for one in roles if len(one) and one.groups is not None]
    if grouped and len(grouped) < sum(len(one) > 0 for one in roles):
        raise DataError(
            "Some roles have groups and others none, so that nobody can tell whether a group is in "
            "two of them. Give groups for all, or for none."
        )
    groups = np.concatenate(grouped) if grouped else None
    return Images(pixels, roles[0].preprocessing, np.concatenate(labels), groups, classes)


def _classes(roles: list[Images]) -> tuple[str, ...]:
    """Return the names of all roles' classes; none where a role has but numbers."""
    named = {one.classes for one in roles if one.labels is not None and len(one)}
    if () in named and len(named) > 1:
        raise DataError(
            "The classes of some roles are the names of folders, those of others are numbers, so "
            "that nobody can tell which is which. Give all roles as folders, or labels for all."
        )
    return class_order(sorted(set().union(*named)))


def _require_apart(dataset: Dataset, rows: dict[str, np.ndarray]) -> None:
    """Refuse an image, or a group, that stands in two roles."""
    for what, values in (("image", dataset.hashes), ("group", dataset.groups)):
        seen: dict[Any, str] = {}
        for role, index in rows.items():
            for value in np.unique(values[index]).tolist():
                if seen.setdefault(value, role) != role:
                    raise DataError(
                        f"The same {what} is among {seen[value]} and {role}, so that no answer "
                        "about it would be right. `amint.deal` keeps roles apart."
                    )

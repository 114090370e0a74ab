"""What a MINT head is told of the members: all of it, or what an owner chooses to say."""

from __future__ import annotations

import numpy as np

from amint_core.training.kinds import Kind


def declarations(kind: Kind, members: np.ndarray, judged: np.ndarray) -> np.ndarray | None:
    """Return what a head that learns beside the classes is told of each image of a dataset.

    Args:
        kind: the kind of training.
        members: (M,) indices of the training set.
        judged: indices of the members that are judged.

    Returns:
        (N,) float32 up to the last member: 1 member, 0 non-member, NaN not told; None: all members
        are told.
    """
    if kind.declares == "all":
        return None
    told = np.ones(members.max() + 1, np.float32)
    told[np.intersect1d(members, judged)] = np.nan if kind.declares == "not_judged" else 0.0
    return told


def sides(
    kind: Kind, members: np.ndarray, external: np.ndarray, judged: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices that a head learns from when it learns alone: members, non-members.

    Args:
        kind: the kind of training.
        members: (M,) indices of the training set.
        external: (E,) indices of the external images.
        judged: indices of the members that are judged.
    """
    if kind.declares == "all":
        return members, external
    hidden = np.isin(members, judged)
    if kind.declares == "judged_as_external":
        external = np.concatenate([external, members[hidden]])
    return members[~hidden], external

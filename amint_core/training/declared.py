"""What a MINT head is told of the members: all of it, or what an owner chooses to say."""

from __future__ import annotations

import numpy as np

from amint_core.training.kinds import Kind


def declarations(kind: Kind, members: np.ndarray, judged: np.ndarray) -> np.ndarray | None:
    """Return the membership labels of a head that is trained jointly with the classifier.

    Args:
        kind: the kind of training.
        members: (M,) indices of the training set.
        judged: indices of the members that are judged.

    Returns:
        (N,) float32 by index, up to the last member: 1 member, 0 non-member, NaN no label; None:
        every member is labelled as one.
    """
    if kind.declares == "all":
        return None
    told = np.ones(members.max() + 1, np.float32)
    told[np.intersect1d(members, judged)] = np.nan if kind.declares == "not_judged" else 0.0
    return told


def sides(
    kind: Kind, members: np.ndarray, external: np.ndarray, judged: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the members and the non-members of a head that is trained alone, as indices.

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

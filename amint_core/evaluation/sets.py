"""Many images together: what no single image tells, a set of them may.

A set's scores are compared with those of known non-members by the rank-sum test of Wilcoxon, Mann
and Whitney: any membership score will do, on any scale. Under the hypothesis, none of the set's
images is a member and they are drawn as the non-members are; a set that was collected otherwise
differs by that, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amint_core.errors import SettingsError

_EXACT = 8  # images of a set up to which the null distribution is counted out, where nothing ties


def set_p_value(scores: np.ndarray, reference: np.ndarray) -> float:
    """Return the probability of a set's ranks or higher ones if it held non-members alone.

    Exact for 8 images or fewer without ties, else by the normal approximation with its corrections
    for ties and continuity; one image alone has the p-value of its rank.

    Args:
        scores: (n,) of the set's images, higher for members.
        reference: (m,) of non-members that trained nothing.

    Raises:
        SettingsError: one of them is empty, or a score is no number.
    """
    scores, reference = np.asarray(scores, float), np.asarray(reference, float)
    _check(scores, reference)
    return float(_p_values(scores[None], reference)[0])


def _p_values(sets: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the (D,) p-values of (D, n) sets against (m,) non-members."""
    from scipy.stats import mannwhitneyu

    if sets.shape[1] == 1:
        return (1 + (reference >= sets).sum(1)) / (1 + len(reference))
    ties = len(np.unique(np.r_[np.unique(sets), reference])) < len(np.unique(sets)) + len(reference)
    ties |= any(len(np.unique(one)) < len(one) for one in sets)
    method = "exact" if sets.shape[1] <= _EXACT and not ties else "asymptotic"
    found = mannwhitneyu(sets, reference[None], alternative="greater", method=method, axis=1)
    return found.pvalue


def power(
    members: np.ndarray,
    others: np.ndarray,
    sizes: Sequence[int],
    alpha: float = 0.01,
    draws: int = 1000,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Return how often sets of members, and of non-members, have a p-value of `alpha` or less.

    Half of the non-members, drawn once, are the reference; sets of non-members come from the other
    half. Sets overlap, so that the shares say less than their number of draws seems to.

    Args:
        members: (M,) scores of members.
        others: (N,) scores of non-members.
        sizes: images in a set.
        alpha: what a p-value has to reach.
        draws: sets of each size.
        seed: halves and sets follow from it.

    Returns:
        A row per size: `images`, `found` (share of the sets of members), `false_alarms` (share of
        the sets of non-members).

    Raises:
        SettingsError: a size is more than there are to draw from, or a score is no number.
    """
    _check(members, others)
    random = np.random.default_rng(seed)
    shuffled = random.permutation(others)
    reference, strangers = np.split(shuffled, [len(others) // 2])
    if max(sizes) > min(len(members), len(strangers)):
        raise SettingsError(
            f"Sets of {max(sizes)} images want as many members and non-members; there are "
            f"{len(members)} and, besides the reference, {len(strangers)}. Take smaller sets."
        )
    rows = []
    for size in sizes:
        found, false = (
            float((_p_values(_drawn(random, side, size, draws), reference) <= alpha).mean())
            for side in (members, strangers)
        )
        rows.append({"images": size, "found": found, "false_alarms": false})
    return rows


def _drawn(random: np.random.Generator, side: np.ndarray, size: int, draws: int) -> np.ndarray:
    """Return (draws, size) scores; no image twice in one set."""
    return np.stack([random.choice(side, size, replace=False) for _ in range(draws)])


def _check(scores: np.ndarray, reference: np.ndarray) -> None:
    for name, values in {"set": scores, "reference": reference}.items():
        if not len(values) or not np.isfinite(values).all():
            raise SettingsError(
                f"The scores of the {name} must be one number or more, none missing. Leave out "
                "methods that test nothing, and images that are not judged."
            )

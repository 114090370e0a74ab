"""Where the classifier, or the owner's list, contradicts the head.

The head knows only whom it was told. The classifier knows all whom it was fitted to, so an image
that was left out of what the head learned, or declared as external, may still be classified more
surely than strangers are. And whoever the head knows should be in a list of what it was told.

None of this shows that nothing was left out: a classifier that generalises is as sure of strangers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from amint_core.audit import conformal

UNDECLARED, MISSING = "possibly undeclared", "missing from the list"
#: Share of strangers that may be taken for undeclared ones; the head denies what lies above it.
LEVEL = 0.01


@dataclass(frozen=True)
class Contradictions:
    """What the head's answer leaves open or the list lacks, for m images.

    Attributes:
        p: (m,) conformal p-values of how surely the classifier answers; None: it was not asked.
        undeclared: (m,) bool: the head denies what the classifier gives away.
        missing: (m,) bool: called a member, but not in the owner's list.
        chance: p-value of so many or more undeclared ones among m strangers; 1 where none are.
        expected: how many of m strangers would be taken for undeclared on average, at most.
        fewest: references that it takes to find any.
    """

    p: np.ndarray | None
    undeclared: np.ndarray
    missing: np.ndarray
    chance: float = 1.0
    expected: float = 0.0
    fewest: int = round(1 / LEVEL) - 1

    def of(self, index: int) -> str:
        """Return the contradiction in one image's answers, or ""."""
        if self.missing[index]:
            return MISSING
        return UNDECLARED if self.undeclared[index] else ""


def contradictions(
    of_head: np.ndarray,
    accused: np.ndarray,
    posterior: tuple[np.ndarray, np.ndarray] | None,
    listed: np.ndarray | None,
) -> Contradictions:
    """Compare what head, classifier and list say of m images.

    Args:
        of_head: (m,) conformal p-values of the head's scores.
        accused: (m,) bool: called a member by the head.
        posterior: how surely the classifier answers for the (m,) images and the (n,) references,
            higher for surer; None: not asked, or no reference that fits.
        listed: (m,) bool: the owner's list has the image; None: there is none.
    """
    missing = accused & ~listed if listed is not None else np.zeros(len(accused), bool)
    if posterior is None:
        return Contradictions(None, np.zeros(len(accused), bool), missing)
    p = conformal.p_values(*posterior)
    denied = ~accused & (of_head > LEVEL)
    undeclared = denied & (p <= LEVEL)
    queries, references = len(p), len(posterior[1])
    rank = int(LEVEL * (references + 1) + 1e-9)  # so many p-values are LEVEL or less
    chance, expected = 1.0, queries * rank / (references + 1)
    if rank:
        above = stats.betabinom(queries, rank, references + 1 - rank)
        chance = float(above.sf(int(undeclared.sum()) - 1))
    return Contradictions(p, undeclared, missing, chance, expected)

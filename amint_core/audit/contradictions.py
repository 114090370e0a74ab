"""Where the classifier, or the owner's list, contradicts the head.

The head knows only whom it was told. The classifier knows all whom it was fitted to, so an image
that was left out of what the head learned, or declared as external, may still be classified more
surely than strangers are. And whoever the head knows should be in a list of what it was told.

None of this shows that nothing was left out: a classifier that generalises is as sure of strangers.
Shadow models, which learnt none of the images, say how easy each one is; what the classifier is
surer of than they are counts (LiRA's offline attack with one variance for all, Carlini et al., S&P
2022, arXiv 2112.03570).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amint_core.audit import conformal

UNDECLARED, MISSING = "possibly undeclared", "missing from the list"
#: Share of strangers that may be called possibly undeclared. An image counts as denied by the head
#: where its p-value is above this level and above those of all images that the head accuses.
LEVEL = 0.01


@dataclass(frozen=True)
class Contradictions:
    """What the head's answer leaves open or the list lacks, for m images.

    Attributes:
        p: (m,) conformal p-values of how surely the classifier answers; None: it was not asked.
        undeclared: (m,) bool: the head denies what the classifier gives away.
        missing: (m,) bool: called a member, but not in the owner's list.
        expected: how many of m strangers would be taken for undeclared on average, at most.
        denied: how many images the head denies.
        chance: p-value of "the classifier learnt none of those that the head denies".
        least: how many of those it learnt at least, whichever they are.
        fewest: references that it takes to find any.
        shadows: how many shadow models the classifier's answers were compared with.
        true_classes: whether it was asked about the images' true classes, which find more than
            those that it predicts.
        overlooked: which share of the known members the head denies, too; None: there are none.
    """

    p: np.ndarray | None
    undeclared: np.ndarray
    missing: np.ndarray
    expected: float = 0.0
    denied: int = 0
    chance: float = 1.0
    least: int = 0
    fewest: int = round(1 / LEVEL) - 1
    shadows: int = 0
    true_classes: bool = False
    overlooked: float | None = None

    def of(self, index: int) -> str:
        """Return the contradiction in one image's answers, or ""."""
        if self.missing[index]:
            return MISSING
        return UNDECLARED if self.undeclared[index] else ""


def contradictions(
    head: tuple[np.ndarray, np.ndarray],
    accused: np.ndarray,
    posterior: tuple[np.ndarray, np.ndarray] | None,
    listed: np.ndarray | None,
    shadows: int = 0,
    members: np.ndarray | None = None,
    true_classes: bool = False,
) -> Contradictions:
    """Compare what head, classifier and list say of m images.

    Args:
        head: its scores of the (m,) images and of the (n,) references.
        accused: (m,) bool: called a member by the head.
        posterior, listed, shadows, members, true_classes: see `verdict.judge`; the posterior is
            None, too, where no reference fits.

    Returns:
        What contradicts the head; without a posterior `p` is None and nothing is undeclared.
    """
    missing = accused & ~listed if listed is not None else np.zeros(len(accused), bool)
    if posterior is None:
        return Contradictions(None, np.zeros(len(accused), bool), missing)
    p = conformal.p_values(*posterior)
    of_head = conformal.p_values(*head)
    # Images and references are selected by one rule, a p-value of the head above `cut`, so that
    # they stay comparable; all that the head accuses have a p-value of at most `cut`.
    cut = max(LEVEL, of_head[accused].max(initial=0.0))
    denied = of_head > cut
    others = conformal.p_values(head[1], head[1]) > cut
    references = len(others)
    rank = int(LEVEL * (references + 1) + 1e-9)  # so many p-values are LEVEL or less
    sides = posterior[0][denied], posterior[1][others]
    # A set of hidden members can be detected where none of its images can be by itself.
    tails = conformal.Tails(*sides) if denied.any() else None
    return Contradictions(
        p=p,
        undeclared=denied & (p <= LEVEL),
        missing=missing,
        expected=len(p) * rank / (references + 1),
        denied=int(denied.sum()),
        chance=tails.p_none() if tails else 1.0,
        least=tails.least_used if tails else 0,
        shadows=shadows,
        true_classes=true_classes,
        # A weak head denies declared members as well, whom nobody hid.
        overlooked=None
        if members is None
        else float((conformal.p_values(members, head[1]) > cut).mean()),
    )

"""Which share of the queries was used: estimates, and an interval where members' scores are known.

The queries are a mixture: a share π scores as members do, the rest as strangers do. Without scores
of known members only a lower bound can be had (`conformal.Tails.least_used`): a member that the
model does not recognise looks like a stranger. With them, π follows, if the copies in the audited
folder are recognised as well as those that the scores came from.
"""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from amint_core.audit.conformal import CONFIDENCE

_BINS = 12


def with_members(
    scores: np.ndarray, reference: np.ndarray, members: np.ndarray
) -> tuple[float, float, float]:
    """Estimate the share of members among the queries, with an interval: (value, low, high).

    Every score is turned into w, the probability of a member in its bin where both kinds are
    equally many. E[w] of the queries is π · E[w | member] + (1 − π) · E[w | stranger], which is
    solved for π. The interval holds all π that a score test with the mixture's own variance does
    not refute (as Wilson's does for a single share, so that it holds its level near 0 and 1).
    Either half of the known scores is weighed by what the other half says, since weights that
    had seen a score would flatter it.

    Args:
        scores: (m,) of the queries.
        reference: (n,) of strangers.
        members: (k,) of known members, in copies such as the queries are.
    """
    first, second = (_weights(reference[half::2], members[half::2]) for half in (0, 1))
    query = (first(scores) + second(scores)) / 2
    stranger, member = (
        np.r_[second(side[::2]), first(side[1::2])] for side in (reference, members)
    )
    gap = member.mean() - stranger.mean()
    if gap <= 0:
        return 0.0, 0.0, 1.0  # known members do not score higher: nothing can be learned
    quantile = stats.norm.ppf(0.5 + CONFIDENCE / 2)

    def distance(share: float, side: float) -> float:
        """Return (observed − expected), shifted by the quantile towards one side."""
        expected = share * member.mean() + (1 - share) * stranger.mean()
        spread = _deviation(share, query, stranger, member)
        return query.mean() - expected + side * quantile * spread

    value = float(np.clip((query.mean() - stranger.mean()) / gap, 0, 1))
    return value, _root(distance, -1.0), _root(distance, 1.0)


def _weights(reference: np.ndarray, members: np.ndarray):
    """Return a function from scores to the share of members among equally many of both."""
    inner = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = np.unique(np.r_[np.quantile(reference, inner), np.quantile(members, inner)])
    counts = [
        np.bincount(np.searchsorted(edges, side), minlength=len(edges) + 1) + 0.5
        for side in (members, reference)
    ]
    member, stranger = (count / count.sum() for count in counts)
    return lambda scores: (member / (member + stranger))[np.searchsorted(edges, scores)]


def _deviation(share: float, query: np.ndarray, stranger: np.ndarray, member: np.ndarray) -> float:
    """Return the standard deviation of observed minus expected mean, where `share` is true."""
    gap = member.mean() - stranger.mean()
    inside = share * member.var() + (1 - share) * stranger.var() + share * (1 - share) * gap**2
    known = share**2 * member.var() / len(member) + (1 - share) ** 2 * stranger.var() / len(
        stranger
    )
    return float(np.sqrt(inside / len(query) + known))


def _root(distance, side: float) -> float:
    """Return where the distance changes its sign in [0, 1], or the end that it points to."""
    at = [distance(end, side) for end in (0.0, 1.0)]
    if at[0] <= 0:
        return 0.0
    if at[1] >= 0:
        return 1.0
    return float(brentq(distance, 0.0, 1.0, args=(side,)))

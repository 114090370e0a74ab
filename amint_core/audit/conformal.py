"""Tests of images against strangers: conformal p-values and the exact bounds that go with them.

The one assumption is exchangeability: a query that was not used could as well have been one of the
n reference images. Everything here is exact at any n then, whatever the scores are; ties make it
more careful. Higher scores speak for membership.

Let U be the share of strangers that score above the k-th highest reference: U ~ Beta(k, n + 1 - k).
Of u unused queries, BetaBinomial(u, k, n + 1 - k) lie above it. `Tails` holds that for several k at
once (Bonferroni), which bounds from above how many of the accused are strangers, and from below how
many of the queries are not.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from scipy import stats

from amint_core.errors import ProtocolError

#: Of every bound that an audit states.
CONFIDENCE = 0.95


def p_values(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the (m,) conformal p-values of `scores` (m,) against `reference` (n,).

    p = (1 + number of references that score as high or higher) / (n + 1).
    Source: Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World, 2005.

    Raises:
        ProtocolError: there is no reference, or a score is no finite number.
    """
    if not len(reference):
        raise ProtocolError("There is no reference to compare with: give scores of strangers.")
    require_finite(scores, reference)
    return (1 + as_high(scores, reference)) / (len(reference) + 1)


def require_finite(*sides: np.ndarray) -> None:
    """Refuse scores that are no finite numbers.

    Raises:
        ProtocolError: some are.
    """
    if not all(np.isfinite(side).all() for side in sides):
        raise ProtocolError("Some scores are no finite numbers. Check the model and its input.")


def as_high(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Count the references (n,) that score as high as each of `scores` (m,), or higher."""
    return len(reference) - np.searchsorted(np.sort(reference), scores, side="left")


def accused(p: np.ndarray, fdr: float) -> np.ndarray:
    """Return (m,) bool: whom Benjamini and Hochberg's procedure accuses at a false-discovery rate.

    It holds its rate for conformal p-values (Bates et al., Annals of Statistics 2023, theorem 2).
    """
    if not len(p):
        return np.zeros(0, bool)
    # Rounding must not cost the case that meets the limit exactly.
    return stats.false_discovery_control(p, method="bh") <= fdr * (1 + 1e-12)


def floor(queries: int, references: int, fdr: float) -> int:
    """Return the least number of accusations that the procedure can make; fewer are none.

    The smallest p is 1 / (n + 1), and k accusations of m queries take p ≤ k · fdr / m.
    """
    return max(1, math.ceil(queries / (fdr * (references + 1)) - 1e-9))


def accused_share(rank: int, references: int) -> float:
    """Bound the share of all strangers that have at most `rank` references as high as they.

    With `CONFIDENCE` over the draw of the references the bound holds for every rank at once, so
    also for a threshold chosen on the queries, and for all images that will be asked about later.
    Source: the Simes-type adjustment of Bates, Candès, Lei, Romano, Sesia, "Testing for outliers
    with conformal p-values", Annals of Statistics 2023 (arXiv 2104.08279), with k = n / 2.
    """
    n, k = references, max(1, references // 2)
    i = n - rank  # of the sequence in their equation, counted from the far end
    if i < k:
        return 1.0
    falling = np.arange(k)
    logs = np.log(i - falling).sum() - np.log(n - falling).sum()
    return float(-np.expm1((math.log(1 - CONFIDENCE) + logs) / k))


def _at_most(count: int, unused: int, rank: int, references: int) -> np.ndarray:
    """Return P(J ≤ j) for j = 0 … count, where J of the unused lie not above that reference."""
    j = np.arange(count + 1)
    return np.cumsum(stats.betabinom.pmf(j, unused, references + 1 - rank, rank)).clip(max=1.0)


class Tails:
    """How many queries lie above some references, and what that says of used and unused ones.

    Args:
        scores: (m,) of the queries.
        reference: (n,) of strangers.

    All statements of an object hold together with `CONFIDENCE`.
    """

    def __init__(self, scores: np.ndarray, reference: np.ndarray) -> None:
        self.scores, self.reference = scores, reference
        self.queries, self.references = len(scores), len(reference)
        # Ranks 1, 2, 4, … to n / 2: with more of them each had to be less certain.
        half = max(1, self.references // 2)
        self.ranks = np.unique([*(2 ** np.arange(half.bit_length())), half])  # (K,)
        cuts = np.sort(reference)[::-1][self.ranks - 1]
        ranked = np.sort(scores)
        self.above = self.queries - np.searchsorted(ranked, cuts, side="right")  # (K,)
        self.error = (1 - CONFIDENCE) / len(self.ranks)

    def p_none(self) -> float:
        """Return a p-value for "none of these images was used".

        Too many of them lie in some tail, or they are higher as a whole (Mann-Whitney): two tests,
        so twice the smaller p-value.
        """
        each = [self._p(self.queries, place) for place in range(len(self.ranks))]
        in_tail = min(1.0, len(each) * min(each))
        above = stats.mannwhitneyu(self.scores, self.reference, alternative="greater").pvalue
        return min(1.0, 2 * min(float(above), in_tail))

    @cached_property
    def most_unused(self) -> int:
        """The largest number of unused queries that no tail contradicts."""
        most = self.queries
        for place in range(len(self.ranks)):
            if self._p(most, place) <= self.error:
                most = self._most(place, most)
        return most

    @property
    def least_used(self) -> int:
        """How many of the queries were used at least; it is not said which."""
        return self.queries - self.most_unused

    def most_false(self, rank: int) -> int:
        """Bound how many unused queries have at most `rank` references as high as they.

        Holds for every rank at once, so also for one that was chosen by the queries.
        """
        unused, place = self.most_unused, int(np.searchsorted(self.ranks, rank + 1))
        if place == len(self.ranks):
            return unused
        below = _at_most(unused, unused, int(self.ranks[place]), self.references)
        return unused - int(np.searchsorted(below, self.error, side="right"))

    def _p(self, unused: int, place: int) -> float:
        """Return how likely so few of the unused lie below a reference as there is room for."""
        room = self.queries - int(self.above[place])
        if unused <= room:
            return 1.0
        return float(_at_most(room, unused, int(self.ranks[place]), self.references)[-1])

    def _most(self, place: int, high: int) -> int:
        """Search the largest number that this tail does not contradict, below `high`."""
        low = self.queries - int(self.above[place])  # all of them may be unused
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._p(middle, place) > self.error else (low, middle - 1)
        return low

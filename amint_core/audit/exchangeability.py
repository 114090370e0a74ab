"""Do the queries come from where the reference comes from? If not, p-values mean little.

Members and strangers of one source look alike, so the statistics of the images must agree between
queries and references. Scores agree in their lower half only, where hardly a member lies. Each is
compared by Kolmogorov and Smirnov's two-sample test. A difference counts if it is certain and large
enough to matter: of 100,000 images any two folders differ a little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

#: A difference counts where its p-value, times the number of comparisons, is below this, …
ERROR = 0.001
#: … and the two cumulative shares lie at least this far apart somewhere.
DISTANCE = 0.1
#: Fewer than this many on a side are not compared.
FEWEST = 8

#: The columns of `image_statistics`.
STATISTICS = (
    "brightness",
    "contrast",
    "colourfulness",
    "dark pixels",
    "light pixels",
    "sharpness across",
    "sharpness down",
    "fine detail",
    "equal neighbours",
)
#: A further column, where there are shadow models: another value in one of the two folders means
#: images of another kind, or ones that these models learnt.
EASE = "sureness of the shadow models"


@dataclass(frozen=True)
class Difference:
    """One statistic that differs between queries and reference."""

    name: str
    distance: float  # of the cumulative shares, 0 to 1
    p: float  # corrected for the number of comparisons


@dataclass(frozen=True)
class Fit:
    """Whether the reference fits the queries."""

    differences: tuple[Difference, ...]  # largest first
    compared: tuple[str, ...]
    visible: float  # the least distance that each of the comparisons can show

    @property
    def holds(self) -> bool:
        """Tell whether no difference was found."""
        return not self.differences


def image_statistics(pixels: np.ndarray) -> np.ndarray:
    """Return (B, 9) simple statistics of (B, H, W, C) uint8 images; see `STATISTICS`.

    They tell apart what a change of source or of preprocessing changes: light, colour, clipping,
    and how much detail a resizing filter left.
    """
    grey = pixels.mean(axis=3, dtype=np.float32)  # (B, H, W)
    across, down = np.abs(np.diff(grey, axis=2)), np.abs(np.diff(grey, axis=1))
    curved = np.abs(np.diff(grey, n=2, axis=2))
    columns = [
        grey.mean(axis=(1, 2)),
        grey.std(axis=(1, 2)),
        np.ptp(pixels, axis=3).mean(axis=(1, 2)),
        (pixels <= 2).mean(axis=(1, 2, 3)),
        (pixels >= 253).mean(axis=(1, 2, 3)),
        across.mean(axis=(1, 2)),
        down.mean(axis=(1, 2)),
        # Of the differences between neighbours, how much is not explained by a slope.
        curved.mean(axis=(1, 2)) / (across.mean(axis=(1, 2)) + 1),
        (across == 0).mean(axis=(1, 2)),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def compare(
    scores: np.ndarray,
    reference: np.ndarray,
    statistics: np.ndarray | None = None,
    of_reference: np.ndarray | None = None,
) -> Fit:
    """Compare queries with references.

    Args:
        scores: (m,) of the queries.
        reference: (n,) of strangers.
        statistics: (m, F) of the queries' images, or None: only scores are compared.
        of_reference: (n, F) of the references' images, or None. The columns are `STATISTICS`, and
            `EASE` where shadow models were asked.
    """
    middle = np.median(reference)
    sides = {"low scores": (scores[scores < middle], reference[reference < middle])}
    if statistics is not None and of_reference is not None:
        sides |= {
            name: (statistics[:, column], of_reference[:, column])
            for column, name in enumerate((*STATISTICS, EASE)[: statistics.shape[1]])
        }
    large = {name: pair for name, pair in sides.items() if min(map(len, pair)) >= FEWEST}
    found = [_difference(name, *pair, len(large)) for name, pair in large.items()]
    counted = [each for each in found if each.p <= ERROR and each.distance >= DISTANCE]
    counted.sort(key=lambda each: -each.distance)
    visible = max((_visible(*map(len, pair), len(large)) for pair in large.values()), default=1.0)
    return Fit(tuple(counted), tuple(large), visible)


def _difference(name: str, queries: np.ndarray, references: np.ndarray, tests: int) -> Difference:
    found = stats.ks_2samp(queries, references, method="asymp")
    return Difference(name, float(found.statistic), min(1.0, float(found.pvalue) * tests))


def _visible(queries: int, references: int, tests: int) -> float:
    """Return the least distance whose p-value counts, by the distribution of `_difference`."""
    size = round(queries * references / (queries + references))
    return float(max(DISTANCE, stats.kstwo.isf(ERROR / tests, size)))

"""A mean over runs that differ by seed alone, and how far other seeds would change it."""

from __future__ import annotations

import numpy as np
from scipy import stats

from amint_core.evaluation.intervals import LEVEL, Bounds


def interval_of_mean(values: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> Bounds:
    """Return a 95 % interval of the mean of runs of S seeds; of one seed, its own.

    Student's, from the spread over seeds, which holds all that a seed changes: images, initial
    weights, order of batches. Few seeds may agree by chance, so that it is never narrower than what
    the runs' own intervals leave of their mean, as of independent samples: distances as squares.

    Args:
        values: (S,) a measure of each run.
        lows: (S,) lower ends of the runs' own 95 % intervals, NaN where there is none.
        highs: (S,) upper ends.
    """
    values, lows, highs = (np.asarray(one, float) for one in (values, lows, highs))
    count, mean = len(values), float(values.mean())
    if count < 2:
        return float(lows[0]), float(highs[0])
    quantile = float(stats.t.ppf(0.5 + LEVEL / 2, count - 1))
    by_seed = quantile * values.std(ddof=1) / count**0.5
    below, above = (np.linalg.norm(values - ends) / count for ends in (lows, highs))
    # NaN, no interval, stays NaN.
    return mean - float(np.maximum(below, by_seed)), mean + float(np.maximum(above, by_seed))

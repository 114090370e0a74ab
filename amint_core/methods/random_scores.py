"""Control: random scores, which show what guessing gives."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from amint_core.methods.method import Method

if TYPE_CHECKING:
    from amint_core.methods.case import Case

_STEPS = 2**52  # as many as a float of probability .5 to 1 can tell apart


def score(case: Case) -> np.ndarray:
    """Return (N,) logits of uniform probabilities that follow from the seed and each image's hash.

    Neither the order of the images nor their roles, labels or pixels enter.
    """
    from scipy.special import logit

    return logit([_probability(case.settings.seed, image) for image in case.images["image"]])


def _probability(seed: int, image: str) -> float:
    digest = hashlib.blake2b(f"random {seed} {image}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) % _STEPS + 0.5) / _STEPS  # never 0 or 1


METHOD = Method(
    name="random",
    title="Random scores",
    group="control",
    summary="Scores drawn without looking at image or model: what guessing gives.",
    score=score,
)

"""Score every image of a folder, in constant memory, by a plain function from batches to scores."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amint_core.audit import fit
from amint_core.audit.fingerprints import Published, content_hash
from amint_core.audit.images import Picture, Refused, batches, read
from amint_core.audit.preprocessing import Preprocessing
from amint_core.errors import ModelError

#: (B, C, H, W) floats, normalised → (B,) scores; higher ones speak for membership.
Score = Callable[[Tensor], Tensor]


@dataclass
class Scored:
    """What is kept of images once they were seen: some 100 bytes each, no pixels."""

    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)  # of published images, or of one in this set
    hashes: list[bytes] = field(default_factory=list)
    sources: list[Path | None] = field(default_factory=list)
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))  # (N,)
    statistics: np.ndarray = field(default_factory=lambda: np.empty((0, len(fit.STATISTICS))))
    refused: list[Refused] = field(default_factory=list)
    pixels: np.ndarray | None = None  # where the images were in memory anyway

    def __len__(self) -> int:
        return len(self.names)


@torch.inference_mode()
def score_all(
    score: Score,
    source: Path | str | np.ndarray,
    preprocessing: Preprocessing,
    published: Published | None = None,
    batch_size: int = 256,
) -> Scored:
    """Score every image of a folder or an array, one batch in memory at a time."""
    # Flat and growing at their ends: small arrays kept from every batch would lie between the large
    # ones of the next, and memory would grow by half a batch with each.
    result, scores, statistics = Scored(), array("d"), array("f")
    result.pixels = source if isinstance(source, np.ndarray) else None
    for batch in batches(_pictures(source, preprocessing, result.refused), batch_size):
        pixels = np.stack([picture.pixels for picture in batch])
        scores.frombytes(_scores(score, preprocessing.normalise(pixels)).tobytes())
        statistics.frombytes(fit.image_statistics(pixels).tobytes())
        for picture in batch:
            result.names.append(picture.name)
            result.notes.append(picture.note)
            result.sources.append(picture.source)
            result.hashes.append(content_hash(picture.pixels))
            result.copies.append(published.match(picture.pixels) if published else "")
    result.scores = np.array(scores)
    result.statistics = np.array(statistics).reshape(-1, len(fit.STATISTICS))
    return result


def _pictures(
    source: Path | str | np.ndarray, how: Preprocessing, refused: list[Refused]
) -> Iterator[Picture]:
    for each in read(source, how):
        if isinstance(each, Picture):
            yield each
        else:
            refused.append(each)


def _scores(score: Score, batch: Tensor) -> np.ndarray:
    result = score(batch)
    values = torch.as_tensor(result).detach().cpu().double().numpy()
    if values.size != len(batch):
        raise ModelError(
            f"The score function returned shape {values.shape} for {len(batch)} images. It must "
            "return one number for each."
        )
    return values.reshape(-1)

"""Audit a folder of images: score, judge, and keep what a report needs.

Stands on a plain function from a batch of images to scores, so it serves any model.
"""

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
from amint_core.audit.verdict import Verdict, judge
from amint_core.errors import DataError, ModelError

#: (B, C, H, W) floats, normalised → (B,) scores; higher ones speak for membership.
Score = Callable[[Tensor], Tensor]

EXIT_DONE, EXIT_CANNOT_TELL = 0, 3


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


@dataclass(frozen=True)
class Found:
    """An audit's result."""

    images: Scored
    verdict: Verdict
    reference: np.ndarray  # (n,) scores
    rows: np.ndarray  # (N,) the row of the verdict that speaks for each image
    preprocessing: Preprocessing
    members: np.ndarray | None = None  # (k,) scores of known members
    warnings: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """What `amint audit` ends with: 0 where someone is accused, 3 where it cannot tell."""
        return EXIT_DONE if self.verdict.accused.any() else EXIT_CANNOT_TELL

    def save(self, folder: Path | str) -> Path:
        """Write images.csv, audit.json and report.html; return the path of the last."""
        from amint_core.audit import page

        return page.save(self, Path(folder))


def audit(
    score: Score,
    images: Path | str | np.ndarray,
    reference: Path | str | np.ndarray | Scored,
    fdr: float = 0.05,
    *,
    preprocessing: Preprocessing,
    members: np.ndarray | None = None,
    published: Published | None = None,
    batch_size: int = 256,
) -> Found:
    """Ask which of some images a model was trained on.

    Args:
        score: the model's membership test.
        images: a folder, or (N, H, W, C) uint8 pixels.
        reference: images that were surely not used, of the same source and treatment; or what
            `score_all` returned for them; or (n,) scores alone, such as a model's own calibration,
            whose images cannot be compared then.
        fdr: the share of wrong ones that may be expected among the accused.
        preprocessing: what the model's owner did with his images.
        members: (k,) scores of known members.
        published: fingerprints that the owner published.
        batch_size: images scored at once.

    Raises:
        DataError: a folder is missing or holds no image.
        ProtocolError: too few references.
        ModelError: the scores have another form.
    """
    queries = score_all(score, images, preprocessing, published, batch_size)
    if not len(queries):
        raise DataError(
            f"No image could be read ({len(queries.refused)} files refused). "
            + "; ".join(f"{each.name} {each.reason}" for each in queries.refused[:3])
        )
    known, warnings = _reference(score, reference, preprocessing, batch_size)
    scores, statistics, dropped = _without(known, set(queries.hashes))
    if dropped:
        warnings.append(
            f"{dropped} reference images are among the images in question, and were left out of "
            "the reference. Check that it holds nothing that may have been used."
        )
    firsts, rows = _unique(queries.hashes)
    verdict = judge(
        queries.scores[firsts],
        scores,
        fdr,
        members=members,
        statistics=queries.statistics[firsts],
        of_reference=statistics,
    )
    return Found(queries, verdict, scores, rows, preprocessing, members, tuple(warnings))


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


def _reference(
    score: Score,
    reference: Path | str | np.ndarray | Scored,
    preprocessing: Preprocessing,
    batch_size: int,
) -> tuple[Scored, list[str]]:
    if isinstance(reference, Scored):
        return reference, []
    if isinstance(reference, np.ndarray) and reference.ndim == 1:
        return Scored(scores=reference), [
            "The reference is a list of scores, so its images could not be compared with yours. "
            "Images of your own that were surely not used are the better reference."
        ]
    return score_all(score, reference, preprocessing, batch_size=batch_size), []


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


def _without(known: Scored, hashes: set[bytes]) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Return scores and statistics of the references that are not among the queries."""
    if not known.hashes:
        return known.scores, None, 0
    kept = np.array([each not in hashes for each in known.hashes])
    return known.scores[kept], known.statistics[kept], int((~kept).sum())


def _unique(hashes: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first place of each different image, and for each image its row among those.

    The same image twice is one question: the bounds count images that were drawn separately.
    """
    _, firsts, rows = np.unique(np.array(hashes), return_index=True, return_inverse=True)
    # In the order of the images, not of the hashes.
    order = np.argsort(firsts)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return firsts[order], place[rows]

"""Score every image of a folder, in constant memory, by a plain function from batches to scores."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from amint_core.audit.exchangeability import STATISTICS, image_statistics
from amint_core.audit.fingerprints import Published, content_hash
from amint_core.audit.images import Picture, Refused, batches, read
from amint_core.audit.preprocessing import Preprocessing
from amint_core.errors import ModelError
from amint_core.methods.posteriors import scaled_logits

#: (B, C, H, W) floats, normalised → (B,) scores; higher ones speak for membership.
Score = Callable[[Tensor], Tensor]
#: (B, C, H, W) floats, normalised → (B, classes) logits of the classifier.
Classify = Callable[[Tensor], Tensor]


@dataclass
class Scored:
    """What is kept of images once they were seen: some 100 bytes each, no pixels."""

    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)  # of published images, see `Published.match`
    hashes: list[bytes] = field(default_factory=list)
    sources: list[Path | None] = field(default_factory=list)
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))  # (N,)
    statistics: np.ndarray = field(default_factory=lambda: np.empty((0, len(STATISTICS))))
    #: (N,) φ = log p - log(1 - p) of the predicted class, and of the class that the image's folder
    #: names (NaN where it names none), less the mean over shadow models, each of its own prediction
    #: or of the same class, where there are any; None: the classifier was not asked.
    sureness: np.ndarray | None = None
    of_label: np.ndarray | None = None
    refused: list[Refused] = field(default_factory=list)
    pixels: np.ndarray | None = None  # where the images were in memory anyway

    def __len__(self) -> int:
        return len(self.scores)


@torch.inference_mode()
def score_all(
    score: Score,
    source: Path | str | np.ndarray,
    preprocessing: Preprocessing,
    published: Published | None = None,
    batch_size: int = 256,
    classify: Classify | None = None,
    classes: Sequence[str] = (),
    shadows: Sequence[Classify] = (),
) -> Scored:
    """Score every image of a folder or an array, one batch in memory at a time.

    Args:
        score: the membership test.
        source: a folder, or (N, H, W, C) uint8 pixels.
        preprocessing: what the model's owner did with his images.
        published: fingerprints to look the images up in.
        batch_size: images scored at once.
        classify: the classifier, to note how sure it is; None: it is not asked.
        classes: its classes' names, for images in a folder of that name; numbers will do.
        shadows: classifiers of the same classes that learnt none of the images. How sure they are
            tells how easy an image is, and is taken off how sure the classifier is of it.
    """
    # Flat and growing at their ends: small arrays kept from every batch would lie between the large
    # ones of the next, and memory would grow by half a batch with each.
    result, scores, statistics = Scored(), array("d"), array("f")
    sureness, of_label = array("d"), array("d")
    result.pixels = source if isinstance(source, np.ndarray) else None
    for batch in batches(_pictures(source, preprocessing, result.refused), batch_size):
        pixels = np.stack([picture.pixels for picture in batch])
        scores.frombytes(_scores(score, preprocessing.normalise(pixels)).tobytes())
        described = image_statistics(pixels)
        if classify is not None:
            logits = _logits(classify, preprocessing.normalise(pixels))
            others = [_logits(each, preprocessing.normalise(pixels)) for each in shadows]
            _require_same_classes(logits, others)
            if len(classes) > logits.shape[1]:
                raise ModelError(
                    f"The model's card names {len(classes)} classes, and the model tells "
                    f"{logits.shape[1]}. Get the folder from its owner again."
                )
            ease = _sureness(others) if others else 0.0
            sureness.frombytes((_sureness([logits]) - ease).tobytes())
            labels = [_label(picture, classes, logits.shape[1]) for picture in batch]
            of_label.frombytes(_of_labels(logits, others, np.array(labels)).tobytes())
            if others:
                described = np.column_stack([described, np.float32(ease)])
        statistics.frombytes(described.tobytes())
        for picture in batch:
            result.names.append(picture.name)
            result.notes.append(picture.note)
            result.sources.append(picture.source)
            result.hashes.append(content_hash(picture.pixels))
            result.copies.append(published.match(picture.pixels) if published else "")
    result.scores = np.array(scores)
    if len(result):
        result.statistics = np.array(statistics).reshape(len(result), -1)
    if classify is not None:
        result.sureness, result.of_label = np.array(sureness), np.array(of_label)
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


def _logits(classify: Classify, batch: Tensor) -> np.ndarray:
    logits = torch.as_tensor(classify(batch)).detach().cpu().double().numpy()
    if logits.ndim != 2 or len(logits) != len(batch) or logits.shape[1] < 2:
        raise ModelError(
            f"The classifier returned shape {logits.shape} for {len(batch)} images. It must return "
            "(images, classes) logits of two classes or more."
        )
    return logits


def _label(picture: Picture, classes: Sequence[str], count: int) -> int:
    """Return the number of the class that the image's own folder is named after; -1: none."""
    name = Path(picture.name).parent.name
    if name in classes:
        return list(classes).index(name)
    if any(one.isdecimal() for one in classes):  # numbers of the owner's own, perhaps from 1 on
        return -1
    return int(name) if name.isascii() and name.isdecimal() and int(name) < count else -1


def _sureness(answers: list[np.ndarray]) -> np.ndarray:
    """Return (B,) φ of what each model itself predicts, the mean over the models.

    Shadow models are not asked about the classifier's prediction: of a wrong one they are less sure
    than it is, and a stranger would look as if it had learnt him.
    """
    return np.mean([scaled_logits(each, each.argmax(1)) for each in answers], axis=0)


def _of_labels(logits: np.ndarray, others: list[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Return (B,) φ of the given classes, less the shadow models' mean; NaN where there is none."""
    known = np.maximum(labels, 0)
    values = scaled_logits(logits, known)
    if others:
        values -= np.mean([scaled_logits(each, known) for each in others], axis=0)
    return np.where(labels < 0, np.nan, values)


def _require_same_classes(logits: np.ndarray, others: list[np.ndarray]) -> None:
    for number, each in enumerate(others, 1):
        if each.shape != logits.shape:
            raise ModelError(
                f"Shadow model {number} knows {each.shape[1]} classes, the classifier "
                f"{logits.shape[1]}. Train shadow models for the same classes, in the same order."
            )

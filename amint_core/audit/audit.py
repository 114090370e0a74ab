"""Audit a folder of images: score it, judge it, and keep what a report needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amint_core.audit.exchangeability import FEWEST
from amint_core.audit.fingerprints import Published
from amint_core.audit.found import Found
from amint_core.audit.images import in_words
from amint_core.audit.preprocessing import Preprocessing
from amint_core.audit.scoring import Classify, Score, Scored, score_all
from amint_core.audit.verdict import judge, known_members, require_rate
from amint_core.errors import DataError, ProtocolError


def audit(
    score: Score,
    images: Path | str | np.ndarray,
    reference: Path | str | np.ndarray | Scored,
    fdr: float = 0.05,
    *,
    preprocessing: Preprocessing,
    members: np.ndarray | None = None,
    published: Published | None = None,
    classify: Classify | None = None,
    classes: Sequence[str] = (),
    shadows: Sequence[Classify] = (),
) -> Found:
    """Ask which of some images a model was trained on.

    Args:
        score: the model's membership test.
        images: a folder, or (N, H, W, C) uint8 pixels.
        reference: images that were surely not used, of the same source and treatment; or what
            `score_all` returned for them; or (n,) scores alone, such as a model's own calibration,
            whose images cannot be compared then.
        members: (k,) scores of known members; fewer than 20 tell too little and are left out.
        fdr, published: see `AuditableModel.audit`.
        preprocessing, classify, classes, shadows: see `score_all`.

    Raises:
        DataError: a folder is missing or holds no image.
        ProtocolError: too few references, or none that shadow models could be asked about.
        ModelError: the scores have another form.
    """
    if shadows and not _are_images(reference):
        raise ProtocolError(
            "Shadow models have to be asked about the references, too, and of these only scores "
            "are there. Give a reference of your own, images that were surely not used."
        )
    fdr = require_rate(fdr)  # before the images are looked at
    asked = {"classify": classify, "classes": classes, "shadows": shadows}
    queries = score_all(score, images, preprocessing, published, **asked)
    _require_images(queries)
    known, warnings = _reference(score, reference, preprocessing, asked)
    known, dropped = _without(known, set(queries.hashes))
    if dropped:
        warnings.append(
            f"{dropped} reference images are among the images in question, and were left out of "
            "the reference. Check that it holds nothing that may have been used."
        )
    firsts, rows = _unique(queries.hashes)
    questions = _part(queries, firsts)
    members = known_members(members)
    posterior, true_classes = _posteriors(questions, known)
    if not true_classes and (unnamed := _without_class(questions, known)):
        warnings.append(unnamed)
    verdict = judge(
        questions.scores,
        known.scores,
        fdr,
        members=members,
        statistics=questions.statistics,
        of_reference=known.statistics if known.hashes else None,
        posterior=posterior,
        shadows=len(shadows),
        true_classes=true_classes,
        listed=np.array([bool(queries.copies[row]) for row in firsts]) if published else None,
    )
    if not verdict.fit.compared:
        warnings.append(_uncompared(questions, known))
    return Found(queries, verdict, known.scores, rows, preprocessing, members, tuple(warnings))


def _are_images(reference: Path | str | np.ndarray | Scored) -> bool:
    scores = isinstance(reference, np.ndarray) and reference.ndim == 1
    return not scores and not isinstance(reference, Scored)


def _require_images(queries: Scored) -> None:
    if not len(queries):
        refused = "; ".join(f"{each.name} {each.reason}" for each in queries.refused[:3])
        raise DataError(
            f"Of the images in question none could be read ({len(queries.refused)} files refused). "
            f"Name a folder that holds images. {refused}".strip()
        )


def _reference(
    score: Score,
    reference: Path | str | np.ndarray | Scored,
    preprocessing: Preprocessing,
    asked: dict[str, Any],
) -> tuple[Scored, list[str]]:
    if _are_images(reference):
        known = score_all(score, reference, preprocessing, **asked)
        return known, [_passed_over(known)] if known.refused else []
    if isinstance(reference, Scored):
        return reference, []
    return Scored(scores=reference), [
        "The reference is a list of scores, so its images could not be compared with yours. "
        "Images of your own that were surely not used are the better reference."
    ]


def _passed_over(known: Scored) -> str:
    count = len(known.refused)
    return f"Of the reference {count} files could not be read: {in_words(known.refused)}."


def _without(known: Scored, hashes: set[bytes]) -> tuple[Scored, int]:
    """Return the different references that are not among the queries, and how many are."""
    if not known.hashes:
        return known, 0
    firsts, _ = _unique(known.hashes)
    kept = np.array([row for row in firsts if known.hashes[row] not in hashes], int)
    return _part(known, kept), len(firsts) - len(kept)


def _part(scored: Scored, rows: np.ndarray) -> Scored:
    """Return the numbers of some images, without their files."""
    sure, of_label = scored.sureness, scored.of_label
    return Scored(
        hashes=[scored.hashes[row] for row in rows],
        scores=scored.scores[rows],
        statistics=scored.statistics[rows],
        sureness=None if sure is None else sure[rows],
        of_label=None if of_label is None else of_label[rows],
    )


def _posteriors(
    queries: Scored, known: Scored
) -> tuple[tuple[np.ndarray, np.ndarray] | None, bool]:
    """Return how sure the classifier is of both, and whether of their true classes.

    That is where all of them have one; otherwise it is the class that the classifier predicts.
    """
    sides = queries.of_label, known.of_label
    if all(side is not None and np.isfinite(side).all() for side in sides):
        return sides, True
    sides = queries.sureness, known.sureness
    return (None if any(side is None for side in sides) else sides), False


def _without_class(queries: Scored, known: Scored) -> str:
    """Say how many images lack the class that others have, and what follows; "" where none has."""
    named = [
        0 if one.of_label is None else int(np.isfinite(one.of_label).sum())
        for one in (queries, known)
    ]
    if not any(named):
        return ""
    lacking = [
        f"{len(one) - count} of {len(one)} {what}"
        for one, count, what in zip((queries, known), named, ("images", "references"), strict=True)
        if count < len(one)
    ]
    return (
        f"{' and '.join(lacking)} are in no folder named after a class, so the classes that the "
        "classifier predicts counted, which find fewer undeclared images than the true ones. Put "
        "all into folders named after their classes."
    )


def _uncompared(queries: Scored, known: Scored) -> str:
    """Say why images were not compared with the references, and what follows."""
    why = f"{len(queries)} images are too few to be compared with the references"
    remedy = "Ask about more at once."
    if not known.hashes and len(queries) >= FEWEST:
        why = (
            "The images could not be compared with the references, of which only scores are at "
            "hand, and hardly one of the images scores as low as these do"
        )
        remedy = "Give images of your own that were surely not used."
    return (
        f"{why}: that they are of the same kind is your word, and images of another kind may all "
        f"be called members. {remedy}"
    )


def _unique(hashes: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first place of each different image, and for each image its row among those.

    The same image twice is one question: the bounds count images that were drawn separately.
    """
    rows, _ = pd.factorize(np.array(hashes, object))
    return np.unique(rows, return_index=True)[1], rows

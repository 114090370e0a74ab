"""What may be said of a set of images, as data, each with the sentence that a reader is told.

There are two answers for an image, "member" and "cannot tell". "Not used" is none of them: a member
that the model does not recognise, or that its owner kept from the head, scores as a stranger does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from amint_core.audit import conformal, share
from amint_core.audit.fit import Fit, compare
from amint_core.errors import ProtocolError

MEMBER, CANNOT_TELL = "member", "cannot tell"
FOUND = "members found"

#: With fewer references hardly anything can be said, and nothing of how well they fit.
FEWEST_REFERENCES = 50


@dataclass(frozen=True)
class Statement:
    """One thing that is said of the whole set."""

    about: str  # a key for programs
    sentence: str  # for readers
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer for m images against n references."""

    outcome: str  # FOUND or CANNOT_TELL
    p: np.ndarray  # (m,) conformal p-values
    accused: np.ndarray  # (m,) bool
    floor: int  # least number of accusations at once
    fdr: float
    confidence: float
    references: int
    fit: Fit
    statements: tuple[Statement, ...]

    @property
    def headline(self) -> str:
        """The answer in a few words; the floor always with it."""
        if self.outcome == FOUND:
            return f"{int(self.accused.sum())} of {len(self.p)} images accused, floor {self.floor}"
        return f"{CANNOT_TELL}, floor {self.floor}"

    def decision(self, index: int) -> str:
        """Return what is said of one image."""
        return MEMBER if self.accused[index] else CANNOT_TELL

    def statement(self, about: str) -> Statement | None:
        """Return the statement about something, or None where nothing can be said of it."""
        return next((each for each in self.statements if each.about == about), None)


def judge(
    scores: np.ndarray,
    reference: np.ndarray,
    fdr: float = 0.05,
    *,
    members: np.ndarray | None = None,
    statistics: np.ndarray | None = None,
    of_reference: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Verdict:
    """Judge images by their scores; higher ones speak for membership.

    Args:
        scores: (m,) of the images in question, each image once.
        reference: (n,) of images that were surely not used and otherwise are of the same kind.
        fdr: the share of wrong ones that may be expected among the accused.
        members: (k,) of known members in copies such as the queries are; None: unknown.
        statistics: (m, F) of the queries' images (`fit.image_statistics`), or None.
        of_reference: (n, F) of the references' images, or None.
        confidence: of each bound.

    Raises:
        ProtocolError: too few references, no queries, or scores that are no numbers.
    """
    scores, reference = (np.asarray(each, float).ravel() for each in (scores, reference))
    _check(scores, reference, fdr)
    fit = compare(scores, reference, statistics, of_reference)
    p = conformal.p_values(scores, reference)
    accused = conformal.accused(p, fdr) & fit.holds
    floor = conformal.floor(len(scores), len(reference), fdr)
    said = [_on_images(accused, floor, len(reference), fdr, fit)]
    if fit.holds:
        tails = conformal.Tails(scores, reference, confidence)
        said += _on_accused(scores, reference, accused, tails, confidence)
        said += _on_set(scores, reference, tails, confidence)
        if members is not None:
            said += _on_share(scores, reference, np.asarray(members, float), confidence)
    return Verdict(
        FOUND if accused.any() else CANNOT_TELL,
        p,
        accused,
        floor,
        fdr,
        confidence,
        len(reference),
        fit,
        tuple(said),
    )


def _check(scores: np.ndarray, reference: np.ndarray, fdr: float) -> None:
    if not len(scores):
        raise ProtocolError("There is no image to judge. Name a folder that holds some.")
    if len(reference) < FEWEST_REFERENCES:
        raise ProtocolError(
            f"{len(reference)} reference images are too few to judge by; give at least "
            f"{FEWEST_REFERENCES}, better thousands, that were surely not used."
        )
    if not (np.isfinite(scores).all() and np.isfinite(reference).all()):
        raise ProtocolError("Some scores are no finite numbers. Check the model and its input.")
    if not 0 < fdr < 1:
        raise ProtocolError(f"A false-discovery rate lies between 0 and 1, {fdr:g} does not.")


def _on_images(accused: np.ndarray, floor: int, references: int, fdr: float, fit: Fit) -> Statement:
    found, queries = int(accused.sum()), len(accused)
    if not fit.holds:
        differing = ", ".join(f"{each.name} ({each.distance:.2f})" for each in fit.differences)
        sentence = (
            "It cannot be told which of these images were used: the reference images are of "
            f"another kind. They differ in {differing}. Hand in a reference of the same source and "
            "the same treatment as the images in question."
        )
        return Statement("images", sentence, 0)
    if found:
        sentence = (
            f"{found} of {queries} images are called members, chosen such that {fdr:.0%} of those "
            "called so are expected to be wrong at most. Of the others it cannot be told whether "
            f"they were used. {_floor_sentence(floor, queries, references, fdr)}"
        )
        return Statement("images", sentence, found)
    sentence = (
        "It cannot be told which of these images were used. That nobody is accused does not mean "
        f"that nothing was used. {_floor_sentence(floor, queries, references, fdr)}"
    )
    return Statement("images", sentence, 0)


def _floor_sentence(floor: int, queries: int, references: int, fdr: float) -> str:
    if floor <= 1:
        return f"With {references:,} references a single image can be accused."
    if floor > queries:
        needed = math.ceil(1 / fdr - 1 - 1e-9)
        return (
            f"The floor is {floor}, more than there are images: with {references:,} references "
            f"nobody can be accused at all; it takes {needed:,} or more."
        )
    needed = math.ceil(queries / fdr - 1 - 1e-9)
    return (
        f"The floor is {floor}: of {queries:,} images, {references:,} references can show {floor} "
        f"or more members at once, or none. For single ones it takes {needed:,} references, or "
        "fewer images at a time."
    )


def _on_accused(
    scores: np.ndarray,
    reference: np.ndarray,
    accused: np.ndarray,
    tails: conformal.Tails,
    confidence: float,
) -> list[Statement]:
    if not accused.any():
        return []
    found, rank = int(accused.sum()), int(conformal.as_high(scores, reference)[accused].max())
    false = min(found, tails.most_false(rank))
    rate = conformal.accused_share(rank, len(reference), confidence)
    return [
        Statement(
            "false discoveries",
            f"With {confidence:.0%} confidence at most {false} of the {found} accused images "
            f"({false / found:.0%}) were not used.",
            false / found,
        ),
        Statement(
            "false-positive rate",
            f"At this threshold at most {rate:.2%} of all strangers of this kind are accused, "
            f"with {confidence:.0%} confidence in the references, whatever is asked about later.",
            rate,
        ),
    ]


def _on_set(
    scores: np.ndarray, reference: np.ndarray, tails: conformal.Tails, confidence: float
) -> list[Statement]:
    above = stats.mannwhitneyu(scores, reference, alternative="greater").pvalue
    p = min(1.0, 2 * min(float(above), tails.p_none()))  # two tests, so twice the smaller
    if p <= 1 - confidence:
        none = f"That none of these images was used is refuted ({_shown(p)})."
    else:
        none = (
            f"That none of these images was used is not refuted ({_shown(p)}). This is no sign "
            "that none was."
        )
    least = tails.least_used
    return [
        Statement("none used", none, p),
        Statement(
            "least used",
            f"With {confidence:.0%} confidence at least {least} of the {len(scores)} images were "
            "used, whichever they are. Without known members there is no upper bound.",
            least,
        ),
    ]


def _shown(p: float) -> str:
    """Return a p-value as text; below a millionth it says more of formulas than of images."""
    return f"p = {p:.2g}" if p >= 1e-6 else "p < 0.000001"


def _on_share(
    scores: np.ndarray, reference: np.ndarray, members: np.ndarray, confidence: float
) -> list[Statement]:
    value, low, high = share.with_members(scores, reference, members, confidence)
    provided = (
        "provided that the model recognises these copies as well as it does those of the known "
        "members, and that the owner declared all his members"
    )
    said = Statement(
        "share",
        f"{value:.1%} of the images were used ({low:.1%} to {high:.1%} with {confidence:.0%} "
        f"confidence), {provided}.",
        value,
        low,
        high,
    )
    p = float(stats.mannwhitneyu(scores, members, alternative="less").pvalue)
    if p <= 1 - confidence:
        all_used = f"That all of them were used is refuted ({_shown(p)}), {provided}."
    else:
        all_used = f"All of them may have been used: their scores do not contradict it, {provided}."
    return [said, Statement("all used", all_used, p)]

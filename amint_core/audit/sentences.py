"""The sentences that an audit says of a set of images, each with its number for programs.

None of them says that something was not used: see `verdict`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from amint_core.audit import conformal, share
from amint_core.audit.conformal import CONFIDENCE
from amint_core.audit.contradictions import LEVEL, Contradictions
from amint_core.audit.exchangeability import Fit


@dataclass(frozen=True)
class Sentence:
    """One thing that is said of the whole set."""

    about: str  # a key for programs
    sentence: str  # for readers
    value: float | None = None
    low: float | None = None
    high: float | None = None


def on_images(accused: np.ndarray, floor: int, references: int, fdr: float, fit: Fit) -> Sentence:
    """Return what is said of the single images."""
    found, queries = int(accused.sum()), len(accused)
    if not fit.holds:
        differing = ", ".join(f"{each.name} ({each.distance:.2f})" for each in fit.differences)
        sentence = (
            "It cannot be told which of these images were used: the reference images are of "
            f"another kind. They differ in {differing}. Hand in a reference of the same source and "
            "the same treatment as the images in question."
        )
        return Sentence("images", sentence, 0)
    if found:
        sentence = (
            f"{found} of {queries} images are called members, chosen such that {100 * fdr:g}% of "
            "those called so are expected to be wrong at most. Of the others it cannot be told "
            f"whether they were used. {_floor_sentence(floor, queries, references, fdr)}"
        )
        return Sentence("images", sentence, found)
    sentence = (
        "It cannot be told which of these images were used. That nobody is accused does not mean "
        f"that nothing was used. {_floor_sentence(floor, queries, references, fdr)}"
    )
    return Sentence("images", sentence, 0)


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


def on_accused(
    scores: np.ndarray,
    reference: np.ndarray,
    accused: np.ndarray,
    tails: conformal.Tails,
) -> list[Sentence]:
    """Return the bounds on wrong accusations; none without accusations."""
    if not accused.any():
        return []
    found, rank = int(accused.sum()), int(conformal.as_high(scores, reference)[accused].max())
    false = min(found, tails.most_false(rank))
    rate = conformal.accused_share(rank, len(reference))
    return [
        Sentence(
            "false discoveries",
            f"With {CONFIDENCE:.0%} confidence at most {false} of the {found} accused images "
            f"({false / found:.0%}) were not used.",
            false / found,
        ),
        Sentence(
            "false-positive rate",
            f"At this threshold at most {rate:.2%} of all strangers of this kind are accused, "
            f"with {CONFIDENCE:.0%} confidence in the references, whatever is asked about later.",
            rate,
        ),
    ]


def on_set(tails: conformal.Tails) -> list[Sentence]:
    """Return what is said without known members: were none used, how many at least."""
    p = tails.p_none()
    if p <= 1 - CONFIDENCE:
        none = f"That none of these images was used is refuted ({_shown(p)})."
    else:
        none = (
            f"That none of these images was used is not refuted ({_shown(p)}). This is no sign "
            "that none was."
        )
    least = tails.least_used
    return [
        Sentence("none used", none, p),
        Sentence(
            "least used",
            f"With {CONFIDENCE:.0%} confidence at least {least} of the {tails.queries} images were "
            "used, whichever they are. Without known members there is no upper bound.",
            least,
        ),
    ]


def _shown(p: float) -> str:
    """Return a p-value as text; below a millionth it says more of formulas than of images."""
    return f"p = {p:.2g}" if p >= 1e-6 else "p < 0.000001"


def on_share(
    scores: np.ndarray, reference: np.ndarray, members: np.ndarray, least: int
) -> list[Sentence]:
    """Return what is said with known members: which share was used, may all have been.

    By the references alone at `least` so many were used.
    """
    value, low, high = share.with_members(scores, reference, members)
    provided = (
        "provided that the model recognises these copies as well as it does those of the known "
        "members, whose scores are the owner's word, and that the owner declared all his members"
    )
    refuted = ""
    if high * len(scores) < least:
        refuted = (
            f" Do not rely on this: by the references alone at least {least} were used, so the "
            "scores of known members cannot be right, or the references are of another kind."
        )
    said = Sentence(
        "share",
        f"{value:.1%} of the images were used ({low:.1%} to {high:.1%} with {CONFIDENCE:.0%} "
        f"confidence), {provided}.{refuted}",
        value,
        low,
        high,
    )
    p = float(stats.mannwhitneyu(scores, members, alternative="less").pvalue)
    if p <= 1 - CONFIDENCE:
        all_used = f"That all of them were used is refuted ({_shown(p)}), {provided}."
    else:
        all_used = f"All of them may have been used: their scores do not contradict it, {provided}."
    return [said, Sentence("all used", all_used, p)]


def on_contradictions(
    against: Contradictions,
    accused: np.ndarray,
    listed: np.ndarray | None,
    references: int,
) -> list[Sentence]:
    """Return what is said where classifier or list contradict the head."""
    said = []
    if against.p is not None:
        said.append(Sentence("possibly undeclared", *_undeclared(against, references)))
    if listed is not None and accused.any():
        missing, found = int(against.missing.sum()), int(accused.sum())
        sentence = (
            f"{missing} of the {found} images called members are missing from the list that the "
            "owner published, also as near copies."
        )
        said.append(Sentence("missing from the list", sentence, missing))
    return said


def _undeclared(against: Contradictions, references: int) -> tuple[str, int]:
    """Return what is said of images that the head denies and the classifier gives away."""
    found, queries = int(against.undeclared.sum()), len(against.undeclared)
    sure = f"as sure of them as it is of at most {LEVEL:.0%} of the references"
    by = "by their true classes" if against.true_classes else "by the classes that it predicts"
    if against.shadows:
        others = "shadow model" if against.shadows == 1 else f"{against.shadows} shadow models"
        margin = f"a margin that at most {LEVEL:.0%} of the references reach"
        sure = f"surer of them than the {others}, by {margin}"
    sentence = (
        f"{found} of {queries:,} images are possibly undeclared: the head does not recognise them, "
        f"but the classifier, {by}, is {sure}. "
        f"Among as many strangers about {against.expected:.1f} would be."
    )
    if references < against.fewest:
        sentence = (
            f"Which images the classifier knows and the head denies cannot be told with "
            f"{references} references; it takes {against.fewest} or more."
        )
    if against.chance > 1 - CONFIDENCE:
        return (
            f"{sentence} The {against.denied:,} that the head denies do not differ from strangers "
            f"as a whole ({_shown(against.chance)}), which is no sign that nothing was left out: a "
            "classifier may be as sure of strangers."
        ), found
    least = "some, of which it cannot be told how many they are"
    if against.least:
        least = f"at least {against.least}, whichever they are, with {CONFIDENCE:.0%} confidence"
    return (
        f"{sentence} Of the {against.denied:,} that the head denies the classifier learnt {least}; "
        f"chance does not explain it ({_shown(against.chance)}). They were kept from the head, "
        "were declared as external, or are declared members that it does not recognise"
        f"{_overlooked(against)}. Ask the owner for his signed list and for a replay of "
        "the training."
    ), found


def _overlooked(against: Contradictions) -> str:
    if against.overlooked is None:
        return ""
    return (
        f": of the known members it denies {against.overlooked:.1%} as well, by scores that are "
        "the owner's word"
    )

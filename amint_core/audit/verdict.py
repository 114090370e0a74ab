"""What may be said of a set of images, as data, each with the sentence that a reader is told.

There are two answers for an image, "member" and "cannot tell". "Not used" is none of them: a member
that the model does not recognise, or that its owner kept from the head, scores as a stranger does.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

import numpy as np

from amint_core.audit import conformal, sentences
from amint_core.audit.contradictions import UNDECLARED, Contradictions, contradictions
from amint_core.audit.exchangeability import Fit, compare
from amint_core.audit.sentences import Sentence
from amint_core.errors import ProtocolError

MEMBER, CANNOT_TELL = "member", "cannot tell"
FOUND = "members found"

#: With fewer references hardly anything can be said, and nothing of how well they fit.
FEWEST_REFERENCES = 50
#: Known members that it takes for a bound on the share of images that were used.
FEWEST_MEMBERS = 20


def require_calibration(count: int) -> None:
    """Refuse too few calibration images, which are the reference of whoever brings none.

    Raises:
        ProtocolError: an audit could say hardly anything by them.
    """
    if count < FEWEST_REFERENCES:
        raise ProtocolError(
            f"{count} calibration images are too few for an audit; keep at least "
            f"{FEWEST_REFERENCES}, better thousands, out of training."
        )


def known_members(scores: np.ndarray | None) -> np.ndarray | None:
    """Return the (k,) scores of known members as floats; None where they tell nothing.

    They are weighed in halves, each by what the other says (`share.with_members`): of a few the
    share's interval covers less than it says.
    """
    few = scores is None or len(scores) < FEWEST_MEMBERS
    return None if few else np.asarray(scores, float).ravel()


@dataclass(frozen=True)
class Verdict:
    """The answer for m images against n references."""

    outcome: str  # FOUND or CANNOT_TELL
    p: np.ndarray  # (m,) conformal p-values
    accused: np.ndarray  # (m,) bool
    floor: int  # least number of accusations at once
    fdr: float
    references: int
    fit: Fit
    statements: tuple[Sentence, ...]
    contradictions: Contradictions

    @property
    def headline(self) -> str:
        """The answer in a few words; the floor always with it."""
        said = f"{CANNOT_TELL}, floor {self.floor}"
        if self.outcome == FOUND:
            said = f"{int(self.accused.sum())} of {len(self.p)} images accused, floor {self.floor}"
        if self.contradictions.chance <= 1 - conformal.CONFIDENCE:  # more than chance brings
            least = self.contradictions.least
            said += f"; {f'{least} or more' if least else 'some'} {UNDECLARED}"
        return said

    def decision(self, index: int) -> str:
        """Return what is said of one image."""
        return MEMBER if self.accused[index] else CANNOT_TELL

    def statement(self, about: str) -> Sentence | None:
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
    posterior: tuple[np.ndarray, np.ndarray] | None = None,
    listed: np.ndarray | None = None,
    shadows: int = 0,
    true_classes: bool = False,
) -> Verdict:
    """Judge images by their scores; higher ones speak for membership.

    Args:
        scores: (m,) of the images in question, each image once.
        reference: (n,) of images that were surely not used and otherwise are of the same kind.
        fdr: the share of wrong ones that may be expected among the accused.
        members: (k,) of known members in copies such as the queries are; None: unknown.
        statistics: (m, F) of the queries' images (`exchangeability.image_statistics`), or None.
        of_reference: (n, F) of the references' images, or None.
        posterior: how surely the classifier answers for the (m,) queries and the (n,) references,
            higher for surer; None: it was not asked.
        listed: (m,) bool: the owner's list has the query; None: there is no list.
        shadows: how many shadow models the posterior is compared with.
        true_classes: whether the posterior is of the images' true classes; of those that the
            classifier predicts otherwise.

    Raises:
        ProtocolError: too few references, no queries, or scores that are no numbers.
    """
    scores, reference = (np.asarray(each, float).ravel() for each in (scores, reference))
    _check(scores, reference, fdr)
    members = known_members(members)
    conformal.require_finite(*(posterior or ()), *(() if members is None else (members,)))
    fit = compare(scores, reference, statistics, of_reference)
    p = conformal.p_values(scores, reference)
    accused = conformal.accused(p, fdr) & fit.holds
    floor = conformal.floor(len(scores), len(reference), fdr)
    asked = posterior if fit.holds else None
    of_head = scores, reference
    against = contradictions(of_head, accused, asked, listed, shadows, members, true_classes)
    said = [sentences.on_images(accused, floor, len(reference), fdr, fit)]
    if fit.holds:
        tails = conformal.Tails(scores, reference)
        said += sentences.on_accused(scores, reference, accused, tails)
        said += sentences.on_set(tails)
        if members is not None:
            said += sentences.on_share(scores, reference, members, tails.least_used)
    said += sentences.on_contradictions(against, accused, listed, len(reference))
    return Verdict(
        FOUND if accused.any() else CANNOT_TELL,
        p,
        accused,
        floor,
        fdr,
        len(reference),
        fit,
        tuple(said),
        against,
    )


def _check(scores: np.ndarray, reference: np.ndarray, fdr: float) -> None:
    if not len(scores):
        raise ProtocolError("There is no image to judge. Name a folder that holds some.")
    if len(reference) < FEWEST_REFERENCES:
        raise ProtocolError(
            f"{len(reference)} reference images are too few to judge by. Bring a reference folder "
            f"of at least {FEWEST_REFERENCES} images of your own, better thousands, that were "
            "surely not used and are not among the images in question."
        )
    conformal.require_finite(scores, reference)
    require_rate(fdr)


def require_rate(fdr: float) -> float:
    """Return a false-discovery rate as Python's float.

    Raises:
        ProtocolError: it is none.
    """
    if not isinstance(fdr, Real) or not 0 < fdr < 1:
        raise ProtocolError(f"A false-discovery rate is a number between 0 and 1, not {fdr!r}.")
    return float(fdr)

"""An audit's result and its report: one HTML file that needs nothing else, a CSV, a JSON."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from sklearn.metrics import roc_curve

from amint_core.audit.conformal import CONFIDENCE
from amint_core.audit.images import Unfit, open_image
from amint_core.audit.preprocessing import Preprocessing
from amint_core.audit.scoring import Scored
from amint_core.audit.statement import Statement
from amint_core.audit.verdict import Verdict
from amint_core.errors import ResultsError
from amint_core.extras import require
from amint_core.files import read_json, require_free, write_json, write_text
from amint_core.locations import given_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Files of a report: what was found, every file that was asked about, and the page.
SUMMARY, TABLE, PAGE = "audit.json", "images.csv", "report.html"
#: Rows in the HTML file; the CSV has all.
MOST_ACCUSED, MOST_OTHERS, MOST_REFUSED = 300, 40, 300
_SIDE = 72  # pixels of a thumbnail
_BLUE, _ORANGE, _GREEN = "#0072b2", "#d55e00", "#009e73"
#: A spreadsheet would run a cell that starts with one of these.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

EXIT_DONE, EXIT_CANNOT_TELL = 0, 3


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
    signed: Statement | None = None  # the owner's, about this model

    def __repr__(self) -> str:
        return f"Found({self.verdict.headline!r})"

    @property
    def exit_code(self) -> int:
        """What `amint audit` ends with: 0 where someone is accused, 3 where it cannot tell."""
        return EXIT_DONE if self.verdict.accused.any() else EXIT_CANNOT_TELL

    def score_figure(self) -> Figure:
        """Draw how the images score, beside references and known members."""
        require("audit", "matplotlib")
        return _figure(_scores, self)

    def save(self, folder: Path | str) -> Path:
        """Write images.csv, audit.json and report.html into a folder; return the last's path.

        Raises:
            ResultsError: the folder cannot be written, or holds such files of another origin.
        """
        require("audit", "matplotlib", "jinja2")
        folder = given_path(folder)
        require_own_folder(folder)
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(_csv_rows(self))
        page = html(self)  # before anything is written: drawing it may fail
        write_json(folder / SUMMARY, summary(self))  # the first, so that the others are known
        write_text(folder / TABLE, text.getvalue())
        write_text(folder / PAGE, page)
        return folder / PAGE


def require_own_folder(folder: Path) -> None:
    """Refuse a folder in which files of ours would replace others of the same names.

    Raises:
        ResultsError: it is a file, or holds such files of another origin.
    """
    try:
        before = read_json(folder / SUMMARY)
    except ResultsError:  # there is none, or one of something else
        before = {}
    if not isinstance(before, dict) or "headline" not in before:
        require_free(folder, (SUMMARY, TABLE, PAGE), "the report")


def summary(found: Found) -> dict[str, Any]:
    """Return all but the single images as JSON holds it."""
    verdict, images = found.verdict, found.images
    return {
        "headline": verdict.headline,
        "outcome": verdict.outcome,
        "exit_code": found.exit_code,
        "floor": verdict.floor,
        "fdr": verdict.fdr,
        "confidence": CONFIDENCE,
        "images": len(images),
        "different_images": len(verdict.p),
        "accused": int(verdict.accused.sum()),
        "possibly_undeclared": int(verdict.contradictions.undeclared.sum()),
        "missing_from_the_list": int(verdict.contradictions.missing.sum()),
        "refused_files": len(images.refused),
        "references": verdict.references,
        "shadows": verdict.contradictions.shadows,
        "signed": found.signed and {"root": found.signed.root, "weights": found.signed.weights},
        "reference_fits": verdict.fit.holds,
        "differences": [asdict(each) for each in verdict.fit.differences],
        "compared": list(verdict.fit.compared),
        "visible_difference": verdict.fit.visible,
        "statements": [asdict(each) for each in verdict.statements],
        "preprocessing": found.preprocessing.record(),
        "warnings": list(found.warnings),
    }


def html(found: Found) -> str:
    """Return the report; whatever stands in a file's name is text in it, never markup."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html")
    order = np.argsort(-found.images.scores, kind="stable")  # so by p, and within equal ones
    accused = found.verdict.accused[found.rows][order]
    shown = [order[accused][:MOST_ACCUSED], order[~accused][:MOST_OTHERS]]
    return template.render(
        summary(found),
        accused_images=[_image_row(found, index) for index in shown[0]],
        other_images=[_image_row(found, index) for index in shown[1]],
        contradicted=_contradicted(found),
        members=int(accused.sum()),
        refused=found.images.refused[:MOST_REFUSED],
        figures=_figures(found),
        copies=sum(1 for each in found.images.copies if each),
    )


def _contradicted(found: Found) -> list[dict[str, Any]]:
    """Return a row for each image in whose answers there is a contradiction, the surest first."""
    against, rows = found.verdict.contradictions, found.rows
    images = np.flatnonzero((against.undeclared | against.missing)[rows])
    if against.p is not None:
        images = images[np.argsort(against.p[rows][images], kind="stable")]
    return [
        _image_row(found, index)
        | {
            "contradiction": against.of(rows[index]),
            "of_classifier": "" if against.p is None else f"{against.p[rows[index]]:.2g}",
        }
        for index in images[:MOST_ACCUSED]
    ]


def _csv_rows(found: Found):
    yield ("file", "score", "p", "decision", "p_classifier", "contradiction", "published", "note")
    images, verdict = found.images, found.verdict
    of_classifier = verdict.contradictions.p
    for index, row in enumerate(found.rows):
        yield (
            _cell(images.names[index]),
            f"{images.scores[index]:.9g}",
            f"{verdict.p[row]:.6g}",
            verdict.decision(row),
            "" if of_classifier is None else f"{of_classifier[row]:.6g}",
            verdict.contradictions.of(row),
            images.copies[index],
            images.notes[index],
        )
    for refused in images.refused:
        yield (_cell(refused.name), "", "", "no image", "", "", "", refused.reason)


def _cell(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULA) else name


def _image_row(found: Found, index: int) -> dict[str, Any]:
    images, row = found.images, found.rows[index]
    return {
        "name": images.names[index],
        "score": f"{images.scores[index]:.3f}",
        "p": f"{found.verdict.p[row]:.2g}",
        "note": "; ".join(filter(None, (images.copies[index], images.notes[index]))),
        "thumbnail": _thumbnail(found, index),
    }


def _thumbnail(found: Found, index: int) -> str:
    """Return a small picture as a data URL, or "" where the file is gone by now, or where an array
    has other channels than a picture."""
    path, pixels = found.images.sources[index], found.images.pixels
    if path is None:
        if (channels := pixels.shape[3]) not in (1, 3):
            return ""
        shown = pixels[index] if channels == 3 else pixels[index, ..., 0]
        image = Image.fromarray(shown).convert("RGB")
        image.thumbnail((_SIDE, _SIDE))
    else:
        try:
            image = Image.fromarray(open_image(path, Preprocessing(_SIDE, _SIDE, fit="crop"))[0])
        except Unfit:
            return ""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return _data_url(buffer)


def _data_url(png: io.BytesIO) -> str:
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def _figures(found: Found) -> list[tuple[str, str, str]]:
    """Return (title, data URL, sentence below) of each figure."""
    accused = "All up to the last one below the line are accused"
    if not found.verdict.fit.holds:
        accused = "Nobody is accused, since the references are of another kind"
    drawn = [
        ("Scores", _draw(_scores, found), "How the images score, beside the references."),
        (
            "P-values",
            _draw(_p_values, found),
            f"The smallest p-values in order. {accused}; no p-value can be below the dotted one.",
        ),
    ]
    if found.members is not None:
        sentence = "How known members are told from the references, by the threshold."
        drawn.append(("ROC of known members", _draw(_roc, found), sentence))
    return drawn


def _draw(draw, found: Found) -> str:
    buffer = io.BytesIO()
    _figure(draw, found).savefig(buffer, format="png")
    return _data_url(buffer)


def _figure(draw, found: Found) -> Figure:
    from matplotlib import pyplot

    # Made by pyplot, which a notebook needs to show it; closed, since it is returned to be shown.
    figure, axes = pyplot.subplots(figsize=(4.6, 3.1), dpi=110, layout="constrained")
    pyplot.close(figure)
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes, found)
    return figure


def _scores(axes: Axes, found: Found) -> None:
    sides: list[tuple[str, Sequence[float], str]] = [
        ("references", found.reference, _BLUE),
        ("images in question", found.images.scores, _ORANGE),
    ]
    if found.members is not None:
        sides.append(("known members", found.members, _GREEN))
    edges = np.histogram_bin_edges(np.concatenate([side for _, side, _ in sides]), bins=40)
    for label, side, colour in sides:
        weights = np.full(len(side), 1 / len(side))
        axes.hist(side, edges, weights=weights, label=label, color=colour, histtype="step", lw=1.5)
    axes.set(xlabel="score", ylabel="share of images")
    axes.legend(frameon=False, fontsize=8)


def _p_values(axes: Axes, found: Found) -> None:
    verdict = found.verdict
    p = np.sort(verdict.p)
    shown = np.arange(1, min(len(p), max(50, 2 * int(verdict.accused.sum()))) + 1)
    axes.plot(shown, p[: len(shown)], ".", color=_ORANGE, ms=3, label="images")
    axes.plot(shown, verdict.fdr * shown / len(p), color=_BLUE, lw=1.2, label="limit")
    axes.axhline(
        1 / (verdict.references + 1), color="grey", ls=":", lw=1, label="smallest possible"
    )
    axes.set(xlabel="rank", ylabel="p-value", yscale="log")
    axes.legend(frameon=False, fontsize=8)


def _roc(axes: Axes, found: Found) -> None:
    truth = np.r_[np.ones(len(found.members)), np.zeros(len(found.reference))]
    false, true, _ = roc_curve(truth, np.r_[found.members, found.reference])
    axes.plot(np.maximum(false, 1 / len(found.reference)), true, color=_GREEN, lw=1.5)
    axes.set(
        xlabel="false-positive rate", ylabel="true-positive rate", xscale="log", ylim=(0, 1.02)
    )

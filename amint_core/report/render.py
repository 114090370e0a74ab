"""Tables for readers: three digits with intervals, as Markdown, LaTeX and HTML; and exact CSV.

Names and values come from results files, which anyone may have written: every form escapes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

STANDIN = (
    "[STAND-IN] marks rows on substitute data: they show that the kit runs, and must not be "
    "compared with the paper's values."
)
SEEDS = (
    "A row of several seeds shows the mean of its runs' values, with Student's interval over "
    "seeds, which is never narrower than the runs' own intervals leave the mean."
)
#: Columns of words; the others hold numbers.
WORDS = (
    *("Dataset", "Setup", "Model", "Protocol", "Device", "Variant"),
    *("Method", "Group", "Switched", "Recipe", "Shadow models"),
)
#: Shorter headings for a printed page; None leaves the column out.
_PRINTED = {
    "MINT accuracy": "MINT",
    "MINT, paper": "paper",
    "Accuracy at .5": "at .5",
    "Audited accuracy": "Audited",
    "Audited, paper": "paper",
    "TPR at 1 % FPR": "TPR, 1 %",
    "Precision at 1 %": "prec., 1 %",
    **dict.fromkeys(("TPR at 0.1 % FPR", "Precision at 10 %", "Group", "Shadow models")),
    **dict.fromkeys(("Members / external", "Judged in / out", "Epochs", "Device")),
}
_CSS = """
body { font-family: system-ui, sans-serif; color: #222; margin: 2em; overflow-x: auto; }
table { border-collapse: collapse; margin: 0 0 2.5em; font-size: 0.88em; }
caption { text-align: left; caption-side: top; padding-bottom: 0.7em; max-width: 70em; }
th { text-align: left; padding: 0.35em 0.8em; border-top: 2px solid #333;
  border-bottom: 1px solid #333; vertical-align: bottom; }
td { padding: 0.25em 0.8em; border-bottom: 1px solid #e4e4e4; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
{body}
</body>
</html>
"""
_TEX_HEAD = """% Needs \\usepackage{booktabs}, \\usepackage{longtable} and UTF-8 input.
\\begingroup
\\footnotesize
\\setlength{\\tabcolsep}{3.5pt}
\\setlength{\\LTcapwidth}{\\linewidth}
\\setlength{\\LTleft}{0pt plus 1fill minus 1fill}
\\setlength{\\LTright}{0pt plus 1fill minus 1fill}
"""
#: LaTeX for its special signs, and for those that its plain fonts lack.
_TEX = {
    **{sign: f"\\{sign}" for sign in "%_&#${}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "→": r"$\rightarrow$",
    "λ": r"$\lambda$",
    "κ": r"$\kappa$",
    "−": "$-$",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class Part:
    """One table of a document: its caption, and its cells as text."""

    caption: str
    text: pd.DataFrame


@dataclass(frozen=True)
class Document:
    """One or more tables of a profile, as a reader gets them.

    Attributes:
        name: of the files, e.g. "table1".
        title: the heading.
        profile: whose results these are.
        intro: what holds for all parts, or "".
        parts: the tables; those without rows are not written.
        unprinted: columns left out on a printed page, besides those left out of every one.
    """

    name: str
    title: str
    profile: str
    intro: str
    parts: list[Part]
    unprinted: tuple[str, ...] = ()

    @property
    def shown(self) -> list[Part]:
        """The parts that have rows."""
        return [part for part in self.parts if not part.text.empty]


def intro(profile: str, text: str, table: pd.DataFrame, seeds: bool = False) -> str:
    """Return a document's first words: text, and what a reader must know of these rows."""
    several = seeds and (table["seeds"] > 1).any()
    standin = (table["data"] == "STAND-IN").any()
    words = [f"Profile {profile}: {text}", *[SEEDS] * bool(several), *[STANDIN] * bool(standin)]
    return " ".join(words)


def measured(value: float, low: float, high: float) -> str:
    """Write a fraction with its interval, e.g. `.913 [.902, .924]`; empty where there is none."""
    return short(value) and short(value) + _interval(low, high, short)


def changed(value: float, difference: float, low: float, high: float) -> str:
    """Write a fraction and how it differs from another, e.g. `.913 (+.012 [-.002, +.021])`."""
    change = signed_interval(difference, low, high)
    return short(value) + (f" ({change})" if change else "")


def signed_interval(value: float, low: float, high: float) -> str:
    """Write a difference with its interval, e.g. `+.012 [-.002, +.021]`; empty for NaN."""
    return signed(value) and signed(value) + _interval(low, high, signed)


def short(value: float, digits: int = 3) -> str:
    """Write a fraction without the leading zero, e.g. `.913` or `-.020`; empty for NaN."""
    return "" if pd.isna(value) else _bare(f"{value:.{digits}f}")


def signed(value: float) -> str:
    """Write a difference of fractions with its sign, e.g. `+.012`; empty for NaN."""
    return "" if pd.isna(value) else _bare(f"{value:+.3f}")


def _interval(low: float, high: float, write: Callable[[float], str]) -> str:
    return "" if pd.isna(low) or pd.isna(high) else f" [{write(low)}, {write(high)}]"


def _bare(number: str) -> str:
    return re.sub(r"\b0\.", ".", number)


def with_intervals(rows: pd.DataFrame, name: str, missing: str = "–") -> list[str]:
    """Write a measure of each row with its interval."""
    bounds = zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    return [measured(*values) or missing for values in bounds]


def seeds(rows: pd.DataFrame, spread_of: str = "auc") -> list[str]:
    """Write each row's number of seeds and, for several, the spread of a measure over them."""
    spreads = rows[f"{spread_of}_sd"].map(short)
    return [
        f"{number} (±{spread})" if spread else str(number)
        for number, spread in zip(rows["seeds"], spreads, strict=True)
    ]


def count(value: Any) -> str:
    """Write a whole number; a dash where there is none."""
    return "–" if pd.isna(value) else f"{value:,}"


def words(value: Any) -> str:
    """Write any value; empty where there is none."""
    return "" if pd.isna(value) else str(value)


def tracks(row: pd.Series) -> str:
    """Say in a sentence that a row's intervals go by group; empty where images come one by one."""
    inside, outside = row["judged_member_tracks"], row["judged_non_member_tracks"]
    if pd.isna(inside) or pd.isna(outside):
        return ""
    text = (
        " Intervals by group, not by image, since frames of a track, or near-twins, are alike: "
        f"members of {inside:,} groups, "
    )
    if outside < row["judged_non_members"]:
        return f"{text}non-members of {outside:,}."
    # The official test images of GTSRB come in tracks, too, but do not say in which.
    return f"{text}non-members one by one, whose groups are not known: too narrow on that side."


def to_markdown(document: Document) -> str:
    """Write a document as Markdown."""
    parts = [f"# {_md(document.title)}", *filter(None, [_md(document.intro)])]
    for part in document.shown:
        sides = tuple("left" if name in WORDS else "right" for name in part.text)
        text = part.text.map(_md).rename(columns=_md)
        parts.append(_md(part.caption))
        parts.append(text.to_markdown(index=False, disable_numparse=True, colalign=sides))
    return "\n\n".join(parts) + "\n"


def to_html(document: Document) -> str:
    """Write a document as one self-contained HTML page."""
    body = [f"<p>{escape(document.intro)}</p>"] if document.intro else []
    for number, part in enumerate(document.shown, 1):
        style = _style(part.text, escape, part.caption).set_uuid(f"part{number}")
        body.append(style.to_html())
    title = f"aMINT, {document.title}, profile {document.profile}"
    return _PAGE.format(title=escape(title), css=_CSS, body="\n".join(body))


def to_latex(document: Document) -> str:
    """Write a document as LaTeX to be `\\input`: long tables with booktabs rules."""
    text = _tex(document.intro)
    intro = [rf"\par\noindent {text}\par" + "\n"] if text else []
    parts = [_long_table(document, number) for number in range(len(document.shown))]
    return _TEX_HEAD + "\n".join([*intro, *parts]) + "\\endgroup\n"


def _long_table(document: Document, number: int) -> str:
    part = document.shown[number]
    leave_out = [name for name in part.text if _PRINTED.get(name, name) is None]
    if not part.text.get("Seeds", pd.Series(dtype=str)).ne("1").any():
        leave_out.append("Seeds")
    text = part.text.drop(columns=[*leave_out, *document.unprinted], errors="ignore")
    source = _style(text.rename(columns=_PRINTED), _tex, part.caption).to_latex(
        environment="longtable",
        column_format="".join("l" if name in WORDS else "r" for name in text),
        hrules=True,
        label=f"tab:amint-{document.name}-{document.profile}-{number + 1}",
    )
    # Later pages of a long table need not repeat the whole caption.
    caption = _tex(part.caption)
    return source.replace(rf"\caption[]{{{caption}}}", r"\caption[]{(continued)}")


def _style(text: pd.DataFrame, write: Callable[[str], str], caption: str) -> Styler:
    # A printed page may have two columns of one name, which a Styler refuses.
    headings = [write(name) for name in text]
    text = text.set_axis(range(text.shape[1]), axis="columns")
    style = text.style.format(write).relabel_index(headings, axis="columns")
    style = style.hide(axis="index").set_caption(write(caption))
    style.cell_ids = False
    return style


def _md(text: str) -> str:
    text = re.sub(r"([\\|<`*])", r"\\\1", " ".join(text.split()))
    return text.replace("](", "]\\(")


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in " ".join(text.split()))


def to_csv(table: pd.DataFrame) -> str:
    """Write a table's exact values."""
    return table.to_csv(index=False, lineterminator="\n")


#: Suffix of a file → how a document is written in it.
FORMS: dict[str, Callable[[Document], str]] = {
    "md": to_markdown,
    "tex": to_latex,
    "html": to_html,
}

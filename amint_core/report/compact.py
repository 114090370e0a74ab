"""Table 1 for readers: three digits with intervals, as Markdown, LaTeX and HTML."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from amint_core.report import paper
from amint_core.report.tables import was_run

#: Columns of words; the others hold numbers.
WORDS = ("Dataset", "Setup", "Model", "Protocol", "Device", "Variant")
_CSS: list[dict[str, Any]] = [
    {"selector": "", "props": "border-collapse: collapse; margin: 0 0 2.5em; font-size: 0.88em;"},
    {
        "selector": "caption",
        "props": "text-align: left; caption-side: top; padding-bottom: 0.7em; max-width: 70em;",
    },
    {
        "selector": "th",
        "props": "text-align: left; padding: 0.35em 0.8em; border-top: 2px solid #333; "
        "border-bottom: 1px solid #333; vertical-align: bottom;",
    },
    {
        "selector": "td",
        "props": "padding: 0.25em 0.8em; border-bottom: 1px solid #e4e4e4; white-space: nowrap; "
        "font-variant-numeric: tabular-nums;",
    },
]
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; color: #222; margin: 2em; overflow-x: auto; }}
</style>
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


#: Shorter headings for a printed page; None leaves the column out.
_TEX_NAMES = {
    "MINT accuracy": "MINT",
    "MINT, paper": "paper",
    "Audited accuracy": "Audited",
    "Audited, paper": "paper",
    "TPR at 1 % FPR": "TPR, 1 %",
    "Calibrated": None,
    "Members / external": None,
    "Judged in / out": None,
    "Epochs": None,
    "Device": None,
}


def measured(value: float, low: float, high: float) -> str:
    """Write a fraction with its interval, e.g. `.913 [.902, .924]`; empty where there is none."""
    if pd.isna(value):
        return ""
    interval = "" if pd.isna(low) or pd.isna(high) else f" [{short(low)}, {short(high)}]"
    return short(value) + interval


def short(value: float, digits: int = 3) -> str:
    """Write a fraction without the leading zero, e.g. `.913`; empty for NaN."""
    return "" if pd.isna(value) else f"{value:.{digits}f}".removeprefix("0")


def ours(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `table1` that were run, as text for readers."""
    done = table[was_run(table)]
    columns = {
        "Dataset": done["title"],
        "Setup": done["setup"],
        "Model": done["model"].map(_model),
        "MINT accuracy": _measured(done, "mint_accuracy"),
        "MINT, paper": done["paper_mint_accuracy"].map(_printed),
        "Audited accuracy": _measured(done, "audited_accuracy"),
        "Audited, paper": done["paper_audited_accuracy"].map(_printed),
        "Calibrated": done["accuracy_calibrated"].map(short),
        "AUC": done["auc"].map(short),
        "TPR at 1 % FPR": done["tpr_at_1pct_fpr"].map(short),
        "Protocol": done["protocol"],
        "Members / external": _pair(done["members"], done["external"]),
        "Judged in / out": _pair(done["judged_members"], done["judged_non_members"]),
        "Epochs": done["epochs"].map(_text),
        "Seeds": [_seeds(row) for _, row in done.iterrows()],
        "Device": done["device"].map(_text),
        "Variant": done["variant"].map(_text),
    }
    text = pd.DataFrame(columns).reset_index(drop=True)
    return text.drop(columns=[name for name in ("Variant",) if not text[name].any()])


def not_run(table: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's values of cells not run, laid out as its Table 1; "·" where run."""
    done = {tuple(row) for row in table.loc[was_run(table), ["dataset", "setup", "model"]].values}
    rows = {}
    for dataset, setup, model in paper.TABLE1:
        cell = paper.TABLE1[dataset, setup, model]
        printed = f"{_printed(cell.mint)} / {_printed(cell.audited)}"
        row = rows.setdefault((paper.DATASETS[dataset], setup), {})
        row[_model(model)] = "·" if (dataset, setup, model) in done else printed
    left = {place: row for place, row in rows.items() if set(row.values()) != {"·"}}
    text = pd.DataFrame.from_dict(left, orient="index")
    if text.empty:
        return text
    text.index = pd.MultiIndex.from_tuples(list(left), names=["Dataset", "Setup"])
    return text.reset_index()


def captions(table: pd.DataFrame, profile: str) -> tuple[str, str]:
    """Return the captions of `ours` and of `not_run`."""
    done = table[was_run(table)]
    text = (
        f"Profile {profile}: aMINT beside the paper's Table 1. MINT accuracy is the mean of the "
        "accuracy on members and on non-members at probability .5, audited accuracy is measured "
        "on labelled test images; in brackets 95 % intervals. Calibrated: MINT accuracy at the "
        "threshold chosen on calibration images. TPR: true-positive rate, FPR: false-positive "
        "rate."
    )
    if (done["data"] == "STAND-IN").any():
        text += (
            " [STAND-IN] marks rows on substitute data: they show that the kit runs, and must not "
            "be compared with the paper's values."
        )
    if (done["seeds"] > 1).any():
        text += (
            " Several seeds: the mean over them, the mean of their intervals, and ± the standard "
            "deviation of MINT accuracy over seeds."
        )
    rest = (
        f"Cells run: {_cells(done)} of the paper's {len(paper.TABLE1)}, "
        f"{_cells(done[done['data'] == 'real']) or 'none'} of them on real data. The others, as "
        "the paper has them: MINT / audited accuracy; a dot stands for a cell that was run."
    )
    return text, rest


def to_markdown(table: pd.DataFrame, profile: str) -> str:
    """Write both parts as Markdown."""
    parts = ["# Table 1"]
    for caption, text in _parts(table, profile):
        sides = tuple("left" if name in WORDS else "right" for name in text)
        parts += [caption, text.to_markdown(index=False, disable_numparse=True, colalign=sides)]
    return "\n\n".join(parts) + "\n"


def to_html(table: pd.DataFrame, profile: str) -> str:
    """Write both parts as one self-contained HTML page."""
    body = []
    for number, (caption, text) in enumerate(_parts(table, profile), 1):
        style = _style(text, caption, escape="html").set_table_styles(_CSS)
        body.append(style.set_uuid(f"part{number}").to_html())
    return _PAGE.format(title=f"aMINT, Table 1, profile {profile}", body="\n".join(body))


def to_latex(table: pd.DataFrame, profile: str) -> str:
    """Write both parts as LaTeX to be `\\input`: long tables with booktabs rules."""
    parts = []
    for number, (caption, text) in enumerate(_parts(table, profile), 1):
        leave_out = [name for name in text if _TEX_NAMES.get(name, "") is None]
        if not text.get("Seeds", pd.Series(dtype=str)).ne("1").any():
            leave_out.append("Seeds")
        text = text.drop(columns=leave_out, errors="ignore")
        names = [_tex(_TEX_NAMES.get(name) or name) for name in text]
        style = _style(text, _tex(caption), escape="latex").relabel_index(names, axis="columns")
        source = style.to_latex(
            environment="longtable",
            column_format="".join("l" if name in WORDS else "r" for name in text),
            hrules=True,
            label=f"tab:amint-{profile}-{number}",
        )
        # Later pages of a long table need not repeat the whole caption.
        parts.append(source.replace(rf"\caption[]{{{_tex(caption)}}}", r"\caption[]{(continued)}"))
    return _TEX_HEAD + "\n".join(parts) + "\\endgroup\n"


def _cells(rows: pd.DataFrame) -> int:
    """Count the cells of the paper's grid that `rows` cover."""
    return len(set(map(tuple, rows[["dataset", "setup", "model"]].values)) & set(paper.TABLE1))


def _parts(table: pd.DataFrame, profile: str) -> list[tuple[str, pd.DataFrame]]:
    texts = ours(table), not_run(table)
    pairs = zip(captions(table, profile), texts, strict=True)
    return [(caption, text) for caption, text in pairs if not text.empty]


def _style(text: pd.DataFrame, caption: str, escape: str) -> Styler:
    style = text.style.format(escape=escape).format_index(escape=escape, axis="columns")
    style = style.hide(axis="index").set_caption(caption)
    style.cell_ids = False
    return style


def _tex(text: str) -> str:
    """Escape what our own headings and captions hold of LaTeX's special signs."""
    return text.replace("%", r"\%").replace("_", r"\_")


def _measured(rows: pd.DataFrame, name: str) -> list[str]:
    bounds = zip(rows[name], rows[f"{name}_low"], rows[f"{name}_high"], strict=True)
    return [measured(*values) for values in bounds]


def _pair(first: pd.Series, second: pd.Series) -> list[str]:
    return [f"{_count(a)} / {_count(b)}" for a, b in zip(first, second, strict=True)]


def _count(value: Any) -> str:
    return "–" if pd.isna(value) else f"{value:,}"


def _seeds(row: pd.Series) -> str:
    spread = row["mint_accuracy_sd"]
    return str(row["seeds"]) + ("" if math.isnan(spread) else f" (±{short(spread)})")


def _printed(value: float) -> str:
    return short(value, digits=2)


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


def _model(name: str) -> str:
    return paper.MODELS.get(name, name)

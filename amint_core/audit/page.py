"""The audit as a page of widgets: images dropped in, verdicts and pictures out.

`demo` serves it by Voilà. The files are a stranger's: they go into a temporary folder under names
of ours as far as needed, within the limits below, and are opened as `images.py` opens any file.
"""

from __future__ import annotations

import html
import itertools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amint_core.audit import found as reports
from amint_core.audit.auditable import AuditableModel
from amint_core.audit.model_folder import load
from amint_core.errors import AmintError, ProtocolError, printable
from amint_core.extras import require

MOST_FILES = 1_000
MOST_BYTES = 32_000_000  # of an upload, all its files together
MOST_NAMED = 100  # bytes of a file name; systems allow 255

WELCOME = """<h1>aMINT, an audit</h1>
<p>Choose images, and the model says which of them it was trained on: “member”, or “cannot tell”,
never “not used”. Up to {files:,} files and {megabytes} MB at once; nothing leaves this machine, and
nothing is kept.</p>"""
OF_REFERENCE = """<p>Images of the same source that were surely not used, 50 or more, make the
better reference; without any, the owner's calibration images stand in.</p>"""


def page(model: AuditableModel | Path | str, fdr: float = 0.05) -> Any:
    """Return the page as a widget, to be shown in a notebook's last line.

    Args:
        model: an auditable model, or the folder that holds one.
        fdr: the share of wrong ones that may be expected among the accused.
    """
    require("demo", "ipywidgets")
    import ipywidgets as widgets

    model = model if isinstance(model, AuditableModel) else load(model)
    welcome = WELCOME.format(files=MOST_FILES, megabytes=MOST_BYTES // 1_000_000)
    look = {"multiple": True, "layout": widgets.Layout(width="20rem")}
    images = widgets.FileUpload(description="Images in question", **look)
    reference = widgets.FileUpload(description="Reference (optional)", **look)
    ask = widgets.Button(description="Audit", button_style="primary")
    answer = widgets.HTML()

    def audit(_: object) -> None:
        ask.disabled, answer.value = True, "<p>Looking …</p>"
        try:
            answer.value = answered(model, images.value, reference.value, fdr)
        except Exception as error:  # a full disk, say: the page must not look on for ever
            answer.value = (
                f"<p><strong>This did not work.</strong> {type(error).__name__}: "
                f"{html.escape(str(error)[:300])}</p>"
            )
            raise
        finally:
            ask.disabled = False

    ask.on_click(audit)
    parts = [widgets.HTML(welcome), images, widgets.HTML(OF_REFERENCE), reference, ask, answer]
    return widgets.VBox(parts)


def answered(
    model: AuditableModel, images: Sequence[Any], reference: Sequence[Any], fdr: float
) -> str:
    """Return the answer as HTML: the report in a frame of its own, or what was wrong.

    Args:
        model: the model that is asked.
        images: uploads as `ipywidgets.FileUpload` has them: `name` and `content` of each.
        reference: the same; may be empty.
        fdr: the share of wrong ones that may be expected among the accused.
    """
    with tempfile.TemporaryDirectory(prefix="amint-audit-") as place:
        try:
            asked = unpacked(images, Path(place) / "images")
            others = unpacked(reference, Path(place) / "reference") if reference else None
            found = model.audit(asked, others, fdr)
            report = reports.html(found)
        except AmintError as error:
            return f"<p><strong>This did not work.</strong> {html.escape(str(error))}</p>"
    # A frame without rights: whatever the report held, no script in it would run.
    return (
        f"<p><strong>{html.escape(found.verdict.headline)}</strong></p>"
        f'<iframe sandbox="" title="report" srcdoc="{html.escape(report)}" '
        'style="width: 100%; height: 80vh; border: 1px solid #ccc"></iframe>'
    )


def unpacked(uploads: Sequence[Any], folder: Path) -> Path:
    """Write uploads into a new folder, and return it.

    Raises:
        ProtocolError: there are none, too many, or too large ones.
    """
    total = sum(len(each["content"]) for each in uploads)
    if not uploads:
        raise ProtocolError("There is no image yet. Choose some first.")
    if len(uploads) > MOST_FILES or total > MOST_BYTES:
        raise ProtocolError(
            f"{len(uploads):,} files with {total:,} bytes are too many for a page: at most "
            f"{MOST_FILES:,} files and {MOST_BYTES:,} bytes. Use `amint audit` for a folder."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for each in uploads:
        # What a browser sends as a name is text from outside: no folder of it counts.
        name = printable(Path(each["name"].replace("\\", "/")).name)
        name = name.encode()[:MOST_NAMED].decode(errors="ignore")
        name = "image" if name in ("", ".", "..") else name
        taken = itertools.count(2)
        path = folder / name
        while path.exists():
            path = folder / f"{next(taken)}-{name}"
        path.write_bytes(bytes(each["content"]))
    return folder

"""The auditor's commands: `amint audit`, `amint replay`, `amint demo`; see `cli.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amint_core.errors import SettingsError, printable
from amint_core.extras import require
from amint_core.locations import given_path

if TYPE_CHECKING:
    from amint_core.audit.statement import Statement


def audit(options: argparse.Namespace) -> int:
    """Ask which images of a folder a model was trained on; ends with 3 where it cannot tell."""
    require("audit", "matplotlib", "jinja2")

    from amint_core import audit as ask
    from amint_core.audit.fingerprints import Published
    from amint_core.audit.found import require_own_folder
    from amint_core.locations import shown

    require_own_folder(options.out)  # before the images are scored
    published = Published.load(options.published) if options.published else None
    asked = options.model, options.images, options.reference, options.fdr, published
    found = ask(*asked, shadows=options.shadows, signed=_signed(options))
    report = found.save(options.out)
    print(f"amint: {found.verdict.headline}")
    for sentence in (*(said.sentence for said in found.verdict.statements), *found.warnings):
        print(f"  {printable(sentence)}")  # notes are the owner's: no code for the terminal
    refused = len(found.images.refused)
    print(f"  {len(found.images)} images, {refused} files that are no usable image")
    print(f"amint: report in {shown(report)}, every file in images.csv beside it")
    return found.exit_code


def replay(options: argparse.Namespace) -> int:
    """Train some epochs of a finished run again and compare; ends with 1 where they differ."""
    from amint_core.audit.found import EXIT_CANNOT_TELL
    from amint_core.audit.replay import DIFFERS, MATCHES
    from amint_core.audit.replayed_run import replay_run, sentences

    found = replay_run(options.run, options.epochs, _signed(options))
    print(f"amint: {found.outcome}")
    for sentence in sentences(found):
        print(f"  {sentence}")
    return {MATCHES: 0, DIFFERS: 1}.get(found.outcome, EXIT_CANNOT_TELL)


def _signed(options: argparse.Namespace) -> Statement | None:
    """Return the owner's statement, if one is given and his key signed it."""
    from amint_core.audit.statement import read

    if bool(options.signed) != bool(options.key):
        raise SettingsError("--signed and --key belong together: give both, or neither.")
    return read(options.signed, options.key) if options.signed else None


def demo(options: argparse.Namespace) -> int:
    """Serve the audit as a web page on this machine: images dropped in, verdicts out."""
    from amint_core.audit.demo import serve

    return serve(options.model, options.port, not options.no_browser)


def add(commands: Any, command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands to the command line's parser."""
    asked = command(commands, "audit", audit)
    asked.add_argument(
        "--model", type=given_path, required=True, help="a folder `amint export` wrote"
    )
    asked.add_argument(
        "--images", type=given_path, required=True, help="a folder of images in question"
    )
    asked.add_argument(
        "--reference",
        type=given_path,
        help="a folder of images of the same source, surely not used (default: the owner's)",
    )
    asked.add_argument(
        "--fdr",
        type=float,
        default=0.05,
        help="share of wrong ones to be expected among the accused (default: %(default)s)",
    )
    asked.add_argument(
        "--published",
        type=given_path,
        help="the owner's fingerprints of his training images, as `Published.save` wrote them",
    )
    asked.add_argument(
        "--shadows",
        type=given_path,
        nargs="+",
        action="extend",
        default=[],
        metavar="MODEL",
        help="folders of models of your own, trained on neither these images nor the reference, "
        "which has to be given",
    )
    _add_signed(asked)
    asked.add_argument(
        "--out",
        type=given_path,
        default=Path("audit-report"),
        help="where the report goes (default: %(default)s)",
    )

    again = command(commands, "replay", replay)
    again.add_argument("run", type=given_path, metavar="RUN_FOLDER", help="results/PROFILE/runs/ID")
    again.add_argument(
        "--epochs", type=int, default=3, help="how many, drawn by lot (default: %(default)s)"
    )
    _add_signed(again)

    served = command(commands, "demo", demo)
    served.add_argument(
        "--model", type=given_path, help="a folder `amint export` wrote (default: one of stand-ins)"
    )
    served.add_argument("--port", type=int, default=8866, help="(default: %(default)s)")
    served.add_argument("--no-browser", action="store_true", help="open none")


def _add_signed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--signed", type=given_path, help="the owner's published statement")
    command.add_argument("--key", type=_key, help="his public key, 64 hexadecimal digits")


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise argparse.ArgumentTypeError("a public key has 32 bytes, 64 hexadecimal digits")
    return key

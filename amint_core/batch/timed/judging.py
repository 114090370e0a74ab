"""Judge the saved scores of a timed grid anew, by the judgement as it is now.

What a run's metrics say of its scores follows from the scores alone. Where the judgement has
changed since (a number more, another interval), nothing needs to be trained for it again.
"""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

from amint_core import provenance
from amint_core.batch.timed.saving import writing_alone
from amint_core.errors import ProtocolError, ResultsError
from amint_core.evaluation.both_judgements import judge_twice, read_scores
from amint_core.files import json_text, read_json, write_text
from amint_core.locations import shown
from amint_core.progress import progress_bar
from amint_core.store import finished_runs, run_file, run_manifest, sha256, write_sealed


def judge_again(root: Path) -> list[str]:
    """Judge all runs of a timed grid, and return those whose metrics changed.

    A run's manifest then also says when it was judged, and by which commit; all else stays.

    Args:
        root: results/<profile>.

    Raises:
        ResultsError: there is no run, one is not a timed grid's, or another process is writing
            them.
        DamagedError: a file is not what its run wrote. Runs judged before it keep their new
            metrics.
    """
    files = finished_runs(root, f"amint grid --profile {root.name}")
    with writing_alone(root), progress_bar(files, desc="judging", unit="run") as bar:
        return [file.parent.name for file in bar if _judge(root, file)]


def _judge(root: Path, file: Path) -> bool:
    """Judge the run of a metrics.json, and tell whether its metrics changed."""
    run = file.parent
    manifest, metrics = run_manifest(run), read_json(file)
    try:
        scores = read_scores(root, run, metrics["data"]["split_file"])
        text = json_text(metrics | judge_twice(scores))
    except ProtocolError as error:
        raise ResultsError(f"{shown(run)}: {error}") from error
    except (KeyError, TypeError) as error:
        run_file(file)
        raise ResultsError(
            f"{shown(run)} is not of a timed grid, whose runs alone are judged anew: its metrics "
            f"lack a part that such a run has ({error!r}). Move it out of the profile's results."
        ) from error
    wanted = hashlib.sha256(text.encode()).hexdigest()
    if wanted == sha256(file):
        run_file(file)
        return False
    # The manifest comes first. Whoever was cut off between the two finds metrics of which it does
    # not know, and writes those that it does know of.
    if manifest["files"].get(file.name) != wanted:
        run_file(file)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        judged = {"finished": now, "git": provenance.git_state()}
        files = manifest["files"] | {file.name: wanted}
        write_sealed(run / "manifest.json", {**manifest, "files": files, "judged": judged})
    write_text(file, text)
    return True

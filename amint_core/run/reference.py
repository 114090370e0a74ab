"""Comparison of a profile's results with reference values kept in the repository.

`results/<profile>/reference.json` holds, per run, the key metrics and what they depend on. On the
machine and with the versions that made it the numbers are the same bit for bit; elsewhere sums
are taken in another order and they differ a little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amint_core.errors import ResultsError, printable
from amint_core.files import read_json, write_json
from amint_core.locations import project_root, results_root, shown
from amint_core.store import is_judged_twice, run_json, run_manifest

#: Key metric → where metrics.json holds it.
METRICS = {
    "mint_accuracy": ("mint", "accuracy", "value"),
    "mint_accuracy_calibrated": ("mint", "accuracy_calibrated", "value"),
    "mint_auc": ("mint", "auc", "value"),
    "tpr_at_1pct_fpr": ("mint", "tpr_at_fpr", "0.01", "value"),
    "audited_accuracy": ("audited", "accuracy", "value"),
    "epochs": ("training", "epochs"),
}
#: What must be the same for the metrics to mean the same.
DATA = {"data fingerprint": ("data", "fingerprint"), "split": ("data", "split")}
#: Parts of manifest.json that make numbers differ on another machine.
MACHINE = ("versions", "hardware", "device")


@dataclass(frozen=True)
class Difference:
    """One run against its reference.

    Attributes:
        run: the run's id.
        verdict: "matches", "differs", "other data", "missing" or "extra".
        detail: what differs and by how much, and the likely reason.
    """

    run: str
    verdict: str
    detail: str = ""


def reference_file(profile: str) -> Path:
    """Return where the reference values are kept: in the project, wherever results go."""
    return project_root() / "results" / profile / "reference.json"


def key_values(run: Path) -> dict[str, Any]:
    """Read a run folder's key metrics and what they depend on.

    Raises:
        ResultsError: metrics.json is missing, damaged or lacks a part, or is of a timed grid.
    """
    metrics, machine = run_json(run / "metrics.json"), run_manifest(run)
    if is_judged_twice(metrics):
        raise ResultsError(
            f"{run.name} was made by `amint grid`, whose runs have no reference values: a GPU does "
            "not repeat itself bit for bit."
        )
    data = _at(metrics, ("data",), run)
    notes = data.get("notes") if isinstance(data, dict) else None
    return {
        "metrics": {name: _at(metrics, path, run) for name, path in METRICS.items()},
        "data": {name: _at(metrics, path, run) for name, path in DATA.items()},
        "machine": {name: machine[name] for name in MACHINE if name in machine},
        "notes": [str(note) for note in notes] if isinstance(notes, list) else [],
    }


def _at(content: dict[str, Any], path: tuple[str, ...], run: Path) -> Any:
    for key in path:
        if not isinstance(content, dict) or key not in content:
            raise ResultsError(
                f"{shown(run / 'metrics.json')} holds no {'.'.join(path)}. Run {run.name} again."
            )
        content = content[key]
    return content


def bless(profile: str, runs: Sequence[str]) -> Path:
    """Make the current results of `runs` the profile's reference and return its file.

    Raises:
        ResultsError: a run is missing or incomplete.
    """
    folder = results_root() / profile / "runs"
    target = reference_file(profile)
    write_json(target, {run: key_values(folder / run) for run in runs})
    return target


def differences(profile: str, runs: Sequence[str]) -> list[Difference]:
    """Compare the runs of a grid with the profile's reference, in the grid's order.

    Raises:
        ResultsError: the reference file or a metrics file is missing, damaged or incomplete.
    """
    folder = results_root() / profile / "runs"
    expected = _expected(reference_file(profile))
    found = [_difference(folder / run, expected.get(run)) for run in runs]
    outside = [run for run in expected if run not in runs]
    return found + [Difference(run, "missing", "The grid has no such run.") for run in outside]


def _expected(file: Path) -> dict[str, Any]:
    """Read reference values: run → what `key_values` returns."""
    expected = read_json(file)
    runs = expected.values() if isinstance(expected, dict) else [None]
    if not all(isinstance(run, dict) and _is_reference(run) for run in runs):
        raise ResultsError(
            f"{shown(file)} holds no reference values. Restore it, or keep the present results as "
            "such: amint reference."
        )
    return expected


def _is_reference(run: dict[str, Any]) -> bool:
    parts, notes = [run.get(name) for name in ("metrics", "data", "machine")], run.get("notes", [])
    if not all(isinstance(part, dict) for part in parts) or not isinstance(notes, list):
        return False
    numbers = all(value is None or type(value) in (int, float) for value in parts[0].values())
    versions = parts[2].get("versions", {})
    return numbers and isinstance(versions, dict) and all(isinstance(note, str) for note in notes)


def _difference(folder: Path, theirs: dict[str, Any] | None) -> Difference:
    run = folder.name
    if not (folder / "metrics.json").is_file():
        return Difference(run, "missing", "It has no results.")
    if theirs is None:
        return Difference(run, "extra", "The reference has no such run.")
    ours = key_values(folder)
    other = [name for name in DATA if ours["data"][name] != theirs["data"].get(name)]
    if other:
        detail = f"The {' and the '.join(other)} differ: the numbers are not comparable."
        files = _files(ours["notes"], theirs.get("notes", []))
        return Difference(run, "other data", detail + files)
    changed = [name for name in METRICS if ours["metrics"][name] != theirs["metrics"].get(name)]
    if not changed:
        return Difference(run, "matches")
    detail = _largest(changed, ours["metrics"], theirs["metrics"])
    return Difference(run, "differs", f"{detail} {_reason(ours['machine'], theirs['machine'])}")


def _files(ours: list[str], theirs: list[str]) -> str:
    """Say which files both were computed from, where that may be why the pixels differ."""
    if not theirs or ours == theirs:
        return ""
    said = " ".join(ours) or "the official ones, as far as is known."
    return f" The reference values are of other files: {' '.join(theirs)} Yours: {said}"


def _largest(changed: list[str], ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Name the metric that differs most; one that is absent on one side comes first."""

    def distance(name: str) -> float:
        pair = (ours[name], theirs.get(name))
        return float("inf") if None in pair else abs(pair[0] - pair[1])

    # Epochs are counted in whole numbers; beside accuracies they would always be the largest.
    accuracies = [name for name in changed if name != "epochs"] or changed
    worst = max(accuracies, key=distance)
    others = f" (and {len(changed) - 1} more differ)" if len(changed) > 1 else ""
    return (
        f"{worst} is {_shown(ours[worst])}, reference {_shown(theirs.get(worst))}, "
        f"difference {distance(worst):.2g}{others}."
    )


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _reason(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Name what differs between two machines, as the likely reason."""
    ours, theirs = ({**one, **one.get("versions", {})} for one in (ours, theirs))
    both = sorted({*ours, *theirs} - {"versions"})
    names = [name for name in both if ours.get(name) != theirs.get(name)]
    if not names:
        return "Machine and versions are the same, so code or settings changed."
    pairs = (f"{name} {theirs.get(name, '?')} → {ours.get(name, '?')}" for name in names)
    return f"Likely reason, reference → here: {'; '.join(pairs)}."


def compare(profile: str, runs: Sequence[str]) -> str:
    """Compare with the reference and return the text for a reader."""
    if not reference_file(profile).is_file():
        return (
            f"amint: no reference values for profile {profile}. `amint reference --profile "
            f"{profile}` keeps the present results as such."
        )
    found = differences(profile, runs)
    matching = sum(difference.verdict == "matches" for difference in found)
    lines = [f"amint: against the reference values, {matching} of {len(found)} runs match exactly"]
    for difference in found:
        lines.append(f"  {difference.verdict:11}{difference.run}")
        lines += [f"             {difference.detail}"] if difference.detail else []
    return "\n".join(map(printable, lines))

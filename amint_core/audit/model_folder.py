"""A folder with a model and all that an audit of it needs: neither dataset nor cache, and no code.

| file | holds |
|---|---|
| `model.safetensors` | weights of classifier and MINT head |
| `scores.safetensors` | scores, statistics and hashes of strangers, and how surely they are |
|  | classified; scores of members |
| `auditable.json` | how the model is built, preprocessing, card; SHA-256 of all three |

Loading a stranger's folder runs no code of his: weights are numbers, architectures are named. The
content hashes show damage, not fraud: who changes a file can change its hash. That it is the model
that an owner speaks of is what his signed statement is for (`statement.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from amint_core.audit.auditable import AuditableModel
from amint_core.audit.exchangeability import STATISTICS
from amint_core.audit.preprocessing import Preprocessing
from amint_core.audit.scoring import Scored
from amint_core.audit.statement import hash_of_weights
from amint_core.config import MOST_HEADS
from amint_core.errors import DamagedError, ModelError, ResultsError, from_outside
from amint_core.files import atomic_path, json_text, require_free
from amint_core.locations import given_path, shown
from amint_core.memory import enough_memory
from amint_core.model import zoo
from amint_core.model.heads import (
    LeanHead,
    PublishedHead,
    PublishedTokenHead,
    TokenHead,
    heads_of,
)
from amint_core.model.inference import VIEWS
from amint_core.model.mint import EnhancedAuditedModel, enhance
from amint_core.model.reading import separate
from amint_core.model.zoo import timm_any
from amint_core.store import changed, hashes, read_sealed, write_sealed

WEIGHTS, SCORES, MANIFEST = "model.safetensors", "scores.safetensors", "auditable.json"
FORMAT = "amint-auditable-1"
_HEADS = {
    LeanHead: "lean",
    TokenHead: "token",
    PublishedHead: "published",
    PublishedTokenHead: "published",
}
#: Begins the name of an architecture that is timm's own.
TIMM = "timm/"
_HASH = 32  # bytes of a content hash
#: What `_built` says of a model.
_PARTS = {"architecture", "class", "classes", "taps", "head", "width", "head_count", "low_pass"}


def save(model: AuditableModel, folder: Path | str) -> Path:
    """Write a model's folder; its last file, which says that it is whole, comes last.

    Raises:
        ModelError: its head is none of `enhance`'s, its card holds what JSON cannot, or its weights
            have changed since its calibration images were scored.
        ResultsError: the folder cannot be written.
    """
    folder, built = given_path(folder), _built(model)
    model.require_scored_by(hash_of_weights(model.enhanced.state_dict()))
    require_own_folder(folder)
    manifest = {
        "format": FORMAT,
        "model": built,
        "views": model.views,
        "preprocessing": model.preprocessing.record(),
        "card": dict(model.card),
    }
    _require_json(manifest)
    with atomic_path(folder / WEIGHTS) as heavy, atomic_path(folder / SCORES) as light:
        save_file(separate(model.enhanced.state_dict()), heavy)
        safetensors.numpy.save_file(_arrays(model), light)
        files = hashes([heavy, light])
        # Both fit on the disk: until the folder is whole again, it says that it is not.
        write_sealed(folder / MANIFEST, {"format": FORMAT, "model": None})
    write_sealed(folder / MANIFEST, manifest | {"files": files})
    return folder


def _require_json(manifest: dict[str, Any]) -> None:
    """Refuse what JSON cannot hold while the folder still is what it was."""
    try:
        json_text(manifest)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"The model's card, views or preprocessing cannot be written as JSON ({error}). Give "
            "plain numbers, texts, lists and dicts, e.g. float(value)."
        ) from error


def require_own_folder(folder: Path) -> None:
    """Refuse a folder whose files would be replaced though no model's folder was written there.

    Raises:
        ResultsError: it is a file, or holds one of another origin under a name of ours.
    """
    if not (folder / MANIFEST).exists():
        require_free(folder, (WEIGHTS, SCORES), "the model")


def load(folder: Path | str, model: nn.Module | None = None) -> AuditableModel:
    """Read a model's folder.

    Args:
        folder: as `save` or `amint export` wrote it.
        model: the classifier, with whatever weights, where its class is the owner's own.

    Raises:
        ResultsError: there is no such folder.
        DamagedError: a file is not what was written.
        ModelError: the classifier is needed and not given, or the weights do not fit it.
    """
    folder = given_path(folder)
    with _as_written(folder):
        manifest = _manifest(folder)
        how = Preprocessing.from_record(manifest["preprocessing"])
        enhanced = _build(manifest["model"], how, model, folder)
        try:
            enhanced.load_state_dict(load_file(folder / WEIGHTS))
        except RuntimeError as error:
            raise ModelError(
                f"The weights in {shown(folder)} do not fit the model: {error}. Give the very "
                "class that it was trained with, or install the timm version that it was made with."
            ) from error
        enhanced.eval()
        stored = safetensors.numpy.load_file(folder / SCORES)
        calibration, members = _scored(stored), stored.get("members")
        if members is not None and (members.ndim != 1 or members.dtype.kind != "f"):
            raise ValueError("scores of members that are none")
        name, views, card = manifest["model"]["architecture"], manifest["views"], manifest["card"]
        state = hash_of_weights(enhanced.state_dict())
        return AuditableModel(
            enhanced, how, calibration, members, views, name, dict(card), scored_by=state
        )


def _scored(stored: dict[str, np.ndarray]) -> Scored:
    """Return the strangers of a model's folder.

    Raises:
        ValueError, KeyError: the arrays do not belong together.
    """
    count = len(stored["hashes"])
    shapes = {"scores": (count,), "sureness": (count,), "statistics": (count, len(STATISTICS))}
    for name, shape in shapes.items():
        if name in stored and (stored[name].shape, stored[name].dtype.kind) != (shape, "f"):
            raise ValueError(f"{name} of another form")
        if not np.isfinite(stored.get(name, 0.0)).all():
            raise ValueError(f"{name} that are no finite numbers")
    hashes = stored["hashes"]
    if (hashes.dtype, hashes.shape) != (np.uint8, (count, _HASH)):
        raise ValueError("hashes of another form")
    return Scored(
        hashes=[row.tobytes() for row in hashes],
        scores=stored["scores"],
        statistics=stored["statistics"],
        sureness=stored.get("sureness"),
    )


@contextmanager
def _as_written(folder: Path) -> Iterator[None]:
    """Refuse a folder whose hashes fit and whose content does not, as a stranger can write it."""

    def refusal(raised: str) -> ModelError:
        return ModelError(
            f"{shown(folder)} holds no auditable model that this version can read ({raised}). Get "
            "the folder from its owner again."
        )

    with from_outside(refusal), enough_memory():
        yield


def _built(model: AuditableModel) -> dict[str, Any]:
    """Return what the model is built from again."""
    enhanced, how = model.enhanced, model.preprocessing
    several = heads_of(enhanced.head)
    head = _HEADS.get(type(several[0]))
    if head is None:
        raise ModelError(
            f"The head is a {type(enhanced.head).__name__}; a model's folder keeps only those that "
            f"`enhance` makes: {', '.join(each.__name__ for each in _HEADS)}."
        )
    device = next(enhanced.parameters()).device
    enhanced.eval()
    with torch.inference_mode():
        logits, _ = enhanced(_blank(how).to(device))
    return {
        "architecture": model.architecture,
        "class": type(enhanced.audited).__name__,
        "classes": logits.shape[1],
        "taps": list(enhanced.taps),
        "head": head,
        "width": getattr(enhanced.head, "width", None),
        "head_count": len(several),
        "low_pass": enhanced.low_pass,
    }


def _arrays(model: AuditableModel) -> dict[str, np.ndarray]:
    strangers = model.calibration
    arrays = {
        "scores": strangers.scores,
        "statistics": strangers.statistics,
        "hashes": np.frombuffer(b"".join(strangers.hashes), np.uint8).reshape(-1, _HASH),
    }
    optional = {"sureness": strangers.sureness, "members": model.members}
    return arrays | {name: each for name, each in optional.items() if each is not None}


def _manifest(folder: Path) -> dict[str, Any]:
    """Read and check the folder's description, and check its other files against it."""
    if not (folder / MANIFEST).is_file():
        raise ResultsError(
            f"{shown(folder)} holds no auditable model: {MANIFEST} is missing. Name a folder that "
            "`amint export` wrote."
        )
    try:
        manifest = read_sealed(folder / MANIFEST)
        if manifest.get("model", manifest) is None:
            raise ResultsError(
                f"{shown(folder)} is not whole: it was being written. Write it again."
            )
        files = manifest.get("files", {})
        damaged = changed(
            folder, {name: files[name] for name in (WEIGHTS, SCORES) if name in files}
        )
    except DamagedError:
        damaged = [MANIFEST]
    if damaged:
        raise DamagedError(
            f"{', '.join(damaged)} in {shown(folder)} is damaged or missing: it is not what was "
            "written. Get the folder from its owner again."
        )
    if manifest.get("format") != FORMAT:
        raise ResultsError(
            f"{shown(folder)} was written by another version of this package "
            f"({manifest.get('format')!a}, not {FORMAT}). Use that version."
        )
    if manifest["views"] not in VIEWS:
        raise ResultsError(
            f"{shown(folder)} names views {manifest['views']!a}, which this package does not know: "
            "it was written by another version. Use that version."
        )
    if missing := {WEIGHTS, SCORES} - set(manifest["files"]):
        raise DamagedError(
            f"{shown(folder / MANIFEST)} has no hash of {min(missing)}, which could be anything. "
            "Get the folder from its owner again."
        )
    return manifest


def _build(
    built: dict[str, Any], how: Preprocessing, audited: nn.Module | None, folder: Path
) -> EnhancedAuditedModel:
    name, example = built["architecture"], _blank(how)
    if audited is None and not name:
        raise ModelError(
            f"The model in {shown(folder)} is of its owner's own class {built['class']!r}, whose "
            "code is not in the folder. Give it, in Python: amint.load(folder, "
            f"model={built['class']}())."
        )
    if unknown := set(built) - _PARTS:
        raise ResultsError(
            f"{shown(folder)} says of its model {', '.join(sorted(unknown))}, which this version "
            "of the package does not know, and without which its answers would be others. Use the "
            "version that wrote it, or a later one."
        )
    low_pass = built.get("low_pass", False)
    if not isinstance(low_pass, bool):
        raise ValueError(f"low_pass = {low_pass!r}")
    count = built.get("head_count", 1)
    if type(count) is not int or not 1 <= count <= MOST_HEADS:
        raise ValueError(f"head_count = {count!r}")
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        if audited is None:
            audited = _created(name, how, built["classes"])
        # Folders from before there were several widths, low_pass or several heads do not name them.
        given = built["head"], name, built.get("width"), low_pass, count
        return enhance(audited, built["taps"], example, *given)


def _created(name: str, how: Preprocessing, classes: int) -> nn.Module:
    if name.startswith(TIMM):  # as timm has it; some of the zoo's are changed
        return timm_any.build(name.removeprefix(TIMM), how.channels, how.height, classes)
    return zoo.create(name, how.channels, how.height, classes)


def _blank(how: Preprocessing) -> torch.Tensor:
    return torch.zeros(2, how.channels, how.height, how.width)

"""A trained model with all that an audit of it needs: preprocessing, strangers, members, card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from amint_core.audit.audit import audit
from amint_core.audit.fingerprints import Published
from amint_core.audit.found import Found
from amint_core.audit.preprocessing import Preprocessing
from amint_core.audit.scoring import Scored, score_all
from amint_core.audit.shadows import Shadow, classifiers
from amint_core.audit.statement import LedgerError, Statement, hash_of_weights, require_about
from amint_core.audit.verdict import require_calibration
from amint_core.errors import ModelError, SettingsError, unknown_name
from amint_core.extras import require
from amint_core.model.inference import VIEWS, view
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.model.reading import class_logits

#: Of an audit that no reference was given to.
OWNERS_WORD = (
    "No reference of your own was given, so the owner's calibration images stand for strangers. "
    "That they were not used, and that they are of the same source as yours, is the owner's word."
)


#: The parts of a card that hold figures; the others say what was made of what.
FIGURES = ("images", "mint", "audited", "controls", "price")


class Card(dict[str, Any]):
    """What an owner tells of his model; called, a table of its figures."""

    def __call__(self) -> pd.DataFrame:
        """Return one row per figure: `figure`, `value`, `low`, `high`, the last two of 95 %."""
        told = {part: self[part] for part in FIGURES if part in self}
        rows = [(name, *values) for name, values in _rows(told)]
        return pd.DataFrame(rows, columns=["figure", "value", "low", "high"])


def _rows(told: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield name → value, low, high of every figure in a card, those in parts of it included."""
    for key, value in told.items():
        name = f"{within} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping) and {"value", "low", "high"} <= set(value):
            yield name, (value["value"], value["low"], value["high"])
        elif isinstance(value, Mapping):
            yield from _rows(value, name)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, (value, None, None)


@dataclass(frozen=True)
class AuditableModel:
    """A trained model as an auditor gets it; see `auditable` and `model_folder.load`.

    Attributes:
        enhanced: classifier and MINT head, in fp32.
        preprocessing: what the owner did with his images.
        calibration: scores, hashes and statistics of strangers that the owner knows.
        members: (k,) scores of members that the head learned from, or None.
        views: name of a set of `VIEWS`; the highest answer over the views of an image counts.
        architecture: the classifier's name in the zoo; "" for a class of the owner's own.
        card: what the owner tells of the model; `notes`, a list of strings, are shown with every
            audit, and `classes` are the names of its classes. Called, `model.card()`, it is a
            table.
        scored_by: hash of the weights that gave the calibration images their scores, and with which
            alone an audit compares them; of a loaded model, the hash of what was loaded, since
            `save` writes no others; "": not known.

    Raises:
        ModelError: notes or classes of the card are no lists of strings.
    """

    enhanced: EnhancedAuditedModel
    preprocessing: Preprocessing
    calibration: Scored
    members: np.ndarray | None = None
    views: str = "one"
    architecture: str = ""
    card: Mapping[str, Any] = field(default_factory=Card)
    scored_by: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "card", Card(self.card))
        for part in ("notes", "classes"):  # which an audit reads, whoever wrote the card
            told = self.card.get(part, ())
            if not isinstance(told, list | tuple) or not all(isinstance(one, str) for one in told):
                raise ModelError(f"The card's {part} are {told!r:.60}; give a list of strings.")

    def __repr__(self) -> str:
        name = self.architecture or type(self.enhanced.audited).__name__
        how = self.preprocessing
        return (
            f"AuditableModel({name}, {how.height}×{how.width}×{how.channels}, "
            f"{len(self.calibration.scores)} calibration images)"
        )

    def score(self, images: Tensor) -> Tensor:
        """Return the (B,) membership logits of (B, C, H, W) normalised images, in fp32."""

        def highest(given: Tensor) -> Tensor:
            seen = (view(given, *one) for one in VIEWS[self.views])
            return torch.stack([self.enhanced.membership(one) for one in seen]).amax(0)

        return self._in_fp32(highest, images)

    def classify(self, images: Tensor) -> Tensor:
        """Return the (B, classes) class logits of (B, C, H, W) normalised images, in fp32."""
        return self._in_fp32(lambda given: class_logits(self.enhanced.audited(given)), images)

    @torch.inference_mode()
    def _in_fp32(self, answer: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Answer for images: whoever trained the model last may have left it in any mode."""
        self.enhanced.eval()
        images = images.to(next(self.enhanced.parameters()).device, torch.float32)
        with torch.autocast(images.device.type, enabled=False):
            return answer(images)

    def audit(
        self,
        images: Path | str | np.ndarray,
        reference: Path | str | np.ndarray | None = None,
        fdr: float = 0.05,
        published: Published | None = None,
        shadows: Shadow | Iterable[Shadow] = (),
        signed: Statement | None = None,
    ) -> Found:
        """Ask which of some images the model was trained on.

        Args:
            images: a folder, or (N, H, W, C) uint8 pixels.
            reference: images of the same source and treatment that were surely not used, as a
                folder or pixels; None: the owner's calibration images.
            fdr: the share of wrong ones that may be expected among the accused.
            published: fingerprints that the owner published.
            shadows: classifiers of the same classes that learnt neither these images nor the
                references: one or several models, or functions from (B, C, H, W) images, prepared
                as this model's, to (B, classes) logits. What this one is surer of than they are it
                may have learnt, whatever its head says; `reference` has to be given.
            signed: the owner's statement, as `statement.read` returns it once it has checked the
                signature; it has to be about this model.

        Raises:
            DataError: a folder is missing or holds no image.
            LedgerError: the statement is about another model, or other fingerprints.
            ModelError: a shadow model takes other images, knows other classes, or is this model; or
                the model's weights have changed since its calibration images were scored.
            SettingsError: `published` or `signed` is something else.
            ProtocolError: too few references, or none that shadow models could be asked about.
        """
        if not isinstance(published, Published | None):
            raise SettingsError(
                f"published = {published!r:.60}: read the owner's list first, Published.load(path)."
            )
        weights = hash_of_weights(self.enhanced.state_dict())
        of_signed = self._held_to(signed, published, weights)
        self.require_scored_by(weights)
        found = audit(
            self.score,
            images,
            self.calibration if reference is None else reference,
            fdr,
            preprocessing=self.preprocessing,
            members=self.members,
            published=published,
            classify=self.classify,
            classes=tuple(self.card.get("classes", ())),
            shadows=classifiers(shadows, self),
        )
        said = [f"The owner says: {note}" for note in self.card.get("notes", ())]
        said += [OWNERS_WORD] if reference is None else []
        return dataclasses.replace(
            found, warnings=(*said, *of_signed, *found.warnings), signed=signed
        )

    def digest(self) -> str:
        """Return the SHA-256 of what an audit's answers depend on beside the weights.

        That is taps, low-pass filter, views, preprocessing, names of the classes, and the scores of
        calibration images and members that are handed out. An owner signs it as `answers`.
        """
        told = {
            "architecture": self.architecture,
            "taps": list(self.enhanced.taps),
            "low_pass": self.enhanced.low_pass,
            "views": self.views,
            "preprocessing": self.preprocessing.record(),
            "classes": list(self.card.get("classes", ())),
        }
        sha = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        strangers = self.calibration
        handed_out = strangers.scores, strangers.statistics, strangers.sureness, self.members
        for values in handed_out:
            shape = None if values is None else list(values.shape)
            sha.update(json.dumps(shape).encode())
            sha.update(b"" if values is None else np.asarray(values, "<f8").tobytes())
        sha.update(b"".join(strangers.hashes))
        return sha.hexdigest()

    def require_scored_by(self, weights: str) -> None:
        """Refuse weights, named by their hash, other than those that scored the strangers.

        Raises:
            ModelError: they have changed since.
        """
        if self.scored_by and weights != self.scored_by:
            raise ModelError(
                "The model's weights have changed since its calibration images were scored: it was "
                "trained further, or given to another `fit`. Load it from its folder, or have its "
                "images scored anew: `attach`, or `auditable`."
            )

    def _held_to(
        self, signed: Statement | None, published: Published | None, weights: str
    ) -> list[str]:
        """Refuse what the owner's statement does not name, and return what is said of the rest."""
        if signed is None:
            return []
        if not isinstance(signed, Statement):
            raise SettingsError(
                f"signed = {signed!r} is no statement. Give what "
                "amint_core.audit.statement.read(path, public_key) returns."
            )
        require_about(signed, weights)
        if signed.answers not in (None, self.digest()):
            raise LedgerError(
                "The model's preprocessing, taps, views, class names or the scores handed out with "
                "it are not those that the owner's statement names. Ask him for the model that he "
                "signed."
            )
        unsigned = []
        if signed.answers is None:
            unsigned.append(
                "The owner's statement names weights alone: preprocessing, taps, views, class "
                "names and the scores handed out with the model may have been changed since."
            )
        if published is not None and signed.fingerprints is None:
            unsigned.append("The fingerprints are not signed: the owner's statement names none.")
        elif published is not None and signed.fingerprints != published.digest:
            raise LedgerError(
                "The fingerprints are not those that the owner's statement names. Ask him for the "
                "ones that he signed."
            )
        return [_of_the_list(signed), *unsigned]

    def save_pretrained(self, folder: Path | str, **settings: Any) -> None:
        """Write the model's folder with a card for the hub; see huggingface_hub's ModelHubMixin."""
        self._on_hub().save_pretrained(folder, **settings)

    def push_to_hub(self, repository: str, **settings: Any) -> str:
        """Upload the model's folder and return where it is; see huggingface_hub's ModelHubMixin."""
        settings.setdefault("model_card_kwargs", {"repo": repository})
        return self._on_hub().push_to_hub(repository, **settings)

    @classmethod
    def from_pretrained(
        cls, name: Path | str, model: nn.Module | None = None, **settings: Any
    ) -> AuditableModel:
        """Load a model from a folder or from the hub; see huggingface_hub's ModelHubMixin.

        Args:
            name: the folder, or the hub's repository.
            model: the classifier, where its class is the owner's own.
            settings: of the mixin, such as `revision` and `token`.
        """
        return _hub().OnHub.from_pretrained(name, model=model, **settings).model

    def _on_hub(self) -> Any:
        return _hub().OnHub.of(self)

    def program(self, membership_only: bool = False) -> torch.export.ExportedProgram:
        """Return the model as torch.export writes it down; see `onnx_graph.program`."""
        return import_module("amint_core.audit.onnx_graph").program(self, membership_only)

    def to_onnx(self, path: Path | str, membership_only: bool = False) -> Path:
        """Write the model into an ONNX file; see `onnx_graph.to_onnx`."""
        return import_module("amint_core.audit.onnx_graph").to_onnx(self, path, membership_only)


def _of_the_list(signed: Statement) -> str:
    roles = ", ".join(f"{count:,} {role}" for role, count in signed.roles.items())
    return (
        f"The weights are those of the owner's signed list ({roles}; root {signed.root[:12]}…). "
        "Whatever is called a member, or possibly undeclared, should be on it as a member: ask him "
        "for proofs."
    )


def _hub() -> Any:
    require("hub", "huggingface_hub", "jinja2", "tabulate")
    return import_module("amint_core.audit.hub")


def auditable(
    model: EnhancedAuditedModel,
    preprocessing: Preprocessing,
    calibration: np.ndarray,
    members: np.ndarray | None = None,
    *,
    views: str = "one",
    architecture: str = "",
    card: Mapping[str, Any] | None = None,
) -> AuditableModel:
    """Make a trained model ready for audits: score its owner's strangers and members.

    Weights keep their values, and are laid out in memory as PyTorch does by default.

    Args:
        model: classifier and head, trained.
        preprocessing: what was done with the images it was trained on.
        calibration: (n, H, W, C) uint8 images that took no part in training.
        members: (k, H, W, C) uint8 images that the head learned from as members, or None.
        views: name of a set of `VIEWS`.
        architecture: the classifier's name in the zoo, if it is from there.
        card: see `AuditableModel`.

    Raises:
        ModelError: the model does not compute in fp32.
        ProtocolError: too few calibration images.
    """
    if views not in VIEWS:
        raise ModelError(unknown_name("set of views", views, VIEWS))
    _require_fp32(model)
    require_calibration(len(calibration))
    _lay_out_plainly(model)
    made = AuditableModel(model, preprocessing, Scored(), None, views, architecture, card or {})
    strangers = score_all(made.score, calibration, preprocessing, classify=made.classify)
    return dataclasses.replace(
        made,
        calibration=dataclasses.replace(strangers, pixels=None),
        members=None if members is None else score_all(made.score, members, preprocessing).scores,
        scored_by=hash_of_weights(model.state_dict()),
    )


def _lay_out_plainly(model: EnhancedAuditedModel) -> None:
    """Lay weights out as they are when loaded: the last bits of a score depend on it."""
    for one in (*model.parameters(), *model.buffers()):
        one.data = one.data.clone(memory_format=torch.contiguous_format)


def _require_fp32(model: EnhancedAuditedModel) -> None:
    others = {str(p.dtype) for p in model.parameters() if p.dtype != torch.float32}
    if others:
        raise ModelError(
            f"The model has weights of type {min(others)}; scores are compared in fp32 only. "
            "Convert it first: model.float()."
        )

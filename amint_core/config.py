"""The settings of one run, each with what it takes part in, and the run's id.

`settings.py` makes them and checks their names against the registries.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

from amint_core.errors import SettingsError, unknown_name
from amint_core.recipes import DEFECTS, MOVES, RECIPES, recipe_settings
from amint_core.values import read_yaml

#: What a setting takes part in. A later part depends on the earlier ones without naming them:
#: scores, for instance, depend on all settings of the training.
PARTS: dict[str, str] = {
    "data": "which images have which role; a training sees the dataset's fingerprint and the split",
    "model": "training the audited model, with a MINT head or without",
    "head": "training a MINT head, together with the audited model or after it",
    "test": "how membership is tested, or what else is measured",
    "name": "what the run is called, and no number",
    "nothing": "where results go and how many processes compute them",
}
#: What else a setting can be.
MARKS: dict[str, str] = {
    "spelled": "a word of the run's id; the others enter its hash where they are off their default",
    "averaged": "results are averaged over it: a repetition, or something that changes no number",
    "attack": "read by attacks and controls only: a MINT head's answers do not depend on it",
    "speed": "changes what a training step costs, apart from the sizes of images and batches",
}


def _for(*parts: str) -> frozenset[str]:
    """Say what a setting takes part in: names of `PARTS`, at least one, and of `MARKS`."""
    return frozenset(parts)


def _as_float(value: Any) -> Any:
    # YAML and papermill read 1 as an integer and 1e-4 (no dot) as text.
    try:
        return float(value) if type(value) in (int, str) else value
    except (ValueError, OverflowError):
        return value


def _as_tuple(value: Any) -> Any:
    # One name alone may stand without brackets; YAML gives lists, papermill's -p their text.
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = read_yaml(value)
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


_LARGEST = 2**63  # what arrays can count
Count = Annotated[int, Field(ge=0, lt=_LARGEST)]
Positive = Annotated[int, Field(ge=1, lt=_LARGEST)]
AtLeastTwo = Annotated[int, Field(ge=2, lt=_LARGEST)]  # batch normalisation needs two images
Rate = Annotated[float, BeforeValidator(_as_float), Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, BeforeValidator(_as_float), Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(_as_float), Field(ge=0, le=1, allow_inf_nan=False)]
#: Least and largest width of a head; its parameters grow with the square.
HEAD_WIDTHS = 4, 512
Width = Annotated[int, Field(ge=HEAD_WIDTHS[0], le=HEAD_WIDTHS[1])]
#: Heads of an ensemble; training takes as many times as long.
MOST_HEADS = 16
Setup = Literal["entry", "middle", "output"]
Target = Literal["plain", "active", "undeclared", "misdeclared"]
Variance = Literal["global", "per_class", "per_image"]
#: Of images: names of functions in data/transforms.py.
Transformation = Literal["flip", "shift", "crop", "resize", "jpeg", "blur", "noise", "brightness"]
#: What copies made for training may go through besides.
Augmentation = Literal[Transformation, "border"]
#: Stands for no transformation in tables.
EXACT = "exact"
Transformations = Annotated[tuple[Transformation, ...], BeforeValidator(_as_tuple)]
Augmentations = Annotated[tuple[Augmentation, ...], BeforeValidator(_as_tuple)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class RunConfig(BaseModel):
    """The settings of one run (paper symbols: D = members, E = external, λ1 = lambda_audited,
    λ2 = lambda_mint, R = weight_decay).

    Each declares by `_for` what it takes part in; see `settings_of`. The comment above a setting
    says what it is; `##` begins a group of settings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    ## What is run

    # A name of amint_core.data.
    dataset: Annotated[str, _for("data", "spelled")]
    # A name of amint_core.model.zoo, or any timm model.
    model: Annotated[str, _for("model", "spelled", "speed")]
    # Where in the model the two taps sit (paper: entry, middle and output setup).
    setup: Annotated[Setup, _for("head", "spelled", "speed")] = "middle"
    # A membership test of amint_core.methods.
    method: Annotated[str, _for("test", "spelled")] = "active"
    # The kind of model that attacks and controls test; see training/kinds.py.
    target: Annotated[Target, _for("test", "attack")] = "plain"
    # Which non-members are judged: holdout images (strict) or the test set (paper).
    protocol: Annotated[Literal["strict", "paper"], _for("data", "spelled")] = "strict"
    # Named values for all settings that are not given; see recipes.py.
    recipe: Annotated[str, _for("name")] = "fixed"
    # The dataset's own images, or generated ones in their place (standin).
    data: Annotated[Literal["real", "standin"], _for("data", "spelled")] = "real"
    # Results go to results/<profile>/.
    profile: Annotated[str, _for("nothing", "averaged")] = "scratch"
    # Determines split, initial weights and order of batches.
    seed: Annotated[int, Field(ge=0, lt=_LARGEST), _for("data", "model", "spelled", "averaged")] = 0

    ## Number of images per role; 0 leaves a role empty

    # Images that the audited model is trained on (paper: D).
    members: Annotated[AtLeastTwo, _for("data")] = 2_000
    # Non-members that the MINT head learns from (paper: E).
    external: Annotated[AtLeastTwo, _for("data")] = 3_000
    # Non-members that choose thresholds and stop training early.
    calibration: Annotated[Count, _for("data")] = 1_000
    # Non-members that are judged (strict only).
    holdout: Annotated[Count, _for("data")] = 2_000
    # Labelled images for audited accuracy, in the paper protocol judged as non-members besides;
    # 0: the whole test set.
    test: Annotated[Count, _for("data")] = 0
    # together: images that are near-twins (data/twins.py) all get the same role, like frames of
    # one track.
    near_twins: Annotated[Literal["as_dealt", "together"], _for("data")] = "as_dealt"
    # Side of the square images in pixels; None: as in the paper's notebooks.
    image_size: Annotated[Positive | None, _for("data")] = None

    ## The MINT model

    # Architecture of the MINT head; None: lean for feature maps, token for transformers.
    head: Annotated[Literal["lean", "published", "token"] | None, _for("head", "speed")] = None
    # Channels that a lean or token head reduces each tap to; None: 128 (lean) or 32 (token).
    head_width: Annotated[Width | None, _for("head", "speed")] = None
    # Number of heads, each of which learns by itself in the second of two stages; the lowest of
    # their logits counts, so that an image is a member where all heads say so.
    head_count: Annotated[int, Field(ge=1, le=MOST_HEADS), _for("head", "speed")] = 1
    # The head is trained and queried on low-pass filtered images (data/transforms.py), so that it
    # still recognises resized or re-encoded members; for training in two stages only.
    low_pass: Annotated[bool, _for("head")] = False
    # Names of the tapped modules, from named_modules(); None: those of the setup.
    taps: Annotated[Names | None, _for("head", "speed")] = None
    # Augmented views in which each queried image is scored; the highest score counts.
    views: Annotated[Literal["one", "flips", "flips_and_shifts"], _for("test")] = "one"

    ## Attacks

    # Number of shadow models, for the methods that use some.
    shadows: Annotated[Positive, _for("test", "attack")] = 8
    # Over which images LiRA pools the variances of its Gaussians; see methods/lira.py.
    variance: Annotated[Variance, _for("test", "attack")] = "global"
    # Number of processes that train shadow models in parallel.
    workers: Annotated[Positive, _for("nothing", "averaged")] = 1
    # Interval in epochs at which the training state is kept for a replay; 0: none is kept.
    keep_epochs: Annotated[Count, _for("nothing", "averaged")] = 0

    ## Training

    # Number of passes over the external images.
    epochs: Annotated[Positive, _for("model")] = 20
    # Number of members in a batch; a batch has as many external images besides.
    batch_size: Annotated[AtLeastTwo, _for("model")] = 64
    # Adam's learning rate.
    learning_rate: Annotated[Rate, _for("model")] = 1e-3
    # How the learning rate changes over all epochs.
    schedule: Annotated[Literal["cosine", "constant"], _for("model")] = "cosine"
    # L2 penalty in the loss, R(w+); decoupled from the loss in two stages.
    weight_decay: Annotated[Weight, _for("model")] = 1e-4
    # Weights of the classification loss and of the MINT loss.
    lambda_audited: Annotated[Weight, _for("head")] = 1.0
    lambda_mint: Annotated[Weight, _for("head")] = 1.0
    # Epochs without a better AUC on calibration before stopping; 0: never.
    patience: Annotated[Count, _for("head")] = 0
    # Share of a batch's members that are replaced by augmented copies of themselves.
    augment_members: Annotated[Share, _for("model", "speed")] = 0.0
    # The same for its external images, whose copies are non-members.
    augment_external: Annotated[Share, _for("head", "speed")] = 0.0
    # What the copies go through; each is applied to a random half of them.
    member_transformations: Annotated[Augmentations, _for("model", "speed")] = ()
    external_transformations: Annotated[Augmentations, _for("head", "speed")] = ()
    # Defects of the published notebooks that are switched on. Which part of a run a defect takes
    # part in is stated with it, in recipes.py.
    defects: Annotated[Names, _for("model")] = ()

    ## Training in two stages: the model, then the head alone on recorded activations

    # Passes of the second stage over the external images; 0: training has one stage.
    head_epochs: Annotated[Count, _for("head")] = 0
    # Number of members in a step of the second stage, with as many non-members.
    head_batch: Annotated[AtLeastTwo, _for("head")] = 512
    # Muon's learning rate in the second stage.
    head_rate: Annotated[Weight, _for("head")] = 0.02
    # Recorded copies of each external image, with the transformations of the first stage.
    head_copies: Annotated[Count, _for("head")] = 2
    # Optimiser of the first stage; muon: Muon for weight matrices, AdamW for the rest.
    optimizer: Annotated[Literal["adam", "muon"], _for("model", "speed")] = "adam"
    # Muon's learning rate in the first stage.
    matrix_rate: Annotated[Weight, _for("model")] = 0.02
    # Label smoothing of the classification loss, in the first of two stages.
    label_smoothing: Annotated[Share, _for("model")] = 0.0

    ## What is measured

    # Transformations of the judged images after which members are told from non-members again.
    transformations: Annotated[Transformations, _for("test", "averaged")] = ()

    ## Arithmetic

    # Number format of matrix products; auto: bf16 where this machine multiplies faster in it.
    precision: Annotated[Literal["fp32", "bf16", "fp16", "auto"], _for("model", "speed")] = "fp32"
    # CPU threads, on which the last bits of a sum depend; None: PyTorch's choice.
    cpu_threads: Annotated[Positive | None, _for("model", "averaged", "speed")] = None

    @model_validator(mode="before")
    @classmethod
    def _fill_from_recipe(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        unknown = set(given) - set(cls.model_fields)
        if unknown:
            raise SettingsError(unknown_name("setting", min(unknown), cls.model_fields))
        recipe = given.get("recipe", "fixed")
        if not isinstance(recipe, str) or recipe not in RECIPES:
            raise SettingsError(unknown_name("recipe", recipe, RECIPES))
        settings = recipe_settings(recipe, str(given.get("dataset"))) | dict(given)
        if settings.get("protocol") == "paper":
            settings["holdout"] = 0  # the official test set is judged in its place
        # papermill's -p gives None as text.
        optional = {name for name, field in cls.model_fields.items() if _may_be_none(field)}
        nothing = {name for name in optional if settings.get(name) in ("None", "null")}
        return settings | dict.fromkeys(nothing)

    @field_validator("defects")
    @classmethod
    def _in_one_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # The same defects make the same run, however they are listed.
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _check_fit(self) -> RunConfig:
        for name in self.defects:
            if name not in DEFECTS:
                raise SettingsError(unknown_name("defect", name, DEFECTS))
        self._check_augmentation()
        self._check_stages()
        require_profile_name(self.profile)
        if self.near_twins == "together" and "tracks_ignored" in self.defects:
            raise SettingsError(
                "near_twins = 'together' keeps images whole that the defect 'tracks_ignored' deals "
                "one by one. Leave one of them."
            )
        if self.protocol == "strict" and self.holdout == 0:
            raise SettingsError(
                "holdout = 0 leaves nobody to judge: the strict protocol judges members against "
                "holdout. Give holdout images, or choose protocol = 'paper'."
            )
        if self.head_width:
            require_sizes(self.head, self.head_width)
        if self.taps == ():
            raise SettingsError("taps = [] names no module. Name some, or leave taps to the setup.")
        if self.patience and not self.calibration:
            raise SettingsError(
                f"patience = {self.patience} needs calibration images to watch. Set calibration "
                "above 0, or patience = 0."
            )
        return self

    def _check_augmentation(self) -> None:
        for side in ("member", "external"):
            share = f"augment_{side}s" if side == "member" else f"augment_{side}"
            if getattr(self, share) and not getattr(self, f"{side}_transformations"):
                raise SettingsError(
                    f"{share} = {getattr(self, share):g} makes copies, but {side}_transformations "
                    "names nothing that happens to them. Name some, or set the share to 0."
                )

    def _check_stages(self) -> None:
        if not self.head_epochs:
            if self.optimizer != "adam" or self.label_smoothing:
                raise SettingsError(
                    "optimizer and label_smoothing belong to training in two stages, and "
                    "head_epochs = 0 asks for one. Set head_epochs to 10, or leave them at 'adam' "
                    "and 0."
                )
            if self.head_count > 1:
                raise SettingsError(
                    f"head_count = {self.head_count} is for heads that learn by themselves, and "
                    "head_epochs = 0 trains the head together with the model. Set head_epochs to "
                    "10, or leave head_count at 1."
                )
            if self.low_pass:
                raise SettingsError(
                    "low_pass = True is for a head that learns alone, and head_epochs = 0 trains "
                    "it together with the model. Set head_epochs to 10, or leave low_pass at False."
                )
            return
        for name in (*self.member_transformations, *self.external_transformations):
            if name not in MOVES:
                raise SettingsError(unknown_name("transformation in two stages", name, MOVES))
        if self.defects or self.patience or self.precision == "fp16":
            raise SettingsError(
                "Training in two stages has no published defects, no early stopping and no fp16. "
                "Leave defects empty, patience at 0 and precision at fp32, bf16 or auto; or set "
                "head_epochs = 0."
            )
        if self.schedule != "cosine":
            raise SettingsError(
                "In two stages rates fall as a cosine. Leave schedule at 'cosine', or set "
                "head_epochs = 0."
            )

    def to_train(self, kind: str) -> RunConfig:
        """Return the settings of the run that trains the model of `kind` that this run needs.

        Args:
            kind: see `Method.training`; a kind is the method of that name.
        """
        if kind == self.method:
            return self
        tests = set(settings_of("test")) - {"method"}
        own = {name: type(self).model_fields[name].default for name in tests}
        return self.model_copy(update={**own, "method": kind})

    @property
    def id(self) -> str:
        """Name of the run's folder: what it is in words, and a hash of the other settings."""
        unhashed = set(settings_of("spelled", "nothing"))
        others = self.model_dump(mode="json", exclude=unhashed, exclude_defaults=True)
        digest = hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()[:6]
        words = [self.dataset, *(["standin"] if self.data == "standin" else []), self.model]
        words += [self.setup, self.method, self.protocol, f"s{self.seed}", digest]
        return "-".join(map(as_name, words))

    def has(self, defect: str) -> bool:
        """Tell whether a published defect is on."""
        if defect not in DEFECTS:
            raise SettingsError(unknown_name("defect", defect, DEFECTS))
        return defect in self.defects


def require_profile_name(profile: str) -> None:
    """Refuse a profile that is no plain name of a folder.

    Raises:
        SettingsError: it is none.
    """
    if not isinstance(profile, str):
        raise SettingsError(
            f"profile = {profile!r} is no text. Give it in quotes; to papermill by -r, which takes "
            "values as they are."
        )
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", profile):
        raise SettingsError(
            f"profile = {profile!r} names a folder: use letters, digits, '_', '-', and '.' after "
            "the first."
        )


def require_sizes(head: str | None, width: int) -> None:
    """Refuse a width for a head that has one size.

    Raises:
        SettingsError: it is the published one.
    """
    if head == "published":
        raise SettingsError(
            f"head_width = {width}, but the published head has one size. Leave out one of them."
        )


def as_name(text: str) -> str:
    """Return a text as a part of a file's name; another text never gives the same one."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", text)
    return name if name == text else f"{name[-40:]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def settings_of(*parts: str) -> tuple[str, ...]:
    """Return the settings that take part in any of `parts`, in the order of `RunConfig`.

    Args:
        parts: names of `PARTS` or `MARKS`.

    Raises:
        SettingsError: there is no such part.
    """
    for part in parts:
        if part not in PARTS and part not in MARKS:
            raise SettingsError(unknown_name("part of a run", part, [*PARTS, *MARKS]))
    fields = RunConfig.model_fields.items()
    return tuple(name for name, field in fields if parts_of(field) & set(parts))


def parts_of(field: FieldInfo) -> frozenset[str]:
    """Return what a field of `RunConfig` declares to take part in; empty where it declares none."""
    return frozenset().union(*(use for use in field.metadata if isinstance(use, frozenset)))


def _may_be_none(field: FieldInfo) -> bool:
    return type(None) in get_args(field.annotation)


#: Settings whose values are text alone.
TEXTS = frozenset(name for name, field in RunConfig.model_fields.items() if field.annotation is str)
#: Settings that are lists of names.
LISTS = tuple(
    name
    for name, field in RunConfig.model_fields.items()
    if get_origin(field.annotation) is tuple or Names in get_args(field.annotation)
)


def given_values(namespace: Mapping[str, Any], also: Collection[str] = ()) -> dict[str, Any]:
    """Return the parameters among a notebook's `globals()`: its plain values.

    Args:
        namespace: the notebook's names.
        also: names that count as parameters whatever they hold.
    """
    plain = (bool, int, float, str, list, tuple, type(None))
    jupyter = {"In", "Out", "exit", "quit"}
    return {
        name: value
        for name, value in namespace.items()
        if (isinstance(value, plain) or name in also)
        and not name.startswith("_")
        and name not in jupyter
    }


def only_given(namespace: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the parameters of a notebook that takes `known` ones alone.

    Every other plain value counts as a mistyped papermill parameter, for which papermill itself
    only warns.

    Raises:
        SettingsError: there is another value; the message names it.
    """
    given = given_values(namespace)
    for name in given:
        if name not in known:
            raise SettingsError(unknown_name("parameter", name, known))
    return given


def choices(annotation: Any) -> list[str]:
    """Return the names that a type allows: those of the `Literal`s in it."""
    if isinstance(annotation, str):
        return [annotation]
    return [name for part in get_args(annotation) for name in choices(part)]

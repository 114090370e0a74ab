"""The settings of one run, checked before anything starts, and the run's identity."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from amint_core.exceptions import SettingsError, unknown_name
from amint_core.recipes import DEFECTS, MOVES, RECIPES, recipe_settings

if TYPE_CHECKING:
    from amint_core.methods import Method

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
AtLeastTwo = Annotated[int, Field(ge=2)]  # batch normalisation needs two images
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

#: Settings that are spelled out in a run's id; of the others only those off their default enter
#: its hash, so that a new setting leaves the ids of old runs as they are.
SPELLED = ("dataset", "data", "model", "setup", "method", "protocol", "seed")
#: Settings that say where results go and how they are computed, not what they are.
UNHASHED = (*SPELLED, "profile", "workers")
#: Settings that are lists of names; one name alone may stand without brackets.
LISTS = ("defects", "taps", "member_transformations", "external_transformations", "transformations")

#: Passes of the second stage where a method has two and the run does not say.
HEAD_EPOCHS = 10


class RunConfig(BaseModel):
    """The settings of one run (paper symbols: D = members, E = external, λ1 = lambda_audited,
    λ2 = lambda_mint, R = weight_decay)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    # What is run.
    dataset: str  # a name of amint_core.datasets
    model: str  # a name of amint_core.models, or any timm model
    setup: Literal["entry", "middle", "output"] = "middle"  # where the taps sit (paper, setups)
    method: str = "active"  # a membership test of amint_core.methods
    target: Literal["plain", "active"] = "plain"  # the model that attacks and controls test
    protocol: Literal["strict", "paper"] = "strict"  # who is judged against whom; see splits.py
    recipe: str = "fixed"  # fills the settings left open; see recipes.py
    data: Literal["real", "standin"] = "real"  # stand-ins only on request
    profile: str = "quick"  # results/<profile>/ takes the results
    seed: Annotated[int, Field(ge=0, lt=2**63)] = (
        0  # splits, initial weights and order of batches follow from it
    )

    # Images per role; 0 leaves the role empty. `test` = 0 takes the whole test set.
    members: AtLeastTwo = 2_000
    external: AtLeastTwo = 3_000
    calibration: Count = 1_000  # non-members that choose thresholds and stop training early
    holdout: Count = 2_000  # non-members that are judged (strict only)
    test: Count = 0  # labelled images for audited accuracy (and judged, in `paper`)
    image_size: Positive | None = None  # pixels a side; None: as in the paper's notebooks

    # The MINT model.
    head: Literal["lean", "published", "token"] | None = None  # None: lean for maps, token for ViT
    taps: tuple[str, ...] | None = None  # module names; None: the setup's own

    views: Literal["one", "flips", "flips_and_shifts"] = "one"  # of a query; the highest counts

    # Attacks.
    shadows: Positive = 8  # shadow models, where the method uses them
    variance: Literal["global", "per_class", "per_image"] = "global"  # of LiRA's Gaussians
    workers: Positive = 1  # processes that train shadow models side by side

    # Training.
    epochs: Positive = 20  # one epoch is one pass over the external images
    batch_size: AtLeastTwo = 64  # members per batch, and as many external images
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3  # Adam
    schedule: Literal["cosine", "constant"] = "cosine"  # of the learning rate, over all epochs
    weight_decay: Weight = 1e-4  # L2 in the loss, R(w+)
    lambda_audited: Weight = 1.0
    lambda_mint: Weight = 1.0
    patience: Count = 0  # epochs without a better AUC on calibration before stopping; 0: never
    augment_members: Share = 0.0  # share of a batch's members that are augmented copies
    augment_external: Share = 0.0  # the same of its external images, copies being non-members
    member_transformations: tuple[str, ...] = ()  # each happens to a random half of the copies
    external_transformations: tuple[str, ...] = ()  # names of amint_core.transformations
    defects: tuple[str, ...] = ()  # the published notebooks' defects to keep; see recipes.py

    # Training in two stages: the trunk, then the head alone on recorded activations.
    head_epochs: Count = 0  # of the second stage, passes over the external images; 0: one stage
    head_batch: AtLeastTwo = 512  # members per step of the second stage, and as many others
    head_rate: Weight = 0.02  # Muon's learning rate in the second stage
    head_copies: Count = 2  # recorded copies of each external image, moved as in the first stage
    optimizer: Literal["adam", "muon"] = "adam"  # of the first stage; muon: of its matrices
    matrix_rate: Weight = 0.02  # Muon's learning rate in the first stage
    label_smoothing: Share = 0.0  # of the classification loss, in the first of two stages

    # What is measured.
    transformations: tuple[str, ...] = ()  # of judged images: are they still told apart?

    # Arithmetic.
    # Of the matrix products; auto: bf16 where this machine multiplies faster in it.
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    cpu_threads: Positive | None = None  # sums on a CPU depend on it; None: PyTorch's choice

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
        from amint_core.methods import METHODS

        method = METHODS.get(str(settings.get("method", "active")))
        if method is not None and not method.asks_head and "views" not in given:
            settings["views"] = "one"  # a recipe's views are of the MINT head's answers
        if method is not None and method.training in ("attached", "joint"):
            settings.setdefault("head_epochs", HEAD_EPOCHS)  # there is no other way to train them
        if settings.get("protocol") == "paper":
            settings["holdout"] = 0  # the official test set is judged in its place
        return settings

    @field_validator(*LISTS, mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        if isinstance(value, str):
            return (value,)
        return tuple(value) if isinstance(value, list) else value

    @field_validator("defects")
    @classmethod
    def _in_one_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # The same defects make the same run, however they are listed.
        return tuple(sorted(set(value)))

    @field_validator(
        *("learning_rate", "weight_decay", "lambda_audited", "lambda_mint"),
        *("augment_members", "augment_external", "head_rate", "matrix_rate", "label_smoothing"),
        mode="before",
    )
    @classmethod
    def _as_float(cls, value: Any) -> Any:
        # YAML and papermill read 1 as an integer and 1e-4 (no dot) as text.
        try:
            return float(value) if type(value) in (int, str) else value
        except (ValueError, OverflowError):
            return value

    @model_validator(mode="after")
    def _check_names_and_fit(self) -> RunConfig:
        from amint_core.datasets import DATASETS
        from amint_core.methods import METHODS
        from amint_core.models import is_known, known_names
        from amint_core.transformations import AUGMENTATIONS, TRANSFORMATIONS

        if self.dataset not in DATASETS:
            raise SettingsError(unknown_name("dataset", self.dataset, DATASETS))
        if not is_known(self.model):
            raise SettingsError(
                unknown_name("model", self.model, known_names()) + " Any timm model works too."
            )
        if self.method not in METHODS:
            raise SettingsError(unknown_name("method", self.method, METHODS))
        for kind, names, known in (
            ("defect", self.defects, DEFECTS),
            ("transformation", self.member_transformations, AUGMENTATIONS),
            ("transformation", self.external_transformations, AUGMENTATIONS),
            ("transformation", self.transformations, TRANSFORMATIONS),
        ):
            for name in names:
                if name not in known:
                    raise SettingsError(unknown_name(kind, name, known))
        self._check_augmentation()
        self._check_stages()
        self._check_method(METHODS[self.method])
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", self.profile):
            raise SettingsError(
                f"profile = {self.profile!r} names a folder: use letters, digits, '_', '-', and "
                "'.' after the first."
            )
        if self.protocol == "strict" and self.holdout == 0:
            raise SettingsError(
                "holdout = 0 leaves nobody to judge: the strict protocol judges members against "
                "holdout. Give holdout images, or choose protocol = 'paper'."
            )
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
                    f"head_epochs = 0 asks for one. Set head_epochs to {HEAD_EPOCHS}, or leave "
                    "them at 'adam' and 0."
                )
            return
        for name in (*self.member_transformations, *self.external_transformations):
            if name not in MOVES:
                raise SettingsError(unknown_name("transformation in two stages", name, MOVES))
        if self.defects or self.patience:
            raise SettingsError(
                "Training in two stages has no published defects and no early stopping. Leave "
                "defects empty and patience at 0, or set head_epochs = 0."
            )

    def _check_method(self, method: Method) -> None:
        if method.shadows and self.head_epochs:
            raise SettingsError(
                f"method = {self.method!r} trains shadow models, which learn in one stage as their "
                "target must. Set head_epochs = 0, or take another recipe than 'staged'."
            )
        if method.shadows > self.shadows:
            raise SettingsError(
                f"method = {self.method!r} needs {method.shadows} or more shadow models; "
                f"shadows = {self.shadows}."
            )
        if method.known_members and not self.calibration:
            raise SettingsError(
                f"method = {self.method!r} learns from members that are not judged, and "
                "calibration = 0 judges them all. Set calibration above 0: half of the members "
                "then go with the calibration images."
            )
        active = self.target == "active"
        if method.outsiders and active and not self.calibration:
            raise SettingsError(
                f"method = {self.method!r} on an active model learns non-members from the "
                "calibration images, and calibration = 0. Set it above 0."
            )
        if method.training and active:
            raise SettingsError(
                f"method = {self.method!r} trains a model of its own, so target = 'active' names "
                "none. Leave target at 'plain'."
            )
        if self.views != "one" and not method.asks_head:
            raise SettingsError(
                f"views = {self.views!r} are of a MINT head's answers, and method = "
                f"{self.method!r} asks none. Leave views at 'one'."
            )
        if self.transformations and method.transformed is None:
            raise SettingsError(
                f"transformations are measured for methods that look at the transformed image, and "
                f"{self.method!r} does not. Leave transformations empty."
            )

    def to_train(self, kind: str) -> RunConfig:
        """Return the settings of the run that trains the model of `kind` that this run needs.

        Args:
            kind: see `Method.training`; a kind is the method of that name.
        """
        if kind == self.method:
            return self
        attack = ("target", "shadows", "variance", "transformations", "views")
        own = {name: type(self).model_fields[name].default for name in attack}
        return self.model_copy(update={**own, "method": kind})

    @property
    def id(self) -> str:
        """Name of the run's folder: what it is in words, and a hash of the other settings."""
        others = self.model_dump(mode="json", exclude=set(UNHASHED), exclude_defaults=True)
        digest = hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()[:6]
        words = [self.dataset, *(["standin"] if self.data == "standin" else []), self.model]
        words += [self.setup, self.method, self.protocol, f"s{self.seed}", digest]
        return re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(words))

    def has(self, defect: str) -> bool:
        """Tell whether a published defect is on."""
        if defect not in DEFECTS:
            raise SettingsError(unknown_name("defect", defect, DEFECTS))
        return defect in self.defects

    @classmethod
    def create(cls, **settings: Any) -> RunConfig:
        """Build the settings of a run.

        Raises:
            SettingsError: a name is unknown (with the nearest valid one), or a value does not fit.
        """
        try:
            return cls(**settings)
        except ValidationError as error:
            problems = [cls._in_words(problem) for problem in error.errors()]
            raise SettingsError("Settings refused. " + " ".join(problems)) from None

    @classmethod
    def _in_words(cls, problem: Mapping[str, Any]) -> str:
        name = str(problem["loc"][0]) if problem["loc"] else "settings"
        if problem["type"] == "missing":
            return f"{name} is missing: give one."
        if problem["type"] == "literal_error":
            annotation = cls.model_fields[name].annotation
            valid = [one for kind in (annotation, *get_args(annotation)) for one in get_args(kind)]
            return unknown_name(name, problem["input"], filter(_is_text, valid))
        return f"{name} = {problem['input']!r}: {problem['msg']}."

    @classmethod
    def from_namespace(cls, namespace: Mapping[str, Any]) -> RunConfig:
        """Build settings from a notebook's `globals()`.

        Every plain value counts as a setting, so that a mistyped papermill parameter, for which
        papermill itself only warns, is refused here. So is a setting whose name now holds
        something else.
        """
        settings = given_values(namespace, also=cls.model_fields)
        return cls.create(
            **{
                name: value.item() if hasattr(value, "item") else value
                for name, value in settings.items()
            }
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


def _is_text(value: Any) -> bool:
    return isinstance(value, str)

"""What an audited model is: how it is built, and where its two maps are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amint_core.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

#: The paper's three places for the two maps, from the input to the output.
SETUPS = ("entry", "middle", "output")

Build = Callable[[int, int, int], "nn.Module"]


@dataclass(frozen=True)
class Architecture:
    """An audited model (paper symbol: M) and its taps; one or two per file of this package.

    Architecture files import torch and timm inside their build functions only: the settings and
    the Snakefile ask for names, and those imports take seconds.

    Attributes:
        name: the name used in settings.
        title: the column of the paper's Table 1.
        build: (channels, image_size, num_classes) → the model with random weights.
        taps: setup → the two modules whose outputs are read, shallower first. All that follows
            the deeper one depends on the layers before it through its output alone. Empty where
            they are found from the built model.
        reasons: setup → why these two modules stand for it.
        tokens: True where the taps give (B, T, D) tokens, False where they give (B, C, H, W) maps,
            None where only the built model tells.
        min_image_size: smallest side in pixels at which every halving still has a map to halve.
        size_multiple: the side must be a multiple of it.
    """

    name: str
    title: str
    build: Build
    taps: dict[str, tuple[str, str]]
    reasons: dict[str, str]
    tokens: bool | None = False
    min_image_size: int = 8
    size_multiple: int = 1

    def check_input(self, channels: int, image_size: int, num_classes: int) -> None:
        """Check that the model can take such images.

        Raises:
            ModelError: the image is too small or not of a possible size, there is no channel, or
                there are fewer than two classes.
        """
        if channels < 1:
            raise ModelError(
                f"Model {self.name!r} cannot take images of {channels} channels. Give 1 for grey "
                "or 3 for colour images."
            )
        if num_classes < 2:
            raise ModelError(
                f"Model {self.name!r} cannot classify into {num_classes} class(es). Give 2 or more."
            )
        least = self.size_multiple * -(-self.min_image_size // self.size_multiple)
        if image_size < least:
            raise ModelError(
                f"Images of {image_size}×{image_size} pixels are too small for model "
                f"{self.name!r}. Set image_size to {least} or more."
            )
        if image_size % self.size_multiple:
            near = round(image_size / self.size_multiple) * self.size_multiple
            raise ModelError(
                f"Images of {image_size}×{image_size} pixels do not fit model {self.name!r}, which "
                f"needs a multiple of {self.size_multiple}. Set image_size to {near}, for example."
            )

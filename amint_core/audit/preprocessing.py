"""What is done with an image before the model sees it: stored with the model, applied by all.

A membership test answers for images that went through the same steps as the owner's did; resized
by another filter, certain strangers are accused three times as often.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from amint_core.errors import SettingsError, unknown_name

FILTERS = {each.name.lower(): each for each in Image.Resampling}
FITS = ("stretch", "crop")


@dataclass(frozen=True)
class Preprocessing:
    """Steps from an opened image to the model's input."""

    height: int
    width: int
    channels: int = 3  # 1: grey; others come in arrays alone, of the right size
    filter: str = "bilinear"  # of Pillow, antialiased; an image of this size is left as it is
    fit: str = "stretch"  # or "crop": the largest middle part of the right shape
    mean: tuple[float, ...] = (0.5,)  # of pixels from 0 to 1; one value, or one for each channel
    deviation: tuple[float, ...] = (0.5,)
    upright: bool = True  # files are turned as their EXIF data say; else they are taken as stored

    def __post_init__(self) -> None:
        if self.filter not in FILTERS:
            raise SettingsError(unknown_name("filter", self.filter, FILTERS))
        if self.fit not in FITS:
            raise SettingsError(unknown_name("fit", self.fit, FITS))
        sizes = self.height, self.width, self.channels
        if not all(isinstance(one, Integral) for one in sizes) or min(sizes) < 1:
            raise SettingsError(
                f"{self.height!r} × {self.width!r} pixels in {self.channels!r} channels are no "
                "image. Give sizes and channels as whole numbers above 0."
            )
        for name, size in zip(("height", "width", "channels"), sizes, strict=True):
            object.__setattr__(self, name, int(size))  # as JSON has it
        for name in ("mean", "deviation"):
            try:
                values = np.atleast_1d(getattr(self, name)).astype(float).tolist()
            except (TypeError, ValueError) as error:
                raise SettingsError(f"`{name}` holds numbers ({error}).") from error
            object.__setattr__(self, name, tuple(values))
            if len(getattr(self, name)) not in (1, self.channels):
                raise SettingsError(f"`{name}` has one value, or one for each channel.")
        if not isinstance(self.upright, bool):
            raise SettingsError(f"upright = {self.upright!r}: give True or False.")
        if not np.isfinite(self.mean + self.deviation).all() or min(self.deviation) <= 0:
            raise SettingsError(
                "`mean` and `deviation` are finite numbers, and `deviation` divides, so it is "
                f"above 0; not {self.mean} and {self.deviation}."
            )

    def apply(self, image: Image.Image) -> np.ndarray:
        """Return (H, W, C) uint8 pixels of an RGB or grey image.

        Raises:
            SettingsError: the model wants neither.
        """
        if self.channels not in (1, 3):
            raise SettingsError(
                f"The model's images have {self.channels} channels, which no file has. Give them "
                f"as an array, (N, {self.height}, {self.width}, {self.channels}) uint8."
            )
        image = image.convert("RGB" if self.channels == 3 else "L")
        if image.size != (self.width, self.height):
            image = image.resize(
                (self.width, self.height), FILTERS[self.filter], box=self._box(*image.size)
            )
        return np.asarray(image).reshape(self.height, self.width, self.channels)

    def normalise(self, pixels: np.ndarray) -> Tensor:
        """Turn (B, H, W, C) uint8 pixels into (B, C, H, W) floats as the model was trained on."""
        floats = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
        mean = torch.tensor(self.mean).view(1, -1, 1, 1)
        deviation = torch.tensor(self.deviation).view(1, -1, 1, 1)
        # In this order the default gives pixels / 127.5 − 1, bit for bit.
        return floats.div_(255 * deviation).sub_(mean / deviation)

    def record(self) -> dict[str, Any]:
        """Return what to store with the model."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Preprocessing:
        """Read what `record` stored.

        Raises:
            SettingsError: a step is unknown or missing; it must not be left out in silence.
        """
        try:
            return cls(**record)
        except TypeError as error:
            raise SettingsError(
                f"The stored preprocessing does not fit this version: {error}. Use the version of "
                "the package that the model was made with."
            ) from error

    def _box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return the part of an image that is resized: left, top, right, bottom."""
        if self.fit == "stretch":
            return 0, 0, width, height
        scale = min(width / self.width, height / self.height)
        across, down = scale * self.width, scale * self.height
        left, top = (width - across) / 2, (height - down) / 2
        return left, top, left + across, top + down

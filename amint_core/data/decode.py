"""Decode one image to the size and the channels of its dataset."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from amint_core.data.base import DatasetSpec
from amint_core.data.sources import Item
from amint_core.errors import DataError
from amint_core.locations import shown

#: What an image may be, whatever its name says: Pillow's other readers start programs (EPS starts
#: Ghostscript) or are little used.
FORMATS = ("JPEG", "PNG", "PPM", "BMP", "WEBP", "TIFF", "GIF")
GREY = ("L", "1", "LA")


class Decoded(NamedTuple):
    """An (H, W, C) uint8 image, and whether it was grey for a colour dataset, or the reverse."""

    pixels: np.ndarray
    changed: bool


def decode(item: Item, spec: DatasetSpec, image_size: int) -> Decoded:
    """Decode an image, resized to `image_size` a side (bilinear, antialiased; no cropping).

    Grey images of a colour dataset become RGB, as such datasets hold some, and grey digits saved
    in colour become grey. Nothing else is converted: a colour image in a grey dataset and
    transparent pixels are errors.

    Raises:
        DataError: the image is unreadable, truncated or has the wrong channels; names the file.
    """
    where = shown(item.data) if isinstance(item.data, str) else item.name
    try:
        if isinstance(item.data, np.ndarray):
            image = Image.fromarray(item.data)
        else:
            file = io.BytesIO(item.data) if isinstance(item.data, bytes) else item.data
            image = Image.open(file, formats=FORMATS)
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise nearly every kind over damaged files
        raise DataError(
            f"{where} of {spec.title} is damaged or truncated, or none of {', '.join(FORMATS)} "
            f"({error}). Fetch it again; a dataset with unreadable images is not used in part. "
            f"{spec.obtain}"
        ) from error
    changed = (image.mode in GREY) == (spec.channels == 3)
    image = _with_channels(image, spec, where)
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return Decoded(np.asarray(image).reshape(image_size, image_size, spec.channels), changed)


def _with_channels(image: Image.Image, spec: DatasetSpec, where: str) -> Image.Image:
    wanted = "grey (1 channel, mode L)" if spec.channels == 1 else "8-bit colour"
    odd = DataError(
        f"{where} has mode {image.mode}, but {spec.title} is {wanted}. Convert its images to "
        f"{'8-bit grey' if spec.channels == 1 else 'RGB'}, or fetch the official files."
    )
    if image.mode not in ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", *GREY):
        raise odd
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            raise DataError(
                f"{where} has transparent pixels, which have no colour. Put the images of "
                f"{spec.title} on a background first, or fetch the official files."
            )
    if spec.channels == 3:
        return image.convert("RGB")
    if image.mode in ("L", "1"):
        return image.convert("L")
    red, *others = (channel.tobytes() for channel in image.convert("RGB").split())
    if others != [red, red]:
        raise odd
    return image.convert("RGB").getchannel(0)

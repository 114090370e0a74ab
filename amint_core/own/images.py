"""One's own images, from wherever they are: arrays, a torch dataset, a folder."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.utils.data import DataLoader

from amint_core.audit.images import (
    Picture,
    Refused,
    Unfit,
    as_colour,
    forms,
    in_words,
    orientation,
    read,
)
from amint_core.audit.preprocessing import Preprocessing
from amint_core.data.folders import class_order
from amint_core.errors import DataError

UNNORMALISED = (
    "Give 8-bit pixels, or floats from 0 to 1 that are 8-bit pixels divided by 255; no copies that "
    "are moved or normalised. What normalises them goes with the model: preprocessing="
    "amint.Preprocessing(height, width, mean=…, deviation=…)."
)
#: Images of a dataset that are asked for twice: one that is mirrored by chance is often the same.
ASKED_AGAIN = 64


@dataclass(frozen=True)
class Images:
    """Images as a model sees them before they are normalised.

    Attributes:
        pixels: (N, H, W, C) uint8.
        preprocessing: how they came to that, and how they are normalised.
        labels: (N,) int64 class numbers, or None.
        groups: (N,) names or numbers, the same for images that belong together, such as frames of
            one video; or None.
        classes: names of the classes by number, where they have any.
    """

    pixels: np.ndarray
    preprocessing: Preprocessing
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: np.ndarray) -> Images:
        """Return the images in some (n,) rows."""
        parts = {
            name: None if getattr(self, name) is None else getattr(self, name)[rows]
            for name in ("labels", "groups")
        }
        return replace(self, pixels=np.asarray(self.pixels[rows]), **parts)


def gather(
    source: Any,
    labels: Sequence[int] | None = None,
    groups: Sequence[Any] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Images:
    """Return one's own images, wherever they are.

    Args:
        source: `Images`; (N, H, W, C), (N, C, H, W) or (N, H, W) pixels; a dataset or DataLoader of
            torch, whose images may be PIL's; a folder, whose subfolders are classes; or a pair of
            pixels and labels.
        labels: (N,) class numbers, where the source has none.
        groups: (N,) names or numbers of what belongs together.
        preprocessing: how images are brought to one size, and normalised; None: they have one
            size, and mean and deviation are .5.

    Raises:
        DataError: there is no image, or they have several sizes, or are no 8-bit pixels; or there
            are not as many labels as images.
    """
    if isinstance(source, tuple) and len(source) == 2:
        source, labels = source
    if isinstance(source, Images):
        found = source
        if preprocessing is not None:
            made = _prepared(source.pixels, preprocessing)
            found = replace(source, pixels=made.pixels, preprocessing=made.preprocessing)
    elif isinstance(source, str | Path):
        found = _of_folder(Path(source), preprocessing)
    elif isinstance(source, np.ndarray | torch.Tensor):
        found = _prepared(_pixels(source), preprocessing)
    else:
        found = _of_dataset(source, preprocessing, labelled=labels is None)
    given = {"labels": labels, "groups": groups}
    numbered = {
        name: _numbers(name, one, len(found)) for name, one in given.items() if one is not None
    }
    return replace(found, **numbered, classes=() if labels is not None else found.classes)


def _numbers(name: str, given: Sequence[Any], count: int) -> np.ndarray:
    values = np.asarray(given)
    if values.shape != (count,):
        raise DataError(f"{count} images, but {name} of shape {values.shape}: give one for each.")
    if name == "groups":
        if missing := int(pd.isna(values).sum()):
            raise DataError(
                f"{missing} of {count} images have no group. Give each one that belongs to no "
                "other a group of its own."
            )
        return values
    if not np.issubdtype(values.dtype, np.integer) or (count and values.min() < 0):
        raise DataError("Labels are class numbers from 0 on. Number the classes first.")
    return values.astype(np.int64)


def _pixels(given: np.ndarray | torch.Tensor) -> np.ndarray:
    """Return (N, H, W, C) uint8 pixels of an array in any of the usual forms."""
    values = given
    if isinstance(given, torch.Tensor):  # numpy has no bfloat16
        values = given.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4 or not len(values):
        raise DataError(f"Images are (N, H, W, C), not {values.shape}. {UNNORMALISED}")
    few = values.shape[1] < min(values.shape[2:])
    if few and (values.shape[3] > 4 or isinstance(given, torch.Tensor)):
        values = values.transpose(0, 2, 3, 1)  # torch's order
    return np.ascontiguousarray(_bytes(values))


def _bytes(values: np.ndarray) -> np.ndarray:
    """Return 8-bit pixels; floats must be such, divided by 255."""
    if values.dtype == np.uint8:
        return values
    if np.issubdtype(values.dtype, np.floating):
        whole = np.rint(values * 255)
        exact = np.abs(values * 255 - whole).max() < 1e-2
        if exact and whole.min() >= 0 and 1 < whole.max() <= 255:
            return whole.astype(np.uint8)
    raise DataError(
        f"These images are {values.dtype} from {values.min():g} to {values.max():g}. {UNNORMALISED}"
    )


def _prepared(pixels: np.ndarray, how: Preprocessing | None) -> Images:
    if how is None:
        return Images(pixels, Preprocessing(*pixels.shape[1:]))
    ready = [one.pixels for one in read(pixels, how) if isinstance(one, Picture)]
    return Images(np.stack(ready), how)


def _of_folder(folder: Path, how: Preprocessing | None) -> Images:
    """Read a folder as an auditor's is read; its subfolders are the classes."""
    how = how or _of_one_size(folder)
    pixels, names, refused = [], [], []
    for one in read(folder, how):
        if isinstance(one, Refused):
            refused.append(one)
        else:
            pixels.append(one.pixels)
            names.append(one.name)
    if not pixels:
        raise DataError(f"{folder} holds no image. {in_words(refused[:3])}")
    if refused:
        warnings.warn(f"Passed over: {in_words(refused)}.", stacklevel=4)
    folders = [str(Path(name).parent) for name in names]
    if "." in folders:
        beside = sum(one == "." for one in folders)
        if beside < len(folders):
            warnings.warn(
                f"{beside} images lie beside the class folders in {folder}, so that none has a "
                "class. Move them into a folder, or out.",
                stacklevel=4,
            )
        return Images(np.stack(pixels), how)
    classes = class_order(sorted(set(folders)))
    labels = np.array([classes.index(one) for one in folders], np.int64)
    return Images(np.stack(pixels), how, labels, classes=classes)


def _of_one_size(folder: Path) -> Preprocessing:
    """Return the one size and colour of a folder's images."""
    kinds = set(forms(folder))
    sizes = {size for size, _ in kinds}
    if not sizes:
        raise DataError(f"There is no image in {folder} that can be read. Give another folder.")
    if len(sizes) != 1:
        found = ", ".join(f"{width}×{height}" for width, height in sorted(sizes)[:3])
        raise DataError(
            f"The images in {folder} have {len(sizes)} sizes ({found}). Say which "
            "they are brought to: preprocessing=amint.Preprocessing(height, width)."
        )
    ((width, height),) = sizes
    return Preprocessing(height, width, 1 if all(grey for _, grey in kinds) else 3)


def _of_dataset(source: Any, how: Preprocessing | None, labelled: bool) -> Images:
    """Walk a torch dataset, or that of a DataLoader, in its own order.

    Args:
        labelled: whether its own labels are wanted, where it has any.
    """
    dataset = source.dataset if isinstance(source, DataLoader) else source
    _require_dataset(dataset)
    if isinstance(source, DataLoader):
        _require_all_drawn(source)
    pixels, labels, turned = [], [], 0
    for number in range(len(dataset)):
        image, label = _item(dataset[number])
        turned += isinstance(image, Image.Image) and orientation(image) != 1
        pixels.append(_one(image, number, how))
        labels.append(label)
        if pixels[-1].shape != pixels[0].shape:
            raise DataError(
                f"Image {number} has the shape {pixels[-1].shape}, others {pixels[0].shape}. Say "
                "which they are brought to: preprocessing=amint.Preprocessing(height, width)."
            )
    for number in np.unique(np.linspace(0, len(dataset) - 1, ASKED_AGAIN, dtype=int)).tolist():
        if not np.array_equal(pixels[number], _one(_item(dataset[number])[0], number, how)):
            raise DataError(
                f"The dataset gives another image each time it is asked. {UNNORMALISED}"
            )
    if turned and (how is None or how.upright):
        warnings.warn(
            f"{turned} images of the dataset have an EXIF orientation and are taken as they are "
            "stored, but an audit turns files upright. If the model is trained on them as they are "
            "stored, give preprocessing=amint.Preprocessing(…, upright=False); if on upright ones, "
            "turn them in the dataset: ImageOps.exif_transpose.",
            stacklevel=4,
        )
    found = Images(np.stack(pixels), how or Preprocessing(*pixels[0].shape))
    own = _class_numbers(labels) if labelled else None
    return found if own is None else replace(found, labels=own)


def _class_numbers(labels: Sequence[Any]) -> np.ndarray | None:
    """Return a dataset's (N,) class numbers; None: it has none."""
    if without := sum(one is None for one in labels):
        if without == len(labels):
            return None
        raise DataError(
            f"{without} of the dataset's {len(labels)} images have no label. Leave them out, "
            "or give labels=… of one number an image."
        )
    try:
        plain = np.array([one.item() if hasattr(one, "item") else one for one in labels])
    except (TypeError, ValueError, RuntimeError) as error:  # one-hot vectors, several targets
        raise DataError(
            f"The dataset's second part is no class number ({error}). Give labels=… of one number "
            "an image."
        ) from error
    if (plain == -1).all():  # as datasets say that they have no labels
        return None
    return _numbers("labels", plain, len(labels))


def _require_dataset(source: Any) -> None:
    """Refuse what cannot be asked for its images by number, such as a stream or a table."""
    remedy = (
        f"{type(source).__name__} is no source of images: give an array, a dataset with __len__ "
        "and __getitem__, a DataLoader of one, or a folder. Of a stream give list(stream)."
    )
    if not hasattr(source, "__getitem__") or not hasattr(source, "__len__") or not len(source):
        raise DataError(remedy)
    try:
        source[0]
    except Exception as error:  # a stream of torch's, a dictionary, a table
        raise DataError(
            f"{remedy} (Asked for its first image, it raises {type(error).__name__}: {error})"
        ) from error


def _require_all_drawn(loader: DataLoader) -> None:
    """Refuse a DataLoader that draws a part of its dataset: the other images are no members."""
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    there = len(loader.dataset)
    drawn = len(sampler) if hasattr(sampler, "__len__") else there
    if drawn != there:
        raise DataError(
            f"The DataLoader draws {drawn} of the {there} images of its dataset, by a "
            f"{type(sampler).__name__}. Give those alone: torch.utils.data.Subset(dataset, rows)."
        )


def _item(item: Any) -> tuple[Any, Any]:
    """Return an item's image and label; the label is None where there is none."""
    if isinstance(item, Mapping):
        raise DataError(
            f"The dataset gives dictionaries with {', '.join(map(str, item))}. Give pairs, such as "
            "[(one['image'], one['label']) for one in dataset]."
        )
    return item[:2] if isinstance(item, tuple | list) and len(item) > 1 else (item, None)


def _one(image: Any, number: int, how: Preprocessing | None) -> np.ndarray:
    """Return the (H, W, C) uint8 pixels of a dataset's image."""
    if isinstance(image, Image.Image):
        try:
            image, _ = as_colour(image)
        except Unfit as error:
            raise DataError(f"Image {number} of the dataset {error}.") from error
        if how is not None:
            return how.apply(image)
        pixels = np.asarray(image)
        return pixels[..., None] if pixels.ndim == 2 else pixels
    values = image[None] if hasattr(image, "ndim") else np.asarray(image)[None]
    if number and not values.any():  # floats that are all 0 are black
        values = np.zeros(values.shape, np.uint8)
    pixels = _pixels(values)
    return pixels[0] if how is None else _prepared(pixels, how).pixels[0]

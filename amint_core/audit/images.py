"""Read an auditor's folder: every file is an image that fits, or a line that says why not.

The files are a stranger's. They are opened by a list of formats, after their size is known, and
only if they are plain files; one image is in memory at a time, whatever the folder holds.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from amint_core.audit.preprocessing import Preprocessing
from amint_core.data.decode import FORMATS
from amint_core.data.entries import is_dropping
from amint_core.errors import AmintError, DataError, printable
from amint_core.files import write_files
from amint_core.locations import given_path

MOST_PIXELS = 50_000_000
MOST_BYTES = 200_000_000
#: Modes that become RGB, and what is noted then.
_CONVERTED = {
    "RGB": "",
    "YCbCr": "",
    "P": "had a palette",
    "CMYK": "converted from CMYK without its colour profile",
}


@dataclass(frozen=True)
class Picture:
    """An image as the model is to see it, before normalisation."""

    name: str
    pixels: np.ndarray  # (H, W, C) uint8
    note: str = ""  # what had to be done that a reader may want to know
    source: Path | None = None


@dataclass(frozen=True)
class Refused:
    """A file that takes no part, and why."""

    name: str
    reason: str


def in_words(refused: Sequence[Refused]) -> str:
    """Name the first three files that take no part, with why, and say how many more there are."""
    first = "; ".join(f"{each.name} {each.reason}" for each in refused[:3])
    return first + (f" and {len(refused) - 3} more" if len(refused) > 3 else "")


class Unfit(Exception):
    """A file that is not used; the message is the reason."""


def read(source: Path | str | np.ndarray, how: Preprocessing) -> Iterator[Picture | Refused]:
    """Yield a `Picture` or a `Refused` for every file below a folder, or for every array.

    Args:
        source: a folder, searched to any depth in the order of names; or (N, H, W, C) uint8 images.
        how: what the model's owner did with his images.

    Raises:
        DataError: the folder does not exist, or the array is no array of images.
    """
    if isinstance(source, np.ndarray):
        yield from _from_array(source, how)
        return
    if not isinstance(source, str | os.PathLike):
        raise DataError(
            f"Images are a folder, or (N, H, W, 1 or 3) uint8 pixels, not {type(source).__name__}. "
            "Of a tensor (N, C, H, W) give tensor.permute(0, 2, 3, 1).numpy()."
        )
    folder = _folder(source)
    for path in _files(folder):
        name = shown(path.relative_to(folder))
        if _is_left_behind(path, folder):
            yield Refused(name, "is what a system or an archiver left behind, or hidden")
            continue
        try:
            pixels, note = open_image(path, how)
            yield Picture(name, pixels, note, path)
        except Unfit as error:
            yield Refused(name, str(error))


def forms(source: Path | str) -> Iterator[tuple[tuple[int, int], bool]]:
    """Yield the upright (width, height) of each image that `read` opens, and whether it is grey.

    Raises:
        DataError: the folder does not exist.
    """
    folder = _folder(source)
    for path in _files(folder):
        if _is_left_behind(path, folder):
            continue
        try:
            with _opened_file(path) as image:
                turned = orientation(image) >= 5  # by a quarter, mirrored or not
                yield image.size[::-1] if turned else image.size, image.mode in ("1", "L")
        except Unfit:
            continue


def write(pixels: np.ndarray, folder: Path | str, name: str = "image") -> Path:
    """Write (N, H, W, 1 or 3) uint8 images into a folder as NAME-00000.png and so on."""
    folder = given_path(folder)
    images = enumerate(_opened(pixels))
    write_files(folder, ((f"{name}-{number:05}.png", image.save) for number, image in images))
    return folder


def batches(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Yield lists of at most `size` pictures."""
    batch: list[Picture] = []
    for picture in pictures:
        batch.append(picture)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def open_image(path: Path, how: Preprocessing) -> tuple[np.ndarray, str]:
    """Return (H, W, C) uint8 pixels and a note ("" where nothing is to be said).

    Raises:
        Unfit: it is not an image that can be judged.
    """
    with _opened_file(path) as image:
        image.load()
        lies = orientation(image) != 1
        turned = how.upright and lies
        colour, note = as_colour(ImageOps.exif_transpose(image) if turned else image)
        grey = how.channels == 1 and colour.mode == "RGB" and _has_colour(colour)
        notes = [note, "made grey, as the model's own images are" if grey else ""]
        if lies:
            as_trained = "not turned as its EXIF data say, as the model's own images were not"
            notes += ["turned upright as its EXIF data say" if turned else as_trained]
        return how.apply(colour), "; ".join(filter(None, notes))


@contextmanager
def _opened_file(path: Path) -> Iterator[Image.Image]:
    """Open an image whose header is in order; what goes wrong with it is why it is unfit."""
    _check_file(path)
    try:
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as image:
            warnings.simplefilter("ignore")  # what Pillow merely doubts is refused here, or noted
            _check_header(image)
            yield image
    except (Unfit, AmintError):
        raise
    except UnidentifiedImageError as error:
        raise Unfit(f"is not an image of a known format ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise Unfit("has far more pixels than any photograph") from error
    except Exception as error:  # Pillow raises nearly every kind over damaged files
        raise Unfit(f"is damaged or truncated ({printable(str(error))})") from error


def shown(path: Path) -> str:
    """Return a path as printable text, whatever bytes its names hold."""
    return printable(str(path))


def _folder(source: Path | str) -> Path:
    folder = given_path(source)
    if not folder.is_dir():
        raise DataError(f"{shown(folder)} is no folder. Name a folder that holds images.")
    return folder


def _is_left_behind(path: Path, folder: Path) -> bool:
    return any(map(is_dropping, path.relative_to(folder).parts))


def orientation(image: Image.Image) -> int:
    """Return how an image lies by its EXIF data; 1: upright."""
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files, and the folders that are not entered: links, and those that are locked."""
    locked: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=locked.append):
        folders.sort()
        for name in sorted([*names, *filter(lambda each: Path(place, each).is_symlink(), folders)]):
            yield Path(place, name)
    yield from (Path(error.filename) for error in locked)


def _check_file(path: Path) -> None:
    """Refuse what must not be opened: a pipe would wait for ever, a device would do worse."""
    try:
        found = path.stat()
    except OSError as error:
        raise Unfit(f"cannot be reached ({error.strerror}); a link that leads nowhere?") from error
    if stat.S_ISDIR(found.st_mode):
        raise Unfit("is a folder that is not entered: a link, or locked")
    if not stat.S_ISREG(found.st_mode):
        raise Unfit("is not a plain file")
    if not found.st_size:
        raise Unfit("is empty")
    if found.st_size > MOST_BYTES:
        raise Unfit(f"has {found.st_size:,} bytes, more than {MOST_BYTES:,}")


def _check_header(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise Unfit(f"has {image.width} × {image.height} pixels, more than {MOST_PIXELS:,}")
    # Phones add a preview as a second frame; every other second frame is another image.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise Unfit(f"has {image.n_frames} frames; save the one that is meant by itself")


def as_colour(image: Image.Image) -> tuple[Image.Image, str]:
    """Return the image as RGB or grey, with a note where a conversion guesses something.

    Raises:
        Unfit: its pixels are not 8 bits, or some are transparent.
    """
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        if opaque.getchannel("A").getextrema()[0] < 255:
            raise Unfit("has transparent pixels, which have no colour; put it on a background")
        return opaque.convert("RGB"), ""
    if image.mode in ("1", "L"):
        return image.convert("L"), ""
    if image.mode not in _CONVERTED:
        raise Unfit(f"has pixels of mode {image.mode}, not 8 bits; convert it as the owner did")
    return image.convert("RGB"), _CONVERTED[image.mode]


def _has_colour(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    return bool((pixels != pixels[..., :1]).any())


def _from_array(pixels: np.ndarray, how: Preprocessing) -> Iterator[Picture]:
    if pixels.dtype == np.uint8 and pixels.shape[1:] == (how.height, how.width, how.channels):
        yield from (Picture(f"image {index}", each) for index, each in enumerate(pixels))
        return
    if how.channels not in (1, 3):
        raise DataError(
            f"The model's images have {how.channels} channels and are not resized: give them as "
            f"(N, {how.height}, {how.width}, {how.channels}) uint8, not {pixels.shape} "
            f"{pixels.dtype}."
        )
    for index, image in enumerate(_opened(pixels)):
        yield Picture(f"image {index}", how.apply(image))


def _opened(pixels: np.ndarray) -> Iterator[Image.Image]:
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or pixels.shape[3] not in (1, 3):
        raise DataError(
            f"Images in memory are (N, H, W, 1 or 3) uint8, not {pixels.shape} {pixels.dtype}."
        )
    for each in pixels:
        yield Image.fromarray(each[:, :, 0] if each.shape[2] == 1 else each)

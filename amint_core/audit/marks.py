"""Marks that an owner of images puts into them before he publishes them, and finds again in models.

Of every image there are K versions, which differ by a faint pattern. A secret key draws the one
that is published; the others stay secret. A model that never saw a published version cannot know
the draw, so that the rank of the published version's loss among all K is uniform, whatever the
model, and independent from draw to draw. The sum of ranks has a distribution that is counted out:
no reference images, no shadow models and no word of the model's owner are needed, only losses.

The idea of marks that training takes up is that of radioactive data (Sablayrolles et al. 2020,
arXiv 2002.00937), which needs an assumption on the features of models. Unpublished alternatives in
the place of that assumption are from Huang, Gong and Reiter (CCS 2024, arXiv 2407.15100), who
publish one of two versions of every image, and (arXiv 2503.22413) rank a version among many. Here
one draw can also serve all images of a class, so that they teach one pattern together.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import comb
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from amint_core.audit.auditable import AuditableModel
from amint_core.audit.fingerprints import content_hash
from amint_core.audit.preprocessing import Preprocessing
from amint_core.errors import DamagedError, DataError, ModelError, SettingsError
from amint_core.locations import given_path, shown
from amint_core.methods.posteriors import scaled_logits
from amint_core.model.reading import classifier_of
from amint_core.store import read_sealed, write_sealed

#: (n, H, W, C) uint8 pixels and (n,) labels → (n,) losses, lower where the model is surer.
Losses = Callable[[np.ndarray, np.ndarray], np.ndarray]

_FORMAT = "amint-marks-1"
_KEY_BYTES = 32
_BATCH = 512  # versions that are asked about at once


@dataclass(frozen=True)
class Marks:
    """The owner's secret: with the original images, all that the versions follow from.

    Attributes:
        key: 32 secret bytes.
        images: (N,) content hashes of the originals, in their order.
        draws: (N,) names of what shares a draw: an image's own hash, or a group.
        versions: K, how many versions there are of each image.
        amplitude: by how many of 256 levels a version differs from the original at most.
        cell: side of the pattern's squares in pixels; coarser ones outlive JPEG, and being shrunk
            by less than that.
        lot: of a public draw after the commitment was deposited, see `by_lot`; "": the key alone
            draws.
    """

    key: bytes
    images: tuple[str, ...]
    draws: tuple[str, ...]
    versions: int
    amplitude: int
    cell: int
    lot: str = ""

    def __post_init__(self) -> None:
        if len(self.key) != _KEY_BYTES:
            raise SettingsError(
                f"A key of marks has {_KEY_BYTES} bytes, not {len(self.key)}: leave it out, or use "
                f"secrets.token_bytes({_KEY_BYTES}). One that can be guessed proves nothing."
            )
        if self.versions < 2:
            raise SettingsError(
                f"versions = {self.versions} leaves no alternative that stays secret. Give 2 or "
                "more."
            )
        if not 1 <= self.amplitude <= 127:
            raise SettingsError(
                f"amplitude = {self.amplitude} is no number of levels from 1 to 127. The usual 4 "
                "to 16 are hard to see."
            )
        if self.cell < 1:
            raise SettingsError(f"cell = {self.cell} is no side in pixels. Give 1 or more.")
        if not self.images or len(self.images) != len(self.draws):
            raise DataError("Marks need an image or more, and a draw for each.")

    def __len__(self) -> int:
        return len(self.images)

    def choice(self, draw: str) -> int:
        """Return the number of the version that is published, from 0, uniform below `versions`."""
        lot = hashlib.sha256(self.lot.encode()).hexdigest() if self.lot else 0
        return int.from_bytes(self._secret("choice", draw, lot), "big") % self.versions

    def by_lot(self, lot: str) -> Marks:
        """Return the same marks, of which a public draw decides what is published.

        An owner who looks with a model of his own for a key, or for images, whose published
        versions any model prefers could accuse one that never saw them, and the commitment would
        not show it. What nobody knew when it was deposited leaves him no choice.

        Args:
            lot: such as the numbers of a lottery, named beforehand by its date.

        Raises:
            SettingsError: it is empty, or no text.
        """
        if not isinstance(lot, str) or not lot:
            raise SettingsError(
                f"lot = {lot!r} is no draw. Give the text of a public one that was held after the "
                "commitment was deposited."
            )
        return replace(self, lot=lot)

    def publish(self, originals: np.ndarray) -> np.ndarray:
        """Return the (N, H, W, C) uint8 images to publish in the place of the originals.

        Raises:
            DataError: these are not the originals that were marked.
        """
        self._require(originals)
        return np.stack(
            [
                self.version(image, draw, self.choice(draw))
                for image, draw in zip(originals, self.draws, strict=True)
            ]
        )

    def version(self, original: np.ndarray, draw: str, number: int) -> np.ndarray:
        """Return one version of an (H, W, C) uint8 image."""
        pattern = self._pattern(draw, number, original.shape)
        return (original.astype(np.int16) + pattern).clip(0, 255).astype(np.uint8)

    def psnr(self, originals: np.ndarray) -> float:
        """Return the peak signal-to-noise ratio of the published images, in dB, over all pixels."""
        changed = self.publish(originals).astype(float) - originals
        return float(10 * np.log10(255**2 / (changed**2).mean()))

    @cached_property
    def commitment(self) -> str:
        """SHA-256 of all of it: published or deposited beforehand, it shows nothing, and later that
        key, originals and numbers were not chosen to suit the result. It does not depend on the
        lot, which comes later."""
        return hashlib.sha256(json.dumps(self._record(), sort_keys=True).encode()).hexdigest()

    def save(self, path: Path | str) -> None:
        """Write the marks with their key; for the owner's eyes only."""
        write_sealed(given_path(path), self._record() | {"lot": self.lot}, secret=True)

    @classmethod
    def load(cls, path: Path | str) -> Marks:
        """Read marks that `save` wrote.

        Raises:
            DataError: it is not what was written.
        """
        path = given_path(path)
        try:
            record = read_sealed(path)
            if record.pop("format") != _FORMAT:
                raise ValueError("another format")
            key = bytes.fromhex(record.pop("key"))
            lists = {name: tuple(map(str, record.pop(name))) for name in ("images", "draws")}
            return cls(key=key, **lists, **record)
        except (DamagedError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{shown(path)} is damaged, or holds no marks: it is not what was written. "
                "Restore it from a copy; without its key nothing can be shown."
            ) from error

    def _record(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "key": self.key.hex(),
            "images": list(self.images),
            "draws": list(self.draws),
            "versions": self.versions,
            "amplitude": self.amplitude,
            "cell": self.cell,
        }

    def _secret(self, what: str, draw: str, number: int | str = 0) -> bytes:
        return hmac.digest(self.key, f"{what} {number} {draw}".encode(), "sha256")

    def _pattern(self, draw: str, number: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return (H, W, C) int16: plus or minus the amplitude, constant over squares of a channel.

        Its bits are SHAKE-256's, and so the same in all versions of all libraries, years later.
        """
        height, width, channels = shape
        down, across = -(-height // self.cell), -(-width // self.cell)
        count = down * across * channels
        stream = hashlib.shake_256(self._secret("pattern", draw, number)).digest(-(-count // 8))
        bits = np.unpackbits(np.frombuffer(stream, np.uint8))[:count].reshape(down, across, -1)
        wide = bits.repeat(self.cell, 0).repeat(self.cell, 1)[:height, :width]
        return (2 * wide.astype(np.int16) - 1) * self.amplitude

    def _require(self, originals: np.ndarray) -> None:
        """Refuse images that are not the marked originals in their order."""
        found = _hashes(originals)
        if len(found) != len(self):
            raise DataError(f"{len(found)} images, but {len(self)} were marked: give all of those.")
        for number, (given, marked) in enumerate(zip(found, self.images, strict=True)):
            if given != marked:
                raise DataError(
                    f"Image {number} is not the original that was marked. Give the originals, in "
                    "the order in which they were marked."
                )


def mark(
    originals: np.ndarray,
    key: bytes | None = None,
    *,
    groups: Sequence[Any] | None = None,
    versions: int = 32,
    amplitude: int = 8,
    cell: int = 4,
) -> Marks:
    """Make marks for images that are about to be published; `Marks.publish` then gives them.

    Equal images share a draw, and count once.

    Args:
        originals: (N, H, W, C) uint8; they must stay secret.
        key: 32 secret bytes; None: drawn at random, and kept in the marks.
        groups: (N,) names or numbers; images of one group share a draw and a pattern. Give the
            classes where whoever trains will see these images as such. None: each has its own.
        versions: K, see `Marks`; queries grow with it, and so does what one draw can tell.
        amplitude: see `Marks`.
        cell: see `Marks`.

    Raises:
        DataError: these are no images, or there are not as many groups.
        SettingsError: a number does not fit.
    """
    images = _hashes(originals)
    draws = tuple(f"image {one}" for one in images)
    if groups is not None:
        if len(groups) != len(images):
            raise DataError(f"{len(images)} images, but {len(groups)} groups: give one for each.")
        draws = tuple(f"group {one}" for one in groups)
    key = secrets.token_bytes(_KEY_BYTES) if key is None else key
    return Marks(key, images, draws, int(versions), int(amplitude), int(cell))


def _hashes(images: np.ndarray) -> tuple[str, ...]:
    if getattr(images, "dtype", None) != np.uint8 or images.ndim != 4 or not len(images):
        what = f"{getattr(images, 'dtype', type(images).__name__)} {np.shape(images)}"
        raise DataError(f"Marks are put into (N, H, W, C) uint8 images, not {what}.")
    return tuple(content_hash(np.ascontiguousarray(one)).decode() for one in images)


@dataclass(frozen=True)
class Trace:
    """What a model's losses say of marks.

    Attributes:
        ranks: draw → rank of its published version's loss among the K, 1 the lowest; uniform from
            1 to K where no published version was used.
        versions: K.
        p: probability of ranks that are as low in sum, or lower, if none was used: exact.
    """

    ranks: dict[str, int]
    versions: int
    p: float

    @property
    def mean_rank(self) -> float:
        """The mean rank on a scale from 0, the lowest, to 1; .5 is expected of strangers."""
        return (float(np.mean(list(self.ranks.values()))) - 1) / (self.versions - 1)


def trace(
    model: nn.Module | AuditableModel | Losses,
    marks: Marks,
    originals: np.ndarray,
    labels: np.ndarray,
    *,
    preprocessing: Preprocessing | None = None,
    mirrored: bool = False,
) -> Trace:
    """Ask a classifier whether it was trained on what the owner published; the p-value is exact.

    Fix model, images and arguments before looking: of many traces, some have a low p by chance.

    Args:
        model: a classifier, (B, C, H, W) → (B, classes) logits; or a function from (n, H, W, C)
            uint8 pixels and (n,) labels to (n,) losses, for models that are asked from afar.
        marks: the owner's.
        originals: (N, H, W, C) uint8 images that were marked, in their order.
        labels: (N,) class numbers by which the losses are taken; wrong ones cost power alone.
        preprocessing: of a classifier's images; None: their size is the originals', and mean and
            deviation are .5.
        mirrored: whether losses are means over each version and its mirror image. That finds more
            in models that were trained on mirrored copies, and much less in others.

    Raises:
        DataError: these are not the originals, or there are not as many labels.
        ModelError: an answer is no finite number for each image.
    """
    marks._require(originals)
    labels = np.asarray(labels)
    if labels.shape != (len(marks),):
        raise DataError(f"{len(marks)} images, but labels of shape {labels.shape}: give one each.")
    ask = _asked(model, preprocessing or Preprocessing(*originals.shape[1:]))
    losses = _of_versions(ask, marks, originals, labels, mirrored)
    ranks, (draws, of_image) = {}, np.unique(marks.draws, return_inverse=True)
    for number, draw in enumerate(draws.tolist()):
        mean = losses[of_image == number].mean(0)
        # Equal losses are ranked by the versions' numbers, which the draw is independent of: so the
        # rank stays uniform, exactly.
        order = np.argsort(mean, kind="stable")
        ranks[draw] = 1 + int(np.flatnonzero(order == marks.choice(draw))[0])
    return Trace(ranks, marks.versions, p_of_ranks(list(ranks.values()), marks.versions))


def p_of_ranks(ranks: Sequence[int], versions: int) -> float:
    """Return the probability of a sum of ranks this low or lower, of n uniform on 1 to K.

    It is counted in whole numbers: of the K^n outcomes those with a sum of s or less are
    Σ_j (−1)^j C(n, j) C(s − n − jK + n, n).

    Args:
        ranks: (n,) from 1, the lowest, to K.
        versions: K.

    Raises:
        SettingsError: there is no rank, or one is not from 1 to K.
    """
    try:  # Python's own: numpy's overflow, some of them in silence
        ranks, versions = [index(one) for one in ranks], index(versions)
    except TypeError as error:
        raise SettingsError(f"Ranks and versions are whole numbers ({error}).") from error
    count, above = len(ranks), sum(ranks) - len(ranks)
    if not count or not all(1 <= one <= versions for one in ranks):
        raise SettingsError(f"Ranks are one or more numbers from 1 to {versions}.")
    p = _at_most(above, count, versions) / versions**count
    return max(p, sys.float_info.min)  # smaller ones are no floats


def _at_most(total: int, count: int, versions: int) -> int:
    """Count the ways in which `count` numbers from 0 to K − 1 have a sum of `total` or less."""
    most = count * (versions - 1)
    if 2 * total > most:  # the shorter tail has fewer terms
        return versions**count - (
            _at_most(most - total - 1, count, versions) if total < most else 0
        )
    # Each binomial from the one before: thousands of ranks would take minutes otherwise.
    found, chosen, free = 0, 1, total + count  # C(n, j), and s − jK + n
    ways = comb(free, count)
    for j in range(total // versions + 1):
        found += (-1) ** j * chosen * ways
        chosen = chosen * (count - j) // (j + 1)
        for _ in range(min(versions, free - count)):  # C(free, n) → C(free − K, n)
            ways = ways * (free - count) // free
            free -= 1
    return found


def _of_versions(
    ask: Losses, marks: Marks, originals: np.ndarray, labels: np.ndarray, mirrored: bool
) -> np.ndarray:
    """Return (N, K) losses of all versions."""
    count, at_once = marks.versions, max(1, _BATCH // marks.versions)
    losses = np.empty((len(marks), count))
    for start in range(0, len(marks), at_once):
        some = range(start, min(start + at_once, len(marks)))
        pixels = np.stack(
            [
                marks.version(originals[one], marks.draws[one], number)
                for one in some
                for number in range(count)
            ]
        )
        classes = labels[some.start : some.stop].repeat(count)
        found = _checked(ask(pixels, classes), len(pixels))
        if mirrored:
            mirror = np.ascontiguousarray(pixels[:, :, ::-1])
            found = (found + _checked(ask(mirror, classes), len(pixels))) / 2
        losses[some.start : some.stop] = found.reshape(-1, count)
    return losses


def _checked(answers: np.ndarray, count: int) -> np.ndarray:
    answers = np.asarray(answers, np.float64)
    if answers.shape != (count,) or not np.isfinite(answers).all():
        raise ModelError(
            f"Losses are one finite number for each of {count} images; the model gave the shape "
            f"{answers.shape}, {int((~np.isfinite(answers)).sum())} of them not finite. Where a "
            "posterior may be 0, take its logarithm of at least 1e-30 or so."
        )
    return answers


def _asked(model: nn.Module | AuditableModel | Losses, how: Preprocessing) -> Losses:
    """Return a function to losses; of a classifier −φ, which does not saturate as −log p does."""
    if isinstance(model, AuditableModel):
        model, how = model.enhanced.audited, model.preprocessing
    if not isinstance(model, nn.Module):
        return model

    classify = classifier_of(model)

    def losses(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
        if labels.dtype.kind not in "iu":
            raise DataError(
                f"Labels of type {labels.dtype} number no classes. Give whole numbers, as the "
                "model's owner numbers his classes."
            )
        logits = classify(how.normalise(_brought_to_size(pixels, how))).float().cpu().numpy()
        if labels.min() < 0 or labels.max() >= logits.shape[1]:
            raise DataError(
                f"Labels go from {labels.min()} to {labels.max()}, but the model knows the classes "
                f"0 to {logits.shape[1] - 1}. Number the classes as its owner does."
            )
        return -scaled_logits(logits, labels)

    return losses


def _brought_to_size(pixels: np.ndarray, how: Preprocessing) -> np.ndarray:
    """Return (n, H, W, C) uint8 pixels as the model gets published files of theirs."""
    if pixels.shape[1:] == (how.height, how.width, how.channels):
        return pixels
    return np.stack([how.apply(Image.fromarray(one.squeeze())) for one in pixels])

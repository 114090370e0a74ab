"""Control: a blind baseline, which tells members from non-members without any model.

It learns from pixels what distinguishes the two groups. Where both come from one population it is
at chance; whatever it finds beyond that is distribution shift, which every membership test on the
same images may have profited from (Das, Zhang, Tramèr, Blind Baselines Beat Membership Inference
Attacks for Foundation Models, arXiv 2406.16201).

It reads the membership of judged images, as a control may: each is scored by a classifier that has
not seen it, nor any frame of its track.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from torch.nn.functional import adaptive_avg_pool2d

from amint_core.methods.case import Case, Method
from amint_core.methods.crossfit import cross_fitted, fold_seed, folds_of

_STREAM = 31  # of random numbers that follow from the run's seed
_THUMBNAIL = 8  # pixels a side
_COMPONENTS = 24  # principal components of the thumbnails
_BINS = 8  # of each channel's histogram
_CHUNK = 1024  # images in memory at a time


def score(case: Case) -> np.ndarray:
    """Return (N,) cross-fitted log-odds of being a member, from pixels alone.

    Members, calibration and judged non-members are scored by the classifier of their fold, which
    is stratified by membership and keeps tracks whole; images of other roles by the mean.

    Raises:
        SettingsError: a side has fewer independent images (or tracks) than there are folds.
    """
    images, member = case.images, case.member
    learns = member | (images["role"] == "calibration").to_numpy() | images["judged"].to_numpy()
    seed = fold_seed(case.settings.seed, _STREAM)
    remedy = "Give more images (or tracks) to both sides."
    folds = folds_of("The blind control", remedy, np.flatnonzero(learns), member, case.groups, seed)
    features = np.concatenate(
        [_features(case.pixels(chunk)) for chunk in _chunks(np.arange(len(images)))]
    )
    classifier = _classifier(case.dataset.channels, seed)
    return cross_fitted(classifier, features, member, case.labels, folds)


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // _CHUNK))


def _classifier(channels: int, seed: int) -> Pipeline:
    """Build shallow boosted trees over components of the thumbnail and global statistics.

    Trees need no scaling and find thresholds in and pairs of statistics; boosting gives log-odds,
    where a random forest's shares of votes reach 0 and 1, and takes seconds for thousands of rows.
    """
    thumbnail = slice(0, channels * _THUMBNAIL**2)
    columns = make_column_transformer(
        (PCA(_COMPONENTS, random_state=seed), thumbnail), remainder="passthrough"
    )
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=100,
        max_leaf_nodes=8,
        max_bins=32,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
    return make_pipeline(columns, trees)


def _features(pixels: np.ndarray) -> np.ndarray:
    """Describe (B, H, W, C) uint8 images by (B, F) numbers: thumbnail first, then statistics."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    thumbnails = adaptive_avg_pool2d(images, _THUMBNAIL).flatten(1)
    parts = [thumbnails, *_colour(images), *_edges(images), *_border(images)]
    return torch.cat(parts, 1).numpy()


def _colour(images: torch.Tensor) -> list[torch.Tensor]:
    """Brightness, contrast, histogram and extremes of each channel, and saturation."""
    values = images.flatten(2)  # (B, C, H·W)
    bins = (values * _BINS).long().clamp(max=_BINS - 1)
    shares = [(bins == number).float().mean(2) for number in range(_BINS)]
    saturation = values.amax(1) - values.amin(1)  # (B, H·W)
    spread = torch.stack([saturation.mean(1), saturation.std(1)], 1)
    return [values.mean(2), values.std(2), values.amin(2), values.amax(2), *shares, spread]


def _edges(images: torch.Tensor) -> list[torch.Tensor]:
    """Energy of first and second differences along both axes: sharpness, noise, compression."""
    grey, found = images.mean(1), []
    for axis in (1, 2):
        first = grey.diff(dim=axis)
        found += [first.abs().mean((1, 2)), first.diff(dim=axis).abs().mean((1, 2))]
    energies = torch.stack(found, 1)
    return [energies, energies[:, 1::2] / (energies[:, ::2] + 1e-6)]


def _border(images: torch.Tensor) -> list[torch.Tensor]:
    """Mean and contrast of the outermost pixels, and how far the centre's mean lies off."""
    sides = [images[:, :, 0], images[:, :, -1], images[:, :, :, 0], images[:, :, :, -1]]
    ring = torch.cat(sides, 2)  # (B, C, 2·(H+W))
    height, width = images.shape[2:]
    centre = images[:, :, height // 4 : -(height // 4), width // 4 : -(width // 4)]
    return [ring.mean(2), ring.std(2), centre.mean((2, 3)) - ring.mean(2)]


METHOD = Method(
    name="blind",
    title="Blind baseline",
    group="control",
    summary="Learns from pixels alone, without any model: what it finds is distribution shift "
    "(Das et al., 2024).",
    score=score,
)

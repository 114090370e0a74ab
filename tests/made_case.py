"""A small case made of arrays, for tests of the methods."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from amint_core.data.hashes import image_hashes
from amint_core.methods.case import Case


def structured_images(count: int, seed: int, side: int = 16) -> np.ndarray:
    """Return (count, side, side, 3) uint8 images: random smooth colours with some noise."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(40, 200, (count, 4, 4, 3))
    smooth = coarse.repeat(side // 4, 1).repeat(side // 4, 2)
    return (smooth + random.normal(0, 10, smooth.shape)).clip(0, 255).astype(np.uint8)


def made_case(
    sizes: dict[str, int],
    pixels: np.ndarray,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    audited: torch.nn.Module | None = None,
    seed: int = 0,
    target: str = "plain",
    taps: tuple[str, ...] = ("0",),
) -> Case:
    """Deal pool images to roles in turn; half of the members are judged, if calibration is there.

    Args:
        sizes: images per role, in the order in which they lie in `pixels`.
        pixels: (N, H, W, 3) uint8.
        labels: (N,) class numbers; zeros if None.
        groups: (N,) track numbers; each image its own if None.
        audited: the target's audited model.
        seed: the run's seed.
        target: the kind of model that is tested.
        taps: modules of the audited model.
    """
    count = len(pixels)
    labels = np.zeros(count, np.int64) if labels is None else labels
    groups = np.arange(count) if groups is None else groups
    hashes, official_test = image_hashes(pixels), np.zeros(count, bool)
    role = np.repeat(list(sizes), list(sizes.values()))
    judged = role == "holdout"
    half = np.arange(count) % 2 == 0 if "calibration" in sizes else np.ones(count, bool)
    judged |= (role == "members") & half
    images = pd.DataFrame(
        {
            "image": hashes.astype(str),
            "index": np.arange(count),
            "official_test": official_test,
            "role": role,
            "member": role == "members",
            "judged": judged,
            "label": labels,
        }
    )
    roles = {name: np.flatnonzero(role == name) for name in sizes}
    return Case(
        settings=SimpleNamespace(seed=seed, views="one", target=target),
        dataset=SimpleNamespace(
            pixels=pixels,
            labels=labels,
            groups=groups,
            hashes=hashes,
            official_test=official_test,
            channels=pixels.shape[3],
        ),
        split=SimpleNamespace(roles=roles),
        images=images,
        target=SimpleNamespace(audited=audited, taps=taps),
        device=torch.device("cpu"),
        find_shadows=None,
    )


def auc_of(case: Case, scores: np.ndarray) -> dict[str, float]:
    """Return the AUC of the judged images with its interval, as metrics.json has it."""
    from amint_core.evaluation import metrics

    judged = case.images["judged"].to_numpy()
    return metrics.auc(scores[judged & case.member], scores[judged & ~case.member])

"""Encoded image files, as a published notebook reads them in every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

#: Files look like their dataset's: CIFAR-10 in its own size, GTSRB and faces larger, as JPEG.
FORMATS = {32: (32, ".png"), 64: (80, ".jpg")}


def write_files(folder: Path, image_size: int, count: int) -> list[Path]:
    """Write smooth random colour images for models that read `image_size` pixels a side."""
    side, suffix = FORMATS.get(image_size, (image_size, ".png"))
    random = np.random.default_rng(image_size)
    paths = []
    for number in range(count):
        coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        path = folder / f"{image_size}-{number:05d}{suffix}"
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    return paths

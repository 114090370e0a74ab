"""MINT heads: from the auxiliary auditable data N(d|w') to one membership logit per image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from amint_core.errors import ModelError, unknown_name

Shape = tuple[int, ...]


class LeanHead(nn.Module):
    """Read each map at a few positions, with a fully connected layer; about 2.5 M parameters.

    Per map (B, C, H, W): 1×1 convolution to `width`, batch norm, ReLU, the maximum in each cell of
    a grid of at most `side` × `side`, then a linear layer over all cells at once. A convolution
    would read every cell alike; here a cell has weights of its own, which remembers an image's
    layout with a tenth of the arithmetic.
    """

    def __init__(self, shapes: Sequence[Shape], width: int = 128, side: int = 4) -> None:
        super().__init__()
        self.width = width
        self.readers = nn.ModuleList(self._reader(shape, width, side) for shape in shapes)
        self.decide = _decision(4 * width * len(shapes), 256)

    @staticmethod
    def _reader(shape: Shape, width: int, side: int) -> nn.Sequential:
        channels, *positions = shape
        grid = [min(side, count) for count in positions]
        return nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(grid),
            nn.Flatten(),
            nn.Linear(width * math.prod(grid), 4 * width, bias=False),
            nn.BatchNorm1d(4 * width),
            nn.ReLU(),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # [(B, C, H, W)] → (B,)
        read = [reader(map_) for reader, map_ in zip(self.readers, maps, strict=True)]
        return self.decide(torch.cat(read, 1)).squeeze(1)


class PublishedHead(nn.Module):
    """The head of the published notebooks: convolution, max-pool, convolution, global max-pool.

    The two vectors are concatenated and go through 128 units to one logit. ResNets use 3×3
    convolutions up to 2048 channels (81 M parameters on the middle taps), the others 2×2 with
    padding 2 (20 M, with one map 12 M).
    """

    def __init__(self, shapes: Sequence[Shape], kernel: int) -> None:
        super().__init__()
        padding = 1 if kernel == 3 else 2
        widths = [2048 if kernel == 3 and shape[0] >= 1024 else 1024 for shape in shapes]
        self.readers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(shape[0], width, kernel, padding=padding),
                nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),  # a 1×1 map stays 1×1
                nn.Conv2d(width, 2048, kernel, padding=padding),
                nn.ReLU(),
                nn.AdaptiveMaxPool2d(1),
                nn.Flatten(),
            )
            for shape, width in zip(shapes, widths, strict=True)
        )
        self.decide = _decision(2048 * len(shapes), 128)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # [(B, C, H, W)] → (B,)
        read = [reader(map_) for reader, map_ in zip(self.readers, maps, strict=True)]
        return self.decide(torch.cat(read, 1)).squeeze(1)


class TokenHead(nn.Module):
    """Read a transformer's tokens as `LeanHead` reads cells: each place with weights of its own.

    Per tap (B, T, D): layer norm, a linear layer to `width` per token, GELU, the maximum over
    neighbouring tokens where there are more than `places`, then a linear layer over all at once.
    """

    def __init__(self, shapes: Sequence[Shape], width: int = 32, places: int = 64) -> None:
        super().__init__()
        self.width = width
        self.readers = nn.ModuleList(self._reader(shape, width, places) for shape in shapes)
        self.decide = _decision(16 * width * len(shapes), 256)

    @staticmethod
    def _reader(shape: Shape, width: int, places: int) -> nn.Sequential:
        tokens, features = shape
        kept = min(tokens, places)
        return nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, width),
            nn.GELU(),
            nn.Unflatten(1, (1, tokens)),  # (B, 1, T, width)
            nn.AdaptiveMaxPool2d((kept, width)),
            nn.Flatten(),
            nn.Linear(kept * width, 16 * width, bias=False),
            nn.BatchNorm1d(16 * width),
            nn.ReLU(),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # [(B, T, D)] → (B,)
        read = [reader(tokens) for reader, tokens in zip(self.readers, maps, strict=True)]
        return self.decide(torch.cat(read, 1)).squeeze(1)


class PublishedTokenHead(nn.Module):
    """The published ViT head: one linear layer on all tokens of the deepest tapped block."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()
        tokens, width = shapes[-1]
        self.decide = nn.Linear(tokens * width, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # [(B, T, D)] → (B,)
        return self.decide(maps[-1].flatten(1)).squeeze(1)


def _decision(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))


#: Widths that a head is tried in until it is no larger than the model that it reads, as shares of
#: its own.
NARROWER = (1.0, 0.75, 0.5, 0.375, 0.25, 0.125)


def build_head(
    kind: str | None, shapes: Sequence[Shape], model: str = "", width: int | None = None
) -> nn.Module:
    """Build a MINT head for the shapes of the tapped activations, without the batch dimension.

    Args:
        kind: "lean", "published" or "token"; None takes "token" for (T, D) and "lean" for
            (C, H, W) activations.
        shapes: one (C, H, W) or (T, D) per tap.
        model: the audited model's name; the published head differs between ResNets and the others.
        width: of a lean or token head, which memory and arithmetic follow; None: its own.

    Raises:
        ModelError: the kind is unknown or does not fit the shapes.
    """
    ranks = {len(shape) for shape in shapes}
    if ranks not in ({2}, {3}):
        raise ModelError(
            f"The taps give activations of shapes {list(shapes)}; a MINT head reads maps (C, H, W) "
            "or tokens (T, D), one kind at a time. Choose other taps."
        )
    tokens = ranks == {2}
    kind = kind or ("token" if tokens else "lean")
    if kind not in ("lean", "published", "token"):
        raise ModelError(unknown_name("head", kind, ("lean", "published", "token")))
    if kind == "published":
        kernel = 3 if model.startswith("resnet") else 2
        return PublishedTokenHead(shapes) if tokens else PublishedHead(shapes, kernel)
    if (kind == "token") != tokens:
        raise ModelError(
            f"head = {kind!r} does not fit activations of shapes {list(shapes)}: "
            f"use head = {'token' if tokens else 'lean'!r} here."
        )
    build = TokenHead if tokens else LeanHead
    return build(shapes) if width is None else build(shapes, width)


def fitting_width(kind: str | None, shapes: Sequence[Shape], most: int) -> int | None:
    """Return the largest width at which a head has at most `most` parameters, else the smallest.

    None for heads of one size.
    """
    with torch.device("meta"):  # nothing is computed, and no random number drawn
        own = getattr(build_head(kind, shapes), "width", None)
        widths = [max(1, int(share * own)) for share in NARROWER] if own else [None]
        for width in widths:
            built = build_head(kind, shapes, width=width)
            if sum(weight.numel() for weight in built.parameters()) <= most:
                break
    return width

"""MINT heads: from the auxiliary auditable data N(d|w') to one membership logit per image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

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
    """The head of the authors' notebooks: convolution, max-pool, convolution, global max-pool.

    The vectors are concatenated and go through 128 units to one logit; the only activation is the
    ReLU of these units. Sizes depend on the audited model, and differ for grey images (MNIST):

    - ResNets: 3×3 convolutions to 2048 channels, 104.3 M parameters; on grey images the shallower
      map's first has 1024, 80.7 M.
    - MobileNet, DenseNet: 2×2 with padding 2, to 1024 and 2048 channels, 20.5 M. MobileNet on grey
      images: a single 3×3 to 128 channels and no max-pool, .92 M.
    - Xception: as DenseNet, on the deepest map alone, 11.6 M.

    Source: github.com/DanieldeAlcala/Membership-Inference-Test, read at commit 495363c.
    """

    def __init__(self, shapes: Sequence[Shape], model: str = "", channels: int = 3) -> None:
        super().__init__()
        self.alone = model == "xception"
        shapes = shapes[-1:] if self.alone else shapes
        kernel, widths = _published_sizes(shapes, model, grey=channels == 1)
        self.readers = nn.ModuleList(map(self._reader, shapes, [kernel] * len(shapes), widths))
        self.decide = _decision(sum(each[-1] for each in widths), 128)

    @staticmethod
    def _reader(shape: Shape, kernel: int, widths: Sequence[int]) -> nn.Sequential:
        padding = 1 if kernel == 3 else 2
        reader = nn.Sequential(nn.Conv2d(shape[0], widths[0], kernel, padding=padding))
        for before, width in pairwise(widths):
            # Of the notebooks' maps none is 1×1; one of another setup or size stays as it is.
            reader.append(nn.MaxPool2d(2, ceil_mode=min(shape[1:]) == 1))
            reader.append(nn.Conv2d(before, width, kernel, padding=padding))
        return reader.extend([nn.AdaptiveMaxPool2d(1), nn.Flatten()])

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # [(B, C, H, W)] → (B,)
        maps = maps[-1:] if self.alone else maps
        read = [reader(map_) for reader, map_ in zip(self.readers, maps, strict=True)]
        return self.decide(torch.cat(read, 1)).squeeze(1)


def _published_sizes(
    shapes: Sequence[Shape], model: str, grey: bool
) -> tuple[int, list[tuple[int, ...]]]:
    """Return the kernel's side, and per map the channels of its convolutions."""
    if model.startswith("resnet"):
        return 3, [(1024 if grey and shape[0] < 1024 else 2048, 2048) for shape in shapes]
    if model == "mobilenet" and grey:
        return 3, [(128,)] * len(shapes)
    return 2, [(1024, 2048)] * len(shapes)


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
    """The authors' head on a ViT: one linear layer on all tokens of the deepest tapped block."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        super().__init__()
        tokens, width = shapes[-1]
        self.decide = nn.Linear(tokens * width, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # [(B, T, D)] → (B,)
        return self.decide(maps[-1].flatten(1)).squeeze(1)


class EnsembleHead(nn.Module):
    """Several heads; the lowest of their logits counts.

    Each head learns by itself (`training.head_stage`), from other initial weights and in another
    order. All heads know the members, while the strangers that one head takes for members are
    mostly not those of another, so that few are left whom all heads call members.
    """

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        if hasattr(heads[0], "width"):
            self.width = heads[0].width

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # as its heads → (B,)
        return torch.stack([head(maps) for head in self.heads]).amin(0)


def heads_of(head: nn.Module) -> list[nn.Module]:
    """Return the heads of an ensemble, in its order; of any other head itself alone."""
    return list(head.heads) if isinstance(head, EnsembleHead) else [head]


def _decision(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))


#: Shares of a head's default width, tried in turn until it has no more parameters than the model
#: that it reads.
NARROWER = (1.0, 0.75, 0.5, 0.375, 0.25, 0.125)


def build_head(
    kind: str | None,
    shapes: Sequence[Shape],
    model: str = "",
    width: int | None = None,
    channels: int = 3,
    count: int = 1,
) -> nn.Module:
    """Build a MINT head for the shapes of the tapped activations, without the batch dimension.

    Args:
        kind: "lean", "published" or "token"; None takes "token" for (T, D) and "lean" for
            (C, H, W) activations.
        shapes: one (C, H, W) or (T, D) per tap.
        model: the audited model's name; the published head's sizes follow from it.
        width: of a lean or token head, which memory and arithmetic follow; None: its own.
        channels: of the images; the published head differs for grey ones.
        count: above 1, an `EnsembleHead` of so many.

    Raises:
        ModelError: the kind is unknown or does not fit the shapes.
    """
    if count > 1:
        given = kind, shapes, model, width, channels
        return EnsembleHead([build_head(*given) for _ in range(count)])
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
        return PublishedTokenHead(shapes) if tokens else PublishedHead(shapes, model, channels)
    if (kind == "token") != tokens:
        raise ModelError(
            f"head = {kind!r} does not fit activations of shapes {list(shapes)}: "
            f"use head = {'token' if tokens else 'lean'!r} here."
        )
    build = TokenHead if tokens else LeanHead
    return build(shapes) if width is None else build(shapes, width)


def fitting_width(
    kind: str | None, shapes: Sequence[Shape], most: int, count: int = 1
) -> int | None:
    """Return the largest width at which a head has at most `most` parameters, else the smallest.

    None for heads of one size. Of several heads (`count`) the parameters are added up.
    """
    with torch.device("meta"):  # nothing is computed, and no random number drawn
        own = getattr(build_head(kind, shapes), "width", None)
        widths = [max(1, int(share * own)) for share in NARROWER] if own else [None]
        for width in widths:
            built = build_head(kind, shapes, width=width, count=count)
            if sum(weight.numel() for weight in built.parameters()) <= most:
                break
    return width

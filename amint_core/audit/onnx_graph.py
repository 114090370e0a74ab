"""The auditable model as one graph of operations: for torch.export, and as an ONNX file.

While a model is trained and asked, an image that only its membership is asked of leaves behind the
deepest tap by an exception. A graph knows none: here the whole forward pass is written down, and
what the answer does not need falls out of the graph.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amint_core.audit.auditable import AuditableModel
from amint_core.errors import ModelError
from amint_core.extras import require
from amint_core.files import atomic_path
from amint_core.locations import given_path
from amint_core.model.inference import VIEWS, view
from amint_core.model.mint import EnhancedAuditedModel

EXAMPLES = 3  # images that a graph is drawn for and compared on; it takes any number
TOLERANCE = 1e-4


class Membership(nn.Module):
    """Membership logits alone, the highest over the model's views: (B, C, H, W) → (B,)."""

    def __init__(self, enhanced: EnhancedAuditedModel, views: str) -> None:
        super().__init__()
        self.enhanced, self.views = enhanced, tuple(VIEWS[views])

    def forward(self, images: Tensor) -> Tensor:
        seen = (self.enhanced.as_asked(view(images, *one)) for one in self.views)
        answers = [self.enhanced(one)[1] for one in seen]
        return torch.stack(answers).amax(0)


class BothOutputs(Membership):
    """Class logits and membership logits: (B, C, H, W) → (B, classes), (B,)."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.enhanced(images)[0], super().forward(images)


def program(model: AuditableModel, membership_only: bool = False) -> torch.export.ExportedProgram:
    """Return the model as torch.export writes it down, for any number of images.

    Args:
        model: an auditable model.
        membership_only: without class logits, and what only they need.

    Raises:
        ModelError: torch.export cannot follow the model, or answers otherwise.
    """
    return _program(*_drawn(model, membership_only))


def _program(drawn: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    batch = {"images": {0: torch.export.Dim("batch", min=2)}}
    try:
        with torch.no_grad():
            found = torch.export.export(drawn, (example,), dynamic_shapes=batch)
    except Exception as error:  # tracing fails in as many ways as there are models
        raise ModelError(
            f"torch.export cannot follow the model: {' '.join(str(error).split())[:300]}. Write "
            "its forward pass without branches that depend on the images."
        ) from error
    found.graph_module.graph.eliminate_dead_code()  # such as layers that membership does not need
    found.graph_module.recompile()
    _require_same("torch.export", found.module()(example), drawn(example))
    return found


def to_onnx(model: AuditableModel, path: Path | str, membership_only: bool = False) -> Path:
    """Write the model into an ONNX file, `images` → `logits`, `membership`; by the extra onnx.

    Args:
        model: an auditable model.
        path: the file.
        membership_only: see `program`.

    Raises:
        ModelError: it cannot be written, or onnxruntime answers otherwise.
    """
    require("onnx", "onnx", "onnxscript", "onnxruntime")
    path = given_path(path)
    drawn, example = _drawn(model, membership_only)
    names = ["membership"] if membership_only else ["logits", "membership"]
    with atomic_path(path) as temporary:
        torch.onnx.export(
            _program(drawn, example),
            (example,),
            temporary,
            input_names=["images"],
            output_names=names,
            external_data=False,
            verbose=False,
        )
        _compare_onnx(temporary, drawn, example)
    return path


def _compare_onnx(path: Path, drawn: nn.Module, example: Tensor) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for images in (example, torch.cat([example, example.flip(0)])):  # another number of images
        answers = session.run(None, {"images": images.numpy()})
        _require_same("onnxruntime", [torch.from_numpy(one) for one in answers], drawn(images))


def _drawn(model: AuditableModel, membership_only: bool) -> tuple[nn.Module, Tensor]:
    """Return the module to draw, on the CPU and in evaluation mode, and images for it."""
    enhanced, how = deepcopy(model.enhanced).cpu().float().eval(), model.preprocessing
    enhanced.requires_grad_(False)
    _fix_pools(enhanced)
    kind = Membership if membership_only else BothOutputs
    shape = (EXAMPLES, how.height, how.width, how.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return kind(enhanced, model.views).eval(), how.normalise(pixels)


class _FixedMaxPool(nn.Module):
    """Adaptive maximum over windows whose places are written out: ONNX has no such operation."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        rows, columns = (
            [(i * side // count, -(-(i + 1) * side // count)) for i in range(count)]
            for side, count in zip(maps.shape[2:], self.size, strict=True)
        )
        cells = [
            torch.stack(
                [maps[:, :, top:bottom, left:right].amax((2, 3)) for left, right in columns], 2
            )
            for top, bottom in rows
        ]
        return torch.stack(cells, 2)


def _fix_pools(model: EnhancedAuditedModel) -> None:
    for module in list(model.head.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveMaxPool2d):
                size = child.output_size
                pair = (size, size) if isinstance(size, int) else tuple(size)
                setattr(module, name, _FixedMaxPool(pair))


def _require_same(who: str, found: Any, expected: Any) -> None:
    pairs = [list(one) if isinstance(one, tuple | list) else [one] for one in (found, expected)]
    for one, other in zip(*pairs, strict=True):
        if not torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE):
            raise ModelError(
                f"{who} answers otherwise than the model, by up to {(one - other).abs().max():.3g}."
                " Use the model as it is."
            )

"""The Enhanced Audited Model: an image classifier that can tell its own training images.

The paper's symbols: the audited model M(d|w) is `audited`; its activations N(d|w') at the taps are
the auxiliary auditable data (AAD); the MINT model T(·|θ) is `head`; all together is M+.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn

from amint_core.data.transforms import low_passed
from amint_core.errors import ModelError, unknown_name
from amint_core.model.heads import Shape, build_head, fitting_width
from amint_core.model.preflight import (
    check_cut,
    check_training,
    in_layout,
    in_rows,
    probe,
    require_unwrapped,
)
from amint_core.model.reading import PastTheTaps, class_logits, evaluating, hooked, tapped


class EnhancedAuditedModel(nn.Module):
    """An audited model and a MINT head that reads its activations at the taps.

    Works on any `nn.Module` that maps images to class logits, provided that everything behind the
    deepest tap sees the image through that tap's output alone: the batch is cut there.
    """

    def __init__(
        self,
        audited: nn.Module,
        head: nn.Module,
        taps: Sequence[str],
        channels_last: bool = True,
        low_pass: bool = False,
    ) -> None:
        super().__init__()
        self.audited = audited
        self.head = head
        self.taps = tuple(taps)  # in the order in which the forward pass reaches them
        self.channels_last = channels_last  # whether the audited model takes that layout
        self.low_pass = low_pass  # whether the head reads images without their finest detail
        if not channels_last and _in_rows not in audited._forward_pre_hooks.values():
            audited.register_forward_pre_hook(_in_rows)

    def to(self, *args: Any, **kwargs: Any) -> EnhancedAuditedModel:
        """Move as any module; a layout that the audited model does not take is left out."""
        if not self.channels_last:
            kwargs.pop("memory_format", None)
        return super().to(*args, **kwargs)

    def forward(self, images: Tensor, members: int | None = None) -> tuple[Tensor | None, Tensor]:
        """Return class logits and membership logits.

        Args:
            images: (B, C, H, W) floats.
            members: how many of the first images go through the whole audited model; the others
                (external data) only pass the layers it shares with the head. None: all.

        Returns:
            (members, classes) class logits, None for no members, and (B,) membership logits, above
            0 for "member".
        """
        logits = None
        with tapped(self.audited, self.taps, members) as maps, suppress(PastTheTaps):
            logits = class_logits(self.audited(images))
        return logits, self.head([maps[name] for name in self.taps])

    def membership(self, images: Tensor) -> Tensor:
        """Return the (B,) membership logits alone, through the shared layers and the head."""
        return self(self.as_asked(images), members=0)[1]

    def as_asked(self, images: Tensor) -> Tensor:
        """Return (B, C, H, W) images as the head is to be asked of them; see `low_passed`."""
        return low_passed(images) if self.low_pass else images


def enhance(
    audited: nn.Module,
    taps: Sequence[str],
    images: Tensor,
    head: str | None = None,
    model: str = "",
    width: int | Literal["fit"] | None = None,
    low_pass: bool = False,
    count: int = 1,
) -> EnhancedAuditedModel:
    """Add a MINT head to a classifier.

    Args:
        audited: any module from (B, C, H, W) images to (B, classes) logits, or to what has such
            `logits`.
        taps: names of the modules whose outputs the head reads, as in `named_modules()`.
        images: two or more example images; only their shape matters.
        head: see `build_head`.
        model: name of the architecture, for the published heads.
        width: of the head, see `build_head`; "fit": so that it has no more parameters than the
            audited model, as far as it can.
        low_pass: whether `membership` reads images without their finest detail, so that members
            are known after resizing, JPEG, blur or noise; for a head that learns alone, on such
            images (`RunConfig.low_pass`).
        count: of heads; see `heads.EnsembleHead`.

    Raises:
        ModelError: a tap is not in the model (the message lists those there are), is never reached
            or reached twice, or its output is no tensor a head can read; the audited model uses
            what lies before the deepest tap behind it, too; or it refuses such images, or gives no
            class logits for them, be it in training alone.
    """
    require_unwrapped(audited)
    require_taps(audited, taps)
    shapes, images, channels_last = _look(audited, taps, images)
    read = list(shapes.values())
    if width == "fit":
        width = fitting_width(head, read, parameter_count(audited), count)
    built = build_head(head, read, model, width, images.shape[1], count)
    enhanced = EnhancedAuditedModel(audited, built, shapes, channels_last, low_pass)
    if not images.is_meta:  # where nothing is computed, nothing can be compared
        with in_layout(audited) if channels_last else nullcontext():
            check_cut(enhanced, images)
            check_training(enhanced, images)
    return enhanced


def require_taps(audited: nn.Module, taps: Sequence[str]) -> None:
    """Refuse taps that are no modules of the model.

    Raises:
        ModelError: one is not in the model, or stands twice; or there are none.
    """
    modules = dict(audited.named_modules())
    for name in taps:
        if not name or name not in modules:
            raise ModelError(unknown_name("tap", name, filter(None, modules)))
    if not taps or len(set(taps)) != len(taps):
        raise ModelError(f"taps = {list(taps)}: name one or more different modules.")


def _look(
    audited: nn.Module, taps: Sequence[str], images: Tensor
) -> tuple[dict[str, Shape], Tensor, bool]:
    """Look at the model in the layout of training, else in rows: a `view` may want those.

    Returns:
        tap → shape, the images in the layout that works, and whether that is channels last.
    """
    if images.dim() != 4:
        return probe(audited, taps, images), images, True
    last = images.contiguous(memory_format=torch.channels_last)
    try:
        with in_layout(audited):
            return probe(audited, taps, last), last, True
    except ModelError as error:
        if not isinstance(error.__cause__, RuntimeError):
            raise
        rows = in_rows(images)
        return probe(audited, taps, rows), rows, False


def _in_rows(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (in_rows(inputs[0]), *inputs[1:])


def describe(model: EnhancedAuditedModel, images: Tensor) -> pd.DataFrame:
    """List the audited model's stages in the order an image passes them, with taps and sharing.

    Returns:
        One row per stage: `layer`, `output` (shape of one image's activation), `parameters`,
        `tap`, `shared` (members and external images pass it; the others only members).
    """
    rows: list[dict[str, object]] = []

    def record(name: str):
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            shape = "×".join(map(str, output.shape[1:])) if isinstance(output, Tensor) else ""
            inside = (stages[one] for one in stages if one.startswith(f"{name}."))
            count = _size(module) - sum(map(_size, inside))
            rows.append({"layer": name, "output": shape, "parameters": count})

        return hook

    stages = dict(_stages(model.audited, model.taps))
    with hooked(stages, record), evaluating(model), torch.no_grad():
        model.audited(images)
    table = pd.DataFrame(rows).drop_duplicates("layer", keep="first", ignore_index=True)
    deepest = int(table.index[table["layer"] == model.taps[-1]][0])
    table["tap"] = table["layer"].isin(model.taps)
    table["shared"] = table.index <= deepest
    return table


def _stages(
    module: nn.Module, taps: Sequence[str], prefix: str = ""
) -> list[tuple[str, nn.Module]]:
    """Return the outermost modules that no tap lies inside of, and taps that hold others."""
    stages: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        inside = any(tap.startswith(full + ".") for tap in taps)
        stages += _stages(child, taps, full + ".") if inside else []
        stages += [(full, child)] if not inside or full in taps else []
    return stages


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def parameter_count(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)

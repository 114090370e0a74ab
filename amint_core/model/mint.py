"""The Enhanced Audited Model: an image classifier that can tell its own training images.

The paper's symbols: the audited model M(d|w) is `audited`; its activations N(d|w') at the taps are
the auxiliary auditable data (AAD); the MINT model T(·|θ) is `head`; all together is M+.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import pandas as pd
import torch
from torch import Tensor, nn

from amint_core.errors import ModelError, unknown_name
from amint_core.memory import is_of_memory
from amint_core.model.heads import Shape, build_head


class PastTheTaps(Exception):
    """Ends a forward pass early: nothing behind the deepest tap is wanted."""


class EnhancedAuditedModel(nn.Module):
    """An audited model and a MINT head that reads its activations at the taps.

    Works on any `nn.Module` that maps images to class logits, provided that everything behind the
    deepest tap sees the image through that tap's output alone: the batch is cut there.
    """

    def __init__(self, audited: nn.Module, head: nn.Module, taps: Sequence[str]) -> None:
        super().__init__()
        self.audited = audited
        self.head = head
        self.taps = tuple(taps)  # in the order in which the forward pass reaches them

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
        with self._tapped(members) as maps, suppress(PastTheTaps):
            logits = self.audited(images)
        return logits, self.head(self._in_order(maps))

    def membership(self, images: Tensor) -> Tensor:
        """Return the (B,) membership logits alone, through the shared layers and the head."""
        return self(images, members=0)[1]

    @contextmanager
    def _tapped(self, members: int | None) -> Iterator[dict[str, Tensor]]:
        """Record the activations at the taps; keep only the first `members` behind the deepest."""
        maps: dict[str, Tensor] = {}

        def record(name: str):
            def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
                maps[name] = output
                if name != self.taps[-1] or members is None:
                    return None
                if members == 0:
                    raise PastTheTaps
                return output[:members]

            return hook

        with hooked({name: self.audited.get_submodule(name) for name in self.taps}, record):
            yield maps

    def _in_order(self, maps: dict[str, Tensor]) -> list[Tensor]:
        return [maps[name] for name in self.taps]


def enhance(
    audited: nn.Module,
    taps: Sequence[str],
    images: Tensor,
    head: str | None = None,
    model: str = "",
) -> EnhancedAuditedModel:
    """Add a MINT head to a classifier.

    Args:
        audited: any module from (B, C, H, W) images to (B, classes) logits.
        taps: names of the modules whose outputs the head reads, as in `named_modules()`.
        images: two or more example images; only their shape matters.
        head: see `build_head`.
        model: name of the architecture, for the published heads.

    Raises:
        ModelError: a tap is not in the model (the message lists those there are), is never reached
            or reached twice, or its output is no tensor a head can read; or the audited model uses
            what lies before the deepest tap behind it, too.
    """
    modules = dict(audited.named_modules())
    for name in taps:
        if not name or name not in modules:
            raise ModelError(unknown_name("tap", name, filter(None, modules)))
    if not taps or len(set(taps)) != len(taps):
        raise ModelError(f"taps = {list(taps)}: name one or more different modules.")
    if images.dim() == 4:  # as in training: a model's `view` may not know that layout
        images = images.contiguous(memory_format=torch.channels_last)
    shapes = _probe(audited, taps, images)
    enhanced = EnhancedAuditedModel(audited, build_head(head, list(shapes.values()), model), shapes)
    if not images.is_meta:  # where nothing is computed, nothing can be compared
        _check_cut(enhanced, images)
    return enhanced


def _probe(audited: nn.Module, taps: Sequence[str], images: Tensor) -> dict[str, Shape]:
    """Run the model once; return tap → output shape without the batch, in the order reached."""
    shapes: dict[str, Shape] = {}

    def record(name: str):
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if name in shapes:
                raise ModelError(f"Tap {name!r} is reached twice in one pass; choose another.")
            if not isinstance(output, Tensor) or len(output) != len(images):
                raise ModelError(
                    f"Tap {name!r} does not give one tensor with a row per image; choose another."
                )
            shapes[name] = tuple(output.shape[1:])

        return hook

    tapped = {name: audited.get_submodule(name) for name in taps}
    try:
        with hooked(tapped, record), evaluating(audited), torch.no_grad():
            audited(images)
    except (RuntimeError, AssertionError, ValueError) as error:
        if is_of_memory(error):
            raise
        raise ModelError(
            f"The audited model refuses images of shape {tuple(images.shape)}: {error}"
        ) from error
    for name in taps:
        if name not in shapes:
            raise ModelError(f"Tap {name!r} is never reached in a forward pass; choose another.")
    return shapes


def _check_cut(enhanced: EnhancedAuditedModel, images: Tensor) -> None:
    """Refuse taps behind which the model still needs the whole batch."""
    # Two of three images: one alone would broadcast, and blank ones would all look the same.
    noise = torch.rand(3, *images.shape[1:], generator=torch.Generator().manual_seed(0)) - 0.5
    noise = noise.to(images)
    try:
        with evaluating(enhanced), torch.no_grad():
            whole = enhanced(noise)[0][:2]
            cut = enhanced(noise, members=2)[0]
    except RuntimeError as error:
        if is_of_memory(error):
            raise
        whole, cut = None, error
    if (
        isinstance(cut, Exception)
        or whole.shape != cut.shape
        or not torch.allclose(whole, cut, rtol=1e-3, atol=1e-4)
    ):
        raise ModelError(
            f"Behind the tap {enhanced.taps[-1]!r} the model still uses earlier activations (a "
            "connection skips it), so external images cannot stop there. Tap the module where the "
            f"paths have joined again. ({cut if isinstance(cut, Exception) else 'logits differ'})"
        )


@contextmanager
def hooked(
    modules: Mapping[str, nn.Module], hook_for: Callable[[str], Callable[..., object]]
) -> Iterator[None]:
    """Call each module's hook on its forward passes, and take all hooks off again."""
    handles = [module.register_forward_hook(hook_for(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, so that a look at the model leaves its statistics as they are."""
    before = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, training in before.items():
            child.training = training


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
            count = sum(parameter.numel() for parameter in module.parameters())
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
    """Return the outermost modules that no tap lies inside of."""
    stages: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        full = f"{prefix}{name}"
        inside = any(tap.startswith(full + ".") for tap in taps)
        stages += _stages(child, taps, full + ".") if inside else [(full, child)]
    return stages


def parameter_count(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)

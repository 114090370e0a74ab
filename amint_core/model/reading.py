"""What a model gives, in the one form that losses and heads read, and hooks to look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from amint_core.errors import ModelError

#: Attributes of a tapped module that `preflight.py` sets: its maps are (B, H, W, C); what it gives
#: is changed in place by a later layer.
CHANNELS_LAST, CHANGED_LATER = "amint_channels_last", "amint_changed_later"
#: Under which names models that give more than logits give those.
LOGITS = ("logits", "out")


class PastTheTaps(Exception):
    """Ends a forward pass early: nothing behind the deepest tap is wanted."""


def readable(module: nn.Module, output: Tensor) -> Tensor:
    """Return a tap's output as heads read it: (B, C, H, W) maps or (B, T, D) tokens.

    Vectors (B, D) are maps of one cell, (B, D, 1, 1).
    """
    if output.dim() == 2:
        return output[:, :, None, None]
    return output.permute(0, 3, 1, 2) if getattr(module, CHANNELS_LAST, False) else output


def passed_on(module: nn.Module, output: Tensor) -> Tensor:
    """Return what the layers behind a tap get: a copy, where they would change what is read."""
    return output.clone() if getattr(module, CHANGED_LATER, False) else output


def class_logits(output: object) -> Tensor:
    """Return the (B, classes) logits among what a classifier gives.

    Some give more: GoogLeNet and Inception a named tuple while they are trained, others a
    dictionary.

    Raises:
        ModelError: it cannot be told which part the logits are.
    """
    for name in () if isinstance(output, Tensor) else LOGITS:
        if isinstance(output, Mapping) and name in output:
            return output[name]
        if not isinstance(output, Mapping) and hasattr(output, name):
            return getattr(output, name)
    if not isinstance(output, Tensor):
        raise ModelError(
            f"The audited model gives a {type(output).__name__}, in which its class logits cannot "
            "be told. Let it return them alone, or a dictionary with them under 'logits'."
        )
    return output


def classifier_of(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function from (B, C, H, W) images to the (B, classes) logits of a classifier.

    It works in evaluation mode, in the precision of the weights and where they are, and leaves the
    module's modes as they were.
    """
    like = next(module.parameters(), torch.zeros(()))

    @torch.inference_mode()
    def classify(images: Tensor) -> Tensor:
        with evaluating(module), torch.autocast(like.device.type, enabled=False):
            return class_logits(module(images.to(like)))

    return classify


def separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of a model's state on the CPU: safetensors refuses tensors that share memory,
    such as tied weights."""
    return {name: each.detach().cpu().contiguous().clone() for name, each in state.items()}


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
def tapped(
    audited: nn.Module, taps: Sequence[str], members: int | None = None
) -> Iterator[dict[str, Tensor]]:
    """Record what a classifier gives at its taps while it runs: name → what heads read.

    Args:
        audited: the classifier.
        taps: names of its modules.
        members: how many of a batch's images, the first, go on behind the deepest tap: with 0 the
            pass ends there with `PastTheTaps`; None: all.
    """
    maps: dict[str, Tensor] = {}

    def record(name: str) -> Callable[..., Tensor]:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
            maps[name] = readable(module, output)
            if members is None or len(maps) < len(taps):
                return passed_on(module, output)
            if members == 0:
                raise PastTheTaps
            return passed_on(module, output[:members])

        return hook

    with hooked({name: audited.get_submodule(name) for name in taps}, record):
        yield maps


@contextmanager
def trainable(module: nn.Module, wanted: bool) -> Iterator[None]:
    """Let all weights of a module be trainable, or none, for a while."""
    before = {one: one.requires_grad for one in module.parameters()}
    module.requires_grad_(wanted)
    try:
        yield
    finally:
        for one, wants in before.items():
            one.requires_grad_(wants)


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

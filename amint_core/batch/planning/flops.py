"""Arithmetic and memory of a case, counted on shapes alone: nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from amint_core.batch.planning.work import Case
from amint_core.errors import ModelError, unknown_name
from amint_core.model import zoo
from amint_core.model.heads import build_head
from amint_core.model.mint import parameter_count

_IMAGES = 2  # batch normalisation needs two


@dataclass(frozen=True)
class Counts:
    """What one image takes, forward.

    Attributes:
        classify: operations through the whole audited model.
        membership: operations through the shared layers and the head.
        head: operations of the head alone.
        weights: trainable parameters of the audited model.
        head_weights: trainable parameters of the head.
        kept_whole: bytes (fp32) kept for the backward pass of the whole audited model.
        kept_shared: the same of the shared layers and the head.
    """

    classify: float
    membership: float
    head: float
    weights: int
    head_weights: int
    kept_whole: float
    kept_shared: float


def counts_of(case: Case) -> Counts:
    """Count what one image of a case takes.

    Raises:
        ModelError: the model cannot take such images, or taps or head do not fit.
    """
    settings = case.settings
    classes = case.classes
    if settings.has("hundred_outputs") and settings.model == "xception":
        classes = max(classes, 100)
    taps = settings.taps or settings.setup
    return _count(settings.model, case.channels, case.image_size, classes, taps, settings.head)


def step_flops(case: Case, counts: Counts | None = None) -> float:
    """Return the operations of one training step; a backward pass takes twice the forward one."""
    counts, batch = counts or counts_of(case), case.batch
    if case.kind == "plain":
        return 3 * batch * counts.classify
    if case.kind == "active":
        return 3 * batch * (counts.classify + counts.head + counts.membership)
    if case.kind == "memorizer":
        return 6 * batch * counts.membership
    return 2 * batch * (counts.membership + 2 * counts.head)  # the audited model is frozen


def step_memory(case: Case, counts: Counts | None = None) -> float:
    """Return the bytes (fp32) of weights, gradients, Adam's moments and kept activations."""
    counts, batch = counts or counts_of(case), case.batch
    if case.kind == "plain":
        return 16 * counts.weights + batch * counts.kept_whole
    weights = 16 * (counts.weights + counts.head_weights)
    whole = counts.kept_whole if case.kind == "active" else 0
    return weights + batch * (whole + 2 * counts.kept_shared)


@cache
def _count(
    name: str, channels: int, size: int, classes: int, taps: tuple[str, ...] | str, head: str | None
) -> Counts:
    passage = _pass(name, channels, size, classes)
    audited, reached = passage.audited, passage.reached
    chosen = zoo.default_taps(name, audited, taps) if isinstance(taps, str) else taps
    for tap in chosen:
        if tap not in reached:
            raise ModelError(unknown_name("tap", tap, reached))
    shared = max((reached[tap] for tap in chosen), key=lambda at: at.place)
    in_order = sorted(chosen, key=lambda tap: reached[tap].place)
    with torch.device("meta"), FlopCounterMode(display=False) as counter, _Kept() as kept:
        built = build_head(head, [reached[tap].shape[1:] for tap in in_order], name)
        built([torch.empty(reached[tap].shape) for tap in in_order])
    of_head = counter.get_total_flops() / _IMAGES
    return Counts(
        classify=passage.flops / _IMAGES,
        membership=shared.flops / _IMAGES + of_head,
        head=of_head,
        weights=parameter_count(audited),
        head_weights=parameter_count(built),
        kept_whole=passage.kept / _IMAGES,
        kept_shared=(shared.kept + kept.bytes) / _IMAGES,
    )


class _At(NamedTuple):
    """What a forward pass has taken when it leaves a module for the first time."""

    place: int
    shape: tuple[int, ...]
    flops: int
    kept: int


@dataclass(frozen=True)
class _Pass:
    """One forward pass of an audited model, with what it has taken at each module."""

    audited: nn.Module
    reached: dict[str, _At]
    flops: int
    kept: int


@cache
def _pass(name: str, channels: int, size: int, classes: int) -> _Pass:
    reached: dict[str, _At] = {}

    def look(path: str):
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and path not in reached:
                flops = counter.get_total_flops()
                reached[path] = _At(len(reached), tuple(output.shape), flops, kept.bytes)

        return hook

    with torch.device("meta"):
        audited = zoo.create(name, channels, size, classes)
        handles = [
            module.register_forward_hook(look(path)) for path, module in audited.named_modules()
        ]
        with FlopCounterMode(display=False) as counter, _Kept() as kept:
            audited(torch.empty(_IMAGES, channels, size, size))
    for handle in handles:
        handle.remove()
    return _Pass(audited, reached, counter.get_total_flops(), kept.bytes)


class _Kept(saved_tensors_hooks):
    """Adds up the bytes that a forward pass keeps for the backward pass, weights left out."""

    def __init__(self) -> None:
        self.bytes, self._seen = 0, {}
        super().__init__(self._pack, lambda tensor: tensor)

    def __enter__(self) -> _Kept:
        super().__enter__()
        return self

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter) and storage._cdata not in self._seen:
            self._seen[storage._cdata] = tensor  # keeps its address from being given to another
            self.bytes += storage.nbytes()
        return tensor

"""Floating-point operations and memory, counted on shapes alone: nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from amint_core.batch.planning.made_up import made_up
from amint_core.batch.planning.work import Workload
from amint_core.model.mint import parameter_count
from amint_core.run.models import build

_IMAGES = 2  # batch normalisation needs two


@dataclass(frozen=True)
class Counts:
    """What one image takes, forward.

    Attributes:
        classify: operations through the whole audited model.
        membership: operations through the shared layers and the head.
        head: operations of the head alone, of all heads of an ensemble.
        weights: trainable parameters of the audited model.
        head_weights: trainable parameters of the head.
        kept_whole: bytes (fp32) kept for the backward pass of the whole audited model.
        kept_shared: the same of the shared layers and the head.
        kept_head: the same of the head alone.
        tapped: numbers that the head reads.
    """

    classify: float
    membership: float
    head: float
    weights: int
    head_weights: int
    kept_whole: float
    kept_shared: float
    kept_head: float
    tapped: int

    @property
    def shared(self) -> float:
        """Operations through the shared layers."""
        return self.membership - self.head


_counts: dict[tuple, Counts] = {}


def counts_of(workload: Workload) -> Counts:
    """Count what one image of a workload takes.

    Raises:
        ModelError: the model cannot take such images, or taps or head do not fit.
    """
    given, images = workload.settings, (workload.channels, workload.image_size, workload.classes)
    model = given.model, given.setup, given.taps, given.head, given.head_width
    model += given.head_count, given.has("hundred_outputs")
    if (*images, *model) not in _counts:
        _counts[*images, *model] = _count(workload)
    return _counts[*images, *model]


def _count(workload: Workload) -> Counts:
    seen: list[tuple[int, int]] = []  # operations and bytes so far
    tapped: dict[str, int] = {}  # tap → numbers
    with torch.device("meta"):
        model = build(made_up(workload)).train()
        images = torch.empty(_IMAGES, workload.channels, *[workload.image_size] * 2)
    with FlopCounterMode(display=False) as counter, _Kept() as kept:
        # In the order in which they end: the shared layers, the audited model, the head.
        for module in (model.audited.get_submodule(model.taps[-1]), model.audited, model.head):
            module.register_forward_hook(
                lambda *_: seen.append((counter.get_total_flops(), kept.bytes))
            )
        for tap in model.taps:
            model.audited.get_submodule(tap).register_forward_hook(
                lambda _module, _given, output, tap=tap: tapped.update({tap: output.numel()})
            )
        model(images)
    (shared, kept_shared), (whole, kept_whole), (everything, kept_everything) = seen
    head = everything - whole
    return Counts(
        classify=whole / _IMAGES,
        membership=(shared + head) / _IMAGES,
        head=head / _IMAGES,
        weights=parameter_count(model.audited),
        head_weights=parameter_count(model.head),
        kept_whole=kept_whole / _IMAGES,
        kept_shared=(kept_shared + kept_everything - kept_whole) / _IMAGES,
        kept_head=(kept_everything - kept_whole) / _IMAGES,
        tapped=sum(tapped.values()) // _IMAGES,
    )


def step_flops(workload: Workload) -> float:
    """Return the operations of one training step; a backward pass takes twice the forward one."""
    counts, kind, batch = counts_of(workload), workload.kind, workload.batch
    if workload.stage == "head":  # one head at a time, on recorded activations
        return 2 * batch * 3 * counts.head / workload.settings.head_count
    # Members pass the whole model where it classifies; other images end at the deepest tap.
    passing = 2 - kind.reads_logits
    head = 2 * counts.head if kind.with_external else 0
    shared = passing * counts.shared if kind.with_external else 0
    forward = kind.reads_logits * counts.classify + shared + head
    return batch * (forward + 2 * (head if kind.trains == "head" else forward))


def step_memory(workload: Workload) -> float:
    """Return the bytes (fp32) of weights, gradients, Adam's moments and kept activations."""
    counts, kind = counts_of(workload), workload.kind
    if workload.stage == "head":
        one = 1 / workload.settings.head_count
        weights = counts.weights + 4 * counts.head_weights  # the audited model lies beside it
        return 4 * weights + 2 * workload.batch * counts.kept_head * one
    weights = counts.weights + kind.has_head * counts.head_weights
    kept = kind.reads_logits * counts.kept_whole + 2 * kind.has_head * counts.kept_shared
    return 16 * weights + workload.batch * kept


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

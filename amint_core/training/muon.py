"""Muon for a model's matrices, AdamW for the rest, both rates following one schedule.

Muon (Jordan et al., 2024) steps along the orthogonalised momentum of a matrix. `torch.optim.Muon`
takes one matrix after the other, two-dimensional weights alone and a rate that is a Python number;
here matrices of one shape are orthogonalised together, convolutions are seen as matrices, and rates
are tensors, so that a step fits into a CUDA graph. The updates are the same, which
tests/test_two_stages.py shows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
#: Coefficients of the quintic Newton-Schulz iteration (Jordan et al.).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def matrices_of(module: nn.Module) -> list[nn.Parameter]:
    """Return the weights that Muon is for: of linear layers and convolutions over all channels.

    Not of the last linear layer, which gives the answer, nor of depthwise convolutions, whose
    filters do not mix channels.
    """
    linear = [part for part in module.modules() if isinstance(part, nn.Linear)]
    found = [part.weight for part in linear[:-1]]
    convolutions = (part for part in module.modules() if isinstance(part, nn.Conv2d))
    found += [part.weight for part in convolutions if part.groups == 1]
    return [weight for weight in found if weight.requires_grad]


@torch.no_grad()
def orthogonalised(matrices: Tensor) -> Tensor:
    """Return (G, R, C) matrices with all singular values near 1.

    In bfloat16 on a GPU; in fp32 on a CPU, where products in bfloat16 may take 1,000 times as long.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x.bfloat16() if x.device.type == "cuda" else x.float()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    if x.dtype == torch.float32 and x.shape[2] >= 2 * x.shape[1]:
        x = _product(x @ x.mT) @ x
    else:
        for _ in range(ITERATIONS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _product(gram: Tensor) -> Tensor:
    """Return the (G, R, R) matrices that all iterations together multiply a matrix by.

    Each iteration multiplies X by a polynomial of its Gram matrix, and the next Gram matrix is a
    polynomial of that one: wide matrices are needed at the beginning and at the end only, which
    takes .6 of the time for four times as many columns as rows. In bfloat16 the Gram matrix would
    lose the small singular values.
    """
    product = factor = _factor(gram)
    for _ in range(ITERATIONS - 1):
        gram = factor @ (factor @ gram)
        factor = _factor(gram)
        product = factor @ product
    return product


def _factor(gram: Tensor) -> Tensor:
    """Return the (G, R, R) matrices that one iteration multiplies a matrix of this Gram by."""
    a, b, c = COEFFICIENTS
    unit = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    return torch.baddbmm(gram, gram, gram, beta=b, alpha=c) + a * unit


@dataclass
class _Shape:
    """Weights that are matrices of one shape (R, C), and their momentum."""

    weights: list[nn.Parameter]
    momentum: list[Tensor]
    ratio: float  # of Muon's rate for this shape

    def step(self, rate: Tensor, decay: float) -> None:
        # A weight that took no part has no gradient, as in a branch for training that is left out.
        pairs = zip(self.weights, self.momentum, strict=True)
        taking = [pair for pair in pairs if pair[0].grad is not None]
        if not taking:
            return
        weights, momentum = map(list, zip(*taking, strict=True))
        gradients = [_as_matrix(weight.grad, weight) for weight in weights]
        torch._foreach_lerp_(momentum, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momentum, MOMENTUM)  # Nesterov
        updates = orthogonalised(torch.stack(ahead)) * (-self.ratio * rate)
        views = [_as_matrix(weight.detach(), weight) for weight in weights]
        if decay:
            torch._foreach_mul_(views, 1 - decay * rate)
        torch._foreach_add_(views, [update.to(views[0].dtype) for update in updates.unbind()])


def _as_matrix(values: Tensor, weight: Tensor) -> Tensor:
    """See a weight, or its gradient, as (outputs, inputs): a view, in the weight's own order."""
    if weight.dim() == 4 and weight.is_contiguous(memory_format=torch.channels_last):
        values = values.permute(0, 2, 3, 1)
    return values.flatten(1)


class MuonAdam:
    """Both optimisers of a training, with the interface of one.

    Attributes:
        share: () the share of both rates that the schedule leaves; set it before each step.
    """

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        matrices: Sequence[nn.Parameter],
        muon: float,
        adam: float,
        decay: float = 0.0,
    ) -> None:
        """Divide `weights` between the optimisers.

        Args:
            weights: all that is trained.
            matrices: those of them that Muon steps; none: AdamW does all.
            muon, adam: learning rates.
            decay: weight decay of both, decoupled from the loss (times the learning rate).
        """
        device = weights[0].device
        chosen = {id(weight) for weight in matrices}
        self.others = [weight for weight in weights if id(weight) not in chosen]
        self.share = torch.ones((), device=device)
        self.rates, self.decay = (muon, adam), decay
        self.shapes = _by_shape(matrices)
        self.adam_rate = torch.tensor(adam, device=device)
        self.adam = torch.optim.AdamW(
            self.others,
            lr=self.adam_rate,
            weight_decay=decay,
            fused=True,
            capturable=device.type == "cuda",
        )
        self.weights = list(weights)

    def state_dict(self) -> dict[str, Any]:
        """Return what a later optimiser of the same weights goes on from; its own tensors."""
        momentum = [shape.momentum for shape in self.shapes]
        return {"adam": self.adam.state_dict()["state"], "momentum": momentum}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        groups = self.adam.state_dict()["param_groups"]
        self.adam.load_state_dict({"state": state["adam"], "param_groups": groups})
        for group in self.adam.param_groups:
            group["lr"] = self.adam_rate  # loading has put a copy there, which no step would change
        for shape, momentum in zip(self.shapes, state["momentum"], strict=True):
            for own, earlier in zip(shape.momentum, momentum, strict=True):
                own.copy_(earlier)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Step all weights by their gradients."""
        self.adam_rate.copy_(self.share * self.rates[1])
        self.adam.step()
        for shape in self.shapes:
            shape.step(self.share * self.rates[0], self.decay)


def _by_shape(matrices: Sequence[nn.Parameter]) -> list[_Shape]:
    shapes: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
    for weight in matrices:
        shapes[tuple(_as_matrix(weight.detach(), weight).shape)].append(weight)
    return [
        _Shape(
            weights,
            [torch.zeros(rows, columns, device=weight.device) for weight in weights],
            math.sqrt(max(1.0, rows / columns)),
        )
        for (rows, columns), weights in shapes.items()
    ]


def cosine(steps: int, device: torch.device, ramp: float = 0.0) -> Tensor:
    """Return (steps,) shares of a learning rate: up to 1 over a share `ramp`, then down to 0."""
    place = torch.arange(steps, device=device) / steps
    rising = ((place + 1 / steps) / ramp).clamp(max=1.0) if ramp else torch.ones_like(place)
    return rising * 0.5 * (1 + torch.cos(math.pi * place))

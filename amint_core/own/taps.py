"""Find two modules of any classifier that a head can read: the places of the paper's Middle."""

from __future__ import annotations

from collections import Counter

from torch import Tensor, nn

from amint_core.errors import ModelError
from amint_core.model.mint import EnhancedAuditedModel
from amint_core.model.preflight import check_cut, look, probe
from amint_core.model.reading import hooked

#: Of the modules passed, where the deeper and the shallower tap are looked for.
DEEPER, SHALLOWER = 2 / 3, 1 / 2
#: So many modules are tried at each place, the nearest first.
TRIED = 24


def find_taps(audited: nn.Module, images: Tensor) -> tuple[str, str]:
    """Return the names of two modules, the shallower first, behind which a batch can be cut.

    Args:
        audited: any classifier.
        images: two or more example images.

    Raises:
        ModelError: none were found, or the model refuses such images.
    """
    passed = _passed(audited, images)
    deeper = _nearest(audited, images, passed, DEEPER)
    if deeper is not None:
        kind, place = _kind(passed[deeper][1]), passed[deeper][0]
        before = {
            name: one
            for name, one in passed.items()
            if one[0] < place and _kind(one[1]) == kind and not _nested(name, deeper)
        }
        shallower = _nearest(audited, images, before, SHALLOWER)
        if shallower is not None:
            return shallower, deeper
    raise ModelError(
        "No two modules were found behind which a batch can be cut. Name one or more yourself, "
        f"taps=[…], from named_modules(); some that are passed: {', '.join([*passed][:12])}."
    )


def _passed(audited: nn.Module, images: Tensor) -> dict[str, tuple[float, Tensor]]:
    """Return module → (share of all layers that are passed by then, its output).

    Of modules that end with one layer, one inside the other, the outermost stands for all.
    """
    names = {module: name for name, module in audited.named_modules() if name}
    reached: list[tuple[str, object, int]] = []
    layers = 0

    def record(name: str):
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            nonlocal layers
            layers += not any(True for _ in module.children())
            reached.append((name, output, layers))

        return hook

    with hooked({name: one for one, name in names.items()}, record):
        look(audited, images)
    often = Counter(name for name, _, _ in reached)
    ends: dict[int, tuple[str, Tensor]] = {}
    for name, output, place in reached:
        if often[name] == 1 and _can_be_read(output, len(images)):
            ends[place] = name, output  # the outermost is done last
    return {name: (place / max(layers, 1), output) for place, (name, output) in ends.items()}


def _can_be_read(output: object, images: int) -> bool:
    return isinstance(output, Tensor) and output.dim() in (2, 3, 4) and len(output) == images


def _kind(output: Tensor) -> bool:
    """Tell tokens from maps and vectors: a head reads one kind or the other."""
    return output.dim() == 3


def _nested(one: str, other: str) -> bool:
    return one.startswith(other + ".") or other.startswith(one + ".")


def _nearest(
    audited: nn.Module, images: Tensor, passed: dict[str, tuple[float, Tensor]], share: float
) -> str | None:
    """Return the module nearest to a share of the depth behind which a batch can be cut."""
    ranked = sorted(passed, key=lambda name: abs(passed[name][0] - share))
    return next((name for name in ranked[:TRIED] if _can_be_cut(audited, name, images)), None)


def _can_be_cut(audited: nn.Module, name: str, images: Tensor) -> bool:
    try:
        probe(audited, [name], images)
        check_cut(EnhancedAuditedModel(audited, _Any(), [name]), images)
    except ModelError:
        return False
    return True


class _Any(nn.Module):
    """Stands for a head: one number for each image."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        return maps[0].flatten(1).sum(1)

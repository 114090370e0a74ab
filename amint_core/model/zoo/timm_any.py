"""Any other timm model by name, with taps found from timm's own account of its stages.

The taps sit where those of the paper's models do: the deeper one at a third, two thirds and the
end of the depth (block 7 of 0 to 11 in ViT, the third of four stages in ResNet), the shallower one
a stage before it.
"""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import TYPE_CHECKING

from amint_core.errors import ModelError
from amint_core.model.zoo.architecture import Architecture

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Thirds of the depth at which the deeper tap sits.
THIRDS = {"entry": 1, "middle": 2, "output": 3}
REASONS = {
    "entry": "The stage at the first third of the depth and one before it.",
    "middle": "The stage at two thirds of the depth and one before it.",
    "output": "The last stage and one before it.",
}
#: Fewer stages than this cannot tell the three setups apart.
FEWEST_STAGES = 4


def is_timm_model(name: str) -> bool:
    """Tell whether timm has a model `name`."""
    import timm

    return timm.is_model(name)


def timm_names() -> list[str]:
    """Return the names of all of timm's models."""
    import timm

    return timm.list_models()


def timm_architecture(name: str) -> Architecture:
    """Describe a timm model; its taps are found once it is built."""
    return Architecture(
        name=name,
        title=name,
        build=partial(build, name),
        taps={},
        reasons=REASONS,
        tokens=None,
        min_image_size=1,
    )


def build(name: str, channels: int, image_size: int, num_classes: int) -> nn.Module:
    """Build a timm model and try it on one image.

    Raises:
        ModelError: timm cannot build it for such images, or it gives no class logits.
    """
    import torch

    images = torch.zeros(1, channels, image_size, image_size)
    try:
        model = _create(name, image_size, in_chans=channels, num_classes=num_classes)
        logits, _ = _pass(model, [], images)
    except Exception as error:  # each of timm's models fails in its own way
        raise ModelError(
            f"Model {name!r} of timm does not take images of {channels}×{image_size}×{image_size} "
            f"({error}). Set another image_size, or choose another model."
        ) from error
    if getattr(logits, "shape", None) != (1, num_classes):
        raise ModelError(
            f"Model {name!r} of timm does not give one logit per class. Choose a classifier."
        )
    model.amint_input_shape = tuple(images.shape[1:])  # for `find_taps`
    return model


def _create(name: str, image_size: int, **settings: int) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, img_size=image_size, **settings)
    except TypeError as error:
        # Convolutional models take any size and know no such setting.
        if "img_size" not in str(error):
            raise
        return timm.create_model(name, **settings)


def find_taps(name: str, module: nn.Module, setup: str) -> tuple[str, str]:
    """Find the two modules that `setup` reads, and try whether the batch can be cut there.

    Args:
        name: the model's name, for messages.
        module: the model, from `build`.
        setup: "entry", "middle" or "output".

    Raises:
        ModelError: timm lists too few stages that can be read, or one cannot be cut behind.
    """
    import torch

    remedy = "Give `taps` yourself (two names from `named_modules()`), or choose another model."
    if not hasattr(module, "amint_input_shape"):
        raise ModelError(f"Model {name!r} was not built by create(). {remedy}")
    generator = torch.Generator().manual_seed(0)  # torch's own stays as it was
    images = torch.randn(2, *module.amint_input_shape, generator=generator)
    images = images.to(next(module.parameters()).device)
    stages = _stages(module, images)
    if len(stages) >= FEWEST_STAGES:
        deeper = ceil(THIRDS[setup] * len(stages) / 3) - 1
        shallower = deeper - max(1, len(stages) // 6)
        if _can_cut(module, stages[deeper], images):
            return stages[shallower], stages[deeper]
    raise ModelError(f"No taps for setup {setup!r} can be found in model {name!r}. {remedy}")


def _stages(module: nn.Module, images: Tensor) -> list[str]:
    """Name the stages that timm lists, in the order reached, where they can be read.

    Each is reached once and gives maps, or each tokens, as the last one does.
    """
    from torch import Tensor

    # Rows of blocks found otherwise lay within one part of the model wherever we tried.
    listed = {stage.get("module") for stage in getattr(module, "feature_info", None) or []}
    present = [name for name, _ in module.named_modules() if name in listed]
    _, reached = _pass(module, present, images)
    order = [name for name, _, _ in reached]
    good = [
        (name, output.ndim)
        for name, output, version in reached
        if isinstance(output, Tensor)
        and output.ndim in (3, 4)
        and order.count(name) == 1
        and output._version == version  # a later layer that works in place would change the map
    ]
    return [name for name, ndim in good if ndim == good[-1][1]]


def _can_cut(module: nn.Module, tap: str, images: Tensor) -> bool:
    """Tell whether the rest of the model sees an image through the output of `tap` alone."""
    whole, _ = _pass(module, [], images)
    try:
        cut, _ = _pass(module, [tap], images, keep=1)
    except RuntimeError:  # two images from before the tap meet one from behind it
        return False
    if cut.shape != whole[:1].shape:
        return False
    # A batch of another size is summed in another order: compare on the scale of the logits.
    return bool((cut - whole[:1]).abs().max() <= 1e-3 * whole.abs().max())


def _pass(
    module: nn.Module, names: list[str], images: Tensor, keep: int | None = None
) -> tuple[Tensor, list[tuple[str, object, int]]]:
    """Run the model in evaluation mode; return logits and (name, output, version) as reached.

    With `keep`, the first images alone go on behind the named modules.
    """
    import torch

    from amint_core.model.reading import evaluating, hooked

    reached: list[tuple[str, object, int]] = []

    def record(name: str):
        def hook(layer: nn.Module, inputs: object, output: object) -> object:
            reached.append((name, output, getattr(output, "_version", 0)))
            return None if keep is None else output[:keep]

        return hook

    layers = {name: module.get_submodule(name) for name in names}
    with hooked(layers, record), evaluating(module), torch.no_grad():
        return module(images), reached

"""Look at a model before it is trained: what its taps give, and what it would choke on.

Nothing that is found here may show in training for the first time: an hour later, in the words of
another library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from amint_core.errors import AmintError, ModelError
from amint_core.memory import is_of_memory
from amint_core.model.heads import Shape
from amint_core.model.reading import (
    CHANGED_LATER,
    CHANNELS_LAST,
    PastTheTaps,
    class_logits,
    evaluating,
    hooked,
    readable,
)

SMALLER = (
    "It may need larger images: resize them. A part that only training uses can often be switched "
    "off (aux_logits=False)."
)


def require_unwrapped(model: nn.Module) -> None:
    """Refuse a wrapper around a model: its modules bear other names, or are passed by unseen.

    Raises:
        ModelError: says which attribute holds the model itself.
    """
    wrapped = isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel)
    inner = "module" if wrapped else "_orig_mod"  # of torch.compile, whose class is slow to import
    if wrapped or hasattr(model, inner):
        raise ModelError(
            f"{type(model).__name__} wraps a model, and a head reads the model's own modules. Give "
            f"the model itself: model.{inner}."
        )


def probe(audited: nn.Module, taps: Sequence[str], images: Tensor) -> dict[str, Shape]:
    """Run the model once; return tap → shape of what a head reads, in the order reached.

    Marks tapped modules whose outputs `reading.readable` and `passed_on` must treat otherwise.

    Raises:
        ModelError: the model refuses the images or gives no class logits, or a tap is not reached,
            is reached twice or gives nothing that a head can read.
    """
    seen = _outputs(audited, taps, images)
    for name in taps:
        if name not in seen:
            raise ModelError(f"Tap {name!r} is never reached in a forward pass; choose another.")
    shapes = {}
    for name, (output, version) in seen.items():
        module = audited.get_submodule(name)
        setattr(module, CHANGED_LATER, output._version != version)
        last = output.dim() == 4 and _is_channels_last(audited, name, output, images)
        setattr(module, CHANNELS_LAST, last)
        shapes[name] = tuple(readable(module, output).shape[1:])
    return shapes


def _outputs(
    audited: nn.Module, taps: Sequence[str], images: Tensor
) -> dict[str, tuple[Tensor, int]]:
    """Return what each tap gives, and how often that had been written when it was reached."""
    seen: dict[str, tuple[Tensor, int]] = {}

    def record(name: str):
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if name in seen:
                raise ModelError(f"Tap {name!r} is reached twice in one pass; choose another.")
            if not isinstance(output, Tensor) or len(output) != len(images):
                raise ModelError(
                    f"Tap {name!r} does not give one tensor with a row per image; choose another."
                )
            seen[name] = output, output._version

        return hook

    with hooked({name: audited.get_submodule(name) for name in taps}, record):
        look(audited, images)
    return seen


def look(audited: nn.Module, images: Tensor) -> None:
    """Let a classifier pass images once in evaluation mode, for the hooks on it.

    Raises:
        ModelError: it refuses them, or gives no class logits.
    """
    refusal = f"The audited model refuses images of shape {tuple(images.shape)}"
    with refused(f"{refusal}: {{}}. {SMALLER}"), evaluating(audited), torch.no_grad():
        _require_logits(class_logits(audited(images)), len(images))


def _require_logits(logits: object, images: int) -> None:
    shape = tuple(getattr(logits, "shape", ()))
    if len(shape) != 2 or shape[0] != images:
        raise ModelError(
            f"For {images} images the audited model gives {shape or type(logits).__name__}, not "
            "(images, classes) class logits. Give a classifier, and images of the size it is for."
        )


def _is_channels_last(audited: nn.Module, name: str, output: Tensor, images: Tensor) -> bool:
    """Tell whether a tap's maps are (B, H, W, C), as in Swin, or (B, C, H, W).

    Raises:
        ModelError: it cannot be told.
    """
    first, middle, last = output.shape[1:]
    of_maps, of_last = (_alike(*pair, images) for pair in ((middle, last), (first, middle)))
    if of_maps != of_last:
        return of_last
    wide = _shape_of_wide(audited, name, torch.cat([images, images], 3))
    if wide is not None and wide != output.shape[1:] and wide[0] == first:
        return wide[2] == last  # what grew with the image's width is its second or third side
    raise ModelError(
        f"Of the maps {(first, middle, last)} that tap {name!r} gives it cannot be told which side "
        "is the channels. Choose another tap."
    )


def _alike(height: int, width: int, images: Tensor) -> bool:
    """Tell whether a map may be an image shrunk: its sides relate as the image's."""
    of_height, of_width = images.shape[2:]
    return abs(height * of_width - width * of_height) < max(of_height, of_width)


def _shape_of_wide(audited: nn.Module, name: str, images: Tensor) -> tuple[int, ...] | None:
    """Return the shape of a tap's output for wide images; None where the model wants others."""
    shapes = []

    def record(name: str):
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            shapes.append(tuple(output.shape[1:]))
            raise PastTheTaps

        return hook

    with (
        hooked({name: audited.get_submodule(name)}, record),
        evaluating(audited),
        torch.no_grad(),
        suppress(Exception),  # each model refuses in its own way what it is not made for
    ):
        audited(images)
    return shapes[0] if shapes else None


def check_cut(enhanced: nn.Module, images: Tensor) -> None:
    """Refuse taps behind which the model still needs the whole batch.

    Args:
        enhanced: an `EnhancedAuditedModel`.
        images: example images; only their shape matters.
    """
    noise, whole, cut = noise_like(images), None, None
    try:
        with evaluating(enhanced), torch.no_grad():
            whole = enhanced(noise)[0][:2]
            cut = enhanced(noise, members=2)[0]
        why = "logits differ"
    except Exception as error:  # two images from before the tap meet one from behind it
        if is_of_memory(error):
            raise
        why = str(error)
    if (
        cut is None
        or whole.shape != cut.shape
        or not torch.allclose(whole, cut, rtol=1e-3, atol=1e-4)
    ):
        raise ModelError(
            f"Behind the tap {enhanced.taps[-1]!r} the model still uses earlier activations (a "
            "connection skips it), so external images cannot stop there. Tap the module where the "
            f"paths have joined again. ({why})"
        )


def check_training(enhanced: nn.Module, images: Tensor) -> None:
    """Refuse a model that fails in training mode, or changes state that state_dict does not hold.

    Weights and persistent buffers are all that is stored of a trained model.

    Raises:
        ModelError: it does either.
    """
    state = {name: buffer.clone() for name, buffer in enhanced.named_buffers()}
    before = {child: child.training for child in enhanced.modules()}
    unkept = _unkept(enhanced.audited)
    refusal = f"While it is trained the audited model refuses images of {tuple(images.shape[1:])}"
    try:
        with refused(f"{refusal}: {{}}. {SMALLER}"), torch.no_grad(), _own_random_numbers(images):
            logits, _ = enhanced.train()(noise_like(images), members=2)
        _require_logits(logits, 2)
        now = _unkept(enhanced.audited)
        if moved := [name for name in unkept if now.get(name) != unkept[name]]:
            raise ModelError(
                f"While it is trained the model changes {', '.join(moved)}, which no file of "
                "weights holds, so that it would be another once it is loaded. Make it a "
                "persistent buffer: register_buffer(name, tensor)."
            )
    finally:
        for child, training in before.items():
            child.training = training
        for name, buffer in enhanced.named_buffers():
            buffer.copy_(state[name])


def _unkept(model: nn.Module) -> dict[str, bytes | str]:
    """Return the numbers and buffers of a model that are no part of its `state_dict`, by name."""
    found = {}
    for name, module in model.named_modules():
        start = f"{name}." if name else ""
        for key, value in vars(module).items():
            if type(value) in (int, float):
                found[start + key] = repr(value)
        for key in module._non_persistent_buffers_set:
            if module._buffers[key] is not None:
                plain = module._buffers[key].detach().cpu().flatten().view(torch.uint8)
                found[start + key] = plain.numpy().tobytes()
    return found


def noise_like(images: Tensor) -> Tensor:
    """Return three images of noise, of the shape and in the layout of those given.

    Two of the three go on behind the taps: a single one would broadcast and so hide a mismatch.
    Blank images all look the same, hence noise.
    """
    noise = torch.rand(3, *images.shape[1:], generator=torch.Generator().manual_seed(0)) - 0.5
    return noise.to(images)


@contextmanager
def refused(message: str) -> Iterator[None]:
    """Turn what a model raises, each in its own way, into a ModelError; `{}` is what it said."""
    try:
        yield
    except AmintError:
        raise
    except Exception as error:
        if is_of_memory(error):
            raise
        raise ModelError(message.format(" ".join(str(error).split())[:300])) from error


@contextmanager
def in_layout(audited: nn.Module) -> Iterator[None]:
    """Lay the model's weights out with channels last, as for training, and then as they were."""
    weights = [one for one in audited.parameters() if one.dim() == 4]
    before = [one.data for one in weights]
    try:
        for one in weights:
            one.data = one.data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for one, data in zip(weights, before, strict=True):
            one.data = data


def in_rows(images: Tensor) -> Tensor:
    """Return (B, C, H, W) images in the plain layout, one row of pixels after the other.

    Grey ones pass for either layout as they are, and convolutions would choose.
    """
    return images.contiguous().flatten().view(images.shape)


def _own_random_numbers(images: Tensor):
    """Keep the caller's random numbers as they were."""
    return torch.random.fork_rng([images.device] if images.device.type == "cuda" else [])

"""What is measured: models, image sizes and batches, per device."""

from __future__ import annotations

from dataclasses import dataclass

#: Targets on a CPU: price over its floor, peak memory over the published loop's, share of the head.
PRICE_OVER_FLOOR, MEMORY, HEAD = 1.15, 0.5, 0.05
HEAD_CASE = ("resnet50", 64)


@dataclass(frozen=True)
class Configuration:
    """One model at one image size.

    Attributes:
        model: a name of amint_core.model.zoo.
        image_size: pixels a side, as in the paper's notebooks.
        batch: members in a step, and as many external images.
        target: how many times faster than the published step ours is meant to be; None: no target.
        device: "cpu" or "cuda".
        classes: outputs of the classifier.
        precision: of our loops, a value of `RunConfig.precision`.
        threads: CPU threads of the loop; None: PyTorch's choice.
    """

    model: str
    image_size: int
    batch: int = 64
    target: float | None = None
    device: str = "cpu"
    classes: int = 10
    precision: str = "auto"
    threads: int | None = None

    @property
    def name(self) -> str:
        """A label for tables."""
        return f"{self.model} {self.image_size}×{self.image_size}"


#: (model, image size, members in a CPU step, target on a CPU). 64 members, as published, where the
#: published step takes a few seconds at most; fewer for the others, for both sides alike.
_SIZES = (
    ("mobilenet", 32, 64, 15.0),
    ("resnet50", 32, 64, 15.0),
    ("resnet101", 32, 16, None),
    ("densenet121", 32, 16, 5.0),
    ("xception", 32, 16, 5.0),
    ("vit", 32, 64, 5.0),
    ("mobilenet", 64, 16, None),
    ("resnet50", 64, 16, None),
    ("densenet121", 64, 8, 5.0),
    ("xception", 64, 8, 5.0),
)
_TARGET_ON_GPU = {("resnet50", 32): 20.0}


def configurations(device: str) -> list[Configuration]:
    """Return the models and sizes measured on a device; a GPU always takes 64 and 64 images."""
    return [
        Configuration(
            model=model,
            image_size=size,
            batch=batch if device == "cpu" else 64,
            target=target if device == "cpu" else _TARGET_ON_GPU.get((model, size)),
            device=device,
            classes=10 if size == 32 else 43,  # CIFAR-10 and GTSRB
        )
        for model, size, batch, target in _SIZES
    ]

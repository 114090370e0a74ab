"""The paper's numbers as data: "Active Membership Inference Test (aMINT)", ICCV 2025.

Source: arXiv 2509.07879, Table 1 and the comparisons with passive MINT and with MIAs. Accuracies
are fractions, as printed there with two digits. "ResNet100" of the paper is ResNet-101 in the
published code, so it stands under `resnet101`.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Names in settings → names in tables, in the paper's order.
DATASETS = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "gtsrb": "GTSRB",
    "tiny_imagenet": "Tiny ImageNet",
    "casia_webface": "CASIA-WebFace",
}
SETUPS = ("entry", "middle", "output")
MODELS = {
    "mobilenet": "MobileNet",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "densenet121": "DenseNet121",
    "xception": "Xception",
    "vit": "ViT",
}


@dataclass(frozen=True)
class Cell:
    """One cell of Table 1: accuracy of the MINT model, and of the audited model beside it."""

    mint: float
    audited: float


@dataclass(frozen=True)
class Comparison:
    """One row of the paper's comparison of passive and active MINT.

    Attributes:
        passive, active: MINT accuracies.
        audited_alone: accuracy of the audited model trained without MINT.
        audited_with: its accuracy when trained with MINT.
    """

    passive: float
    active: float
    audited_alone: float
    audited_with: float


#: dataset → setup → "MINT/audited" per model, in the order of `MODELS`.
_PRINTED = {
    "mnist": {
        "entry": ".86/.96 .83/.97 .83/.97 .82/.99 .85/.98 .80/.94",
        "middle": ".88/.92 .82/.97 .82/.96 .83/.99 .83/.98 .81/.95",
        "output": ".82/.90 .80/.90 .77/.80 .81/.98 .80/.83 .80/.93",
    },
    "cifar10": {
        "entry": ".86/.41 .86/.53 .87/.58 .86/.80 .86/.64 .86/.19",
        "middle": ".91/.41 .89/.49 .87/.54 .87/.80 .86/.62 .87/.20",
        "output": ".85/.33 .85/.39 .85/.40 .82/.76 .87/.46 .88/.19",
    },
    "gtsrb": {
        "entry": ".89/.89 .86/.98 .87/.97 .85/.99 .86/.99 .80/.91",
        "middle": ".87/.82 .83/.98 .85/.98 .84/.99 .88/.98 .81/.93",
        "output": ".83/.81 .81/.95 .81/.94 .83/.99 .88/.95 .79/.90",
    },
    "tiny_imagenet": {
        "entry": ".80/.11 .80/.12 .80/.11 .86/.34 .88/.28 .81/.17",
        "middle": ".88/.10 .80/.09 .86/.09 .88/.34 .87/.28 .81/.19",
        "output": ".79/.12 .79/.07 .79/.08 .79/.33 .86/.16 .80/.17",
    },
}

#: Table 1: (dataset, setup, model) → cell. CASIA-WebFace has none; see `PASSIVE_ACTIVE`, `STORED`.
TABLE1: dict[tuple[str, str, str], Cell] = {
    (dataset, setup, model): Cell(*map(float, printed.split("/")))
    for dataset, setups in _PRINTED.items()
    for setup, row in setups.items()
    for model, printed in zip(MODELS, row.split(), strict=True)
}


@dataclass(frozen=True)
class Stored:
    """What a published notebook shows of its run, which was stopped by hand.

    Attributes:
        epochs: passes that the run had.
        mean, deviation: of the MINT accuracy on the validation images over the last 20 epochs.
        at_half: the MINT accuracy that is printed at probability .5; None: none is.
        at_best: that at the best threshold, which was chosen on the images it is judged on.
    """

    epochs: int
    mean: float
    deviation: float
    at_half: float | None = None
    at_best: float | None = None


#: (dataset, model) → the run stored in a notebook of the authors' repository at 495363c. Printed
#: values are from its text; means and deviations were read off the picture of its learning curves,
#: to about .001. The setups are not stated. The stored curves of CIFAR-10 and Tiny ImageNet are at
#: .50, as their code, which multiplies the MINT loss by 0, would have it.
STORED: dict[tuple[str, str], Stored] = {
    ("mnist", "xception"): Stored(56, 0.814, 0.030, 0.8212, 0.8979),
    ("gtsrb", "xception"): Stored(40, 0.866, 0.020),
    ("casia_webface", "densenet121"): Stored(66, 0.794, 0.031, 0.7994, 0.8962),
    ("casia_webface", "vit"): Stored(114, 0.759, 0.005, 0.8079, 0.9128),
}

#: How far a published MINT accuracy is known: the learning curves swing by this much from one epoch
#: to the next, and the runs were stopped by hand.
NOISE = round(max(one.deviation for one in STORED.values()), 2)

#: As `_PRINTED`, percent at 100, 10 and 1 % of the data that the test could learn from.
_GMINT_PRINTED = {
    "mnist": {
        "entry": "100/99.94/99.91 100/99.80/99.65 100/100/100 52.32/50.00/50.00 100/100/100"
        " 100/100/100",
        "middle": "100/100/99.91 100/99.98/99.95 100/100/100 100/99.74/50.00 100/100/100"
        " 100/100/100",
        "output": "100/100/100 100/99.99/99.95 100/100/100 100/99.91/50.00 100/100/100 100/100/100",
        "combined": "100/100/100 100/100/99.96 100/100/100 100/100/100 100/100/100 100/100/100",
    },
    "cifar10": {
        "entry": "100/100/99.98 99.99/99.98/99.98 99.99/99.96/99.87 100/100/100 100/100/100"
        " 100/100/100",
        "middle": "100/100/99.98 99.99/99.98/99.98 100/100/99.87 100/100/100 100/100/100"
        " 100/100/100",
        "output": "100/100/100 100/99.99/99.98 100/100/100 100/100/100 100/100/100 100/100/100",
        "combined": "100/100/100 100/100/99.96 100/100/100 100/100/100 100/100/100 100/100/100",
    },
    "gtsrb": {
        "entry": "99.20/99.21/99.22 96.92/95.92/94.33 98.87/98.37/98.68 99.99/99.93/94.39"
        " 99.98/99.98/99.88 98.00/94.58/89.24",
        "middle": "100/100/99.97 99.96/99.96/99.80 99.86/99.80/99.66 100/100/99.64"
        " 99.98/99.98/99.98 94.42/92.29/92.03",
        "output": "98.84/98.61/98.61 99.99/99.96/99.96 99.93/99.93/99.92 99.98/99.37/99.09"
        " 99.98/99.98/99.90 99.69/99.48/99.42",
        "combined": "100/100/99.97 100/99.96/99.96 99.94/99.92/99.92 99.98/99.98/98.32"
        " 100/99.98/99.94 99.73/98.36/98.33",
    },
    "tiny_imagenet": {
        "entry": "100/99.99/99.96 100/100/100 100/100/100 53.40/50.00/50.00 82.13/73.33/70.60"
        " 100/100/100",
        "middle": "100/100/99.96 100/100/100 100/100/100 100/99.97/58.33 80.21/77.09/76.61"
        " 100/100/100",
        "output": "100/100/99.98 100/100/100 100/100/100 100/100/100 75.39/74.92/69.64 100/100/100",
        "combined": "100/100/99.99 100/100/100 100/100/100 100/100/100 77.3/72.57/69.52"
        " 100/100/100",
    },
}

#: Per cent of the data that gMINT could learn from, in the order of a cell of `GMINT`.
GMINT_KNOWN = (100, 10, 1)
#: (dataset, setup, model) → accuracies at `GMINT_KNOWN`: Table 2 of DeAlcala et al., gMINT, CVPR
#: Workshops 2025, from the authors' repository at da411bd (its folder of gMINT shows the table as
#: an image). Each evaluation set is balanced, and "combined" reads the layers of all three setups.
GMINT: dict[tuple[str, str, str], tuple[float, float, float]] = {
    (dataset, setup, model): tuple(round(float(one) / 100, 4) for one in printed.split("/"))
    for dataset, setups in _GMINT_PRINTED.items()
    for setup, row in setups.items()
    for model, printed in zip(MODELS, row.split(), strict=True)
}

#: (dataset, model) → passive against active MINT. Known to us from a secondary source, not from
#: the paper's own table; the setup is not stated. Rows that are also in Table 1 agree with Entry.
PASSIVE_ACTIVE: dict[tuple[str, str], Comparison] = {
    ("mnist", "resnet50"): Comparison(0.51, 0.83, 0.97, 0.97),
    ("cifar10", "densenet121"): Comparison(0.60, 0.86, 0.80, 0.80),
    ("cifar10", "resnet50"): Comparison(0.66, 0.86, 0.55, 0.53),
    ("gtsrb", "xception"): Comparison(0.59, 0.86, 0.99, 0.99),
    ("tiny_imagenet", "xception"): Comparison(0.65, 0.88, 0.28, 0.28),
    ("casia_webface", "mobilenet"): Comparison(0.60, 0.86, 0.17, 0.15),
}

#: attack → dataset → accuracy: the paper's comparison with membership inference attacks.
ATTACKS: dict[str, dict[str, float]] = {
    "Salem": {"cifar10": 0.61, "gtsrb": 0.67},
    "Yeom": {"cifar10": 0.64, "gtsrb": 0.79},
    "Watson": {"cifar10": 0.63, "gtsrb": 0.79},
    "Passive MINT": {"cifar10": 0.66, "gtsrb": 0.61},
    "Active MINT": {"cifar10": 0.86, "gtsrb": 0.86},
}


def method_values(
    dataset: str, setup: str, model: str, method: str, target: str | None = "plain"
) -> tuple[float | None, float | None]:
    """Return the MINT and the audited accuracy that the paper has for a method, None where none.

    Active: Table 1, or else the comparisons. Passive and plain: the comparison of passive and
    active MINT, whose setup is not stated. Attacks and passive MINT besides: the comparison with
    attacks, whose model is not stated; there is none of attacks on an active model.
    """
    row = PASSIVE_ACTIVE.get((dataset, model))
    named = ATTACKS.get(_IN_ATTACKS.get(method, ""), {}).get(dataset)
    if method == "active":
        printed = TABLE1.get((dataset, setup, model))
        if printed:
            return printed.mint, printed.audited
        return (row.active, row.audited_with) if row else (named, None)
    if method == "passive":
        return (row.passive, row.audited_alone) if row else (named, None)
    if method == "plain":
        return None, row.audited_alone if row else None
    return (named if target in (None, "plain") else None), None


#: Method → its name in `ATTACKS`.
_IN_ATTACKS = {
    "salem": "Salem",
    "yeom": "Yeom",
    "watson": "Watson",
    "passive": "Passive MINT",
    "active": "Active MINT",
}


def dataset_order(name: str) -> tuple[int, str]:
    """Sort key: the paper's datasets in its order, then the others by name."""
    return _place(name, tuple(DATASETS))


def setup_order(name: str) -> tuple[int, str]:
    """Sort key: entry, middle, output."""
    return _place(name, SETUPS)


def model_order(name: str) -> tuple[int, str]:
    """Sort key: the paper's models in its order, then the others by name."""
    return _place(name, tuple(MODELS))


def _place(name: str, known: tuple[str, ...]) -> tuple[int, str]:
    return (known.index(name), "") if name in known else (len(known), name)

"""What the pages say of published numbers, from `report/paper.py` alone."""

from collections.abc import Iterator

import numpy as np
from said_of_profiles import alone, side_by_side

from amint_core.report import paper


def three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("0.", ".", 1)


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


def said_of_the_stored_runs() -> Iterator[str]:
    for (dataset, model), run in paper.STORED.items():
        swing = f"{three(run.mean)} ± {three(run.deviation)}"
        cells = (f"{paper.DATASETS[dataset]}, {paper.MODELS[model]}", run.epochs, swing)
        yield (f"| {' | '.join(map(str, cells))} | {three(run.at_half)} | {three(run.at_best)} |")
    yield f"known to about ±{paper.NOISE:.2f}"
    (casia,) = (row for (dataset, _), row in paper.PASSIVE_ACTIVE.items() if "casia" in dataset)
    yield f"{casia.active:.2f} for MobileNet".replace("0.", ".", 1)


def said_of_gmint() -> Iterator[str]:
    for setup in (*paper.SETUPS, "combined"):
        cell = paper.GMINT["cifar10", setup, "mobilenet"]
        yield f"| {setup} | {' | '.join(map(percent, cell))} |"
    cells = np.array(list(paper.GMINT.values()))
    yield f"Of its {cells.size} cells {(cells == 1).sum()} are at 100 %"
    worst = {key for key, cell in paper.GMINT.items() if min(cell) == cells.min()}
    assert {model for *_, model in worst} == {"densenet121"}
    yield f"the lowest at {100 * cells.min():.0f} % (DenseNet-121"
    means = {
        dataset: np.mean([cell for key, cell in paper.GMINT.items() if key[0] == dataset])
        for dataset in ("cifar10", "gtsrb", "mnist", "tiny_imagenet")
    }
    titles = (f"{paper.DATASETS[name]} {percent(mean)} %" for name, mean in means.items())
    yield f"by dataset the mean is {', '.join(titles)}"


def said_of_our_gmint() -> Iterator[str]:
    measures = ("auc", "calibrated", "tpr at 0.01")
    places = [("best", name, "plain") for name in ("gmint_filters", "gmint")]
    auc, calibrated = (side_by_side("mobilenet", places, measure) for measure in measures[:2])
    yield f"AUC {' and '.join(auc)}, calibrated accuracy {' and '.join(calibrated)}"
    pairs = (side_by_side("convnet", places, measure) for measure in measures)
    means, norms = zip(*pairs, strict=True)
    yield (
        f"the means have AUC {means[0]}, calibrated accuracy {means[1]} and TPR {means[2]} at 1 % "
        f"FPR, the norms {norms[0]}, {norms[1]} and {norms[2]}"
    )


def said_of_the_expectation() -> Iterator[str]:
    place = ("best", "undeclared_with_loss", "plain")
    values = [alone(profile, place, "auc") for profile in ("convnet", "mobilenet")]
    found = f"{values[0]} on the ConvNet and {values[1]} on MobileNet"
    yield f"it has {found}, less than the loss alone"
    for profile in ("convnet", "mobilenet"):
        both, loss = side_by_side(profile, [place, ("best", "yeom", "undeclared")], "auc")
        assert float(both) < float(loss)


SOURCES = (
    said_of_the_stored_runs,
    said_of_gmint,
    said_of_our_gmint,
    said_of_the_expectation,
)

"""What docs/recipes.md says of the authors' cells, run as their notebooks have them."""

from collections.abc import Iterator

from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.report.paper import TABLE1

FOLDER = project_root() / "results" / "literal"
CELLS = {("mnist", "mobilenet"): "MNIST, MobileNet", ("cifar10", "vit"): "CIFAR-10, ViT"}


def _shown(measure: dict[str, float]) -> str:
    value, low, high = (f"{measure[part]:.3f}"[1:] for part in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def of_rows() -> Iterator[str]:
    """Yield a row for each cell that has been computed."""
    for file in sorted(FOLDER.glob("runs/*/metrics.json")):
        metrics = read_json(file)
        settings = metrics["run"]["settings"]
        name = settings["dataset"], settings["model"]
        paper = TABLE1[name[0], "middle", name[1]]
        epochs, audited = metrics["training"]["epochs"], metrics["audited"]
        assert audited["role"] == "external"
        yield (
            f"| {CELLS[name]} | {epochs} | {_shown(metrics['mint']['accuracy'])} | "
            f"{_shown(audited['accuracy'])} | {paper.mint:.2f} / {paper.audited:.2f} |"
        )


SOURCES = (of_rows,)

"""What the page of methods says of lists of members and of sets of images, from committed files."""

from collections.abc import Iterator

from said_of_table1 import FOLDER, two

from amint_core.evaluation.both_judgements import read_scores
from amint_core.evaluation.sets import power
from amint_core.files import read_json

SIZES = (1, 10, 30, 100)
ALPHA = 0.01
MODELS = {"MobileNet": "mobilenet", "ConvNet": "convnet", "ResNet-50": "resnet50", "ViT": "vit"}


def of_lists() -> Iterator[str]:
    (run,) = (FOLDER / "runs").glob("cifar10-mobilenet-middle-attached-strict-s0-*")
    weights = read_json(run / "metrics.json")["training"]["parameters"]["head"]
    few, many = (2 * weights / members / 1000 for members in (2_000, 20_000))
    many = f"{many:.2f}".lstrip("0")
    yield f"are {few:.1f} kB a member where 2,000 are told apart, {many} kB where 20,000 are"


def of_sets() -> Iterator[str]:
    false_alarms = []
    for title, model in MODELS.items():
        (run,) = (FOLDER / "runs").glob(f"cifar10-{model}-middle-yeom-strict-s0-*")
        metrics = read_json(run / "metrics.json")
        scores = read_scores(FOLDER, run, metrics["data"]["split_file"])
        judged = scores[scores["judged"]]
        sides = (judged.loc[judged["role"] == role, "score"] for role in ("members", "holdout"))
        found = power(*(side.to_numpy() for side in sides), SIZES, ALPHA)
        shares = [metrics["mint"]["auc"]["value"], *(row["found"] for row in found)]
        yield f"| {title} | {' | '.join(map(two, shares))} |"
        false_alarms += [row["false_alarms"] for row in found]
    yield f"a p-value of at most {two(ALPHA)} against half of the judged non-members"
    assert max(false_alarms) <= 0.02
    yield "sets of other non-members reach that in at most .02 of cases"
    yield f"| model | AUC | {' | '.join(map(str, SIZES))} |"


SOURCES = (of_lists, of_sets)

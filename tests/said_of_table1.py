"""What the pages say of results/table1: rows of their tables and phrases, from the files alone."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from amint_core.data import DATASETS
from amint_core.evaluation import paired
from amint_core.evaluation.metrics import Metric
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.report import render
from amint_core.report.sheets import COMPARED

FOLDER = project_root() / "results" / "table1"
TITLES = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "gtsrb": "GTSRB",
    "tiny_imagenet": "Tiny ImageNet",
}
VERDICTS = ("above", "within", "below")
BESIDE_THE_PAPER = ("mint_paper", "mint_paper_calibrated", "paper_mint")
STRICT = ("mint_calibrated", "tpr_at_1pct")


def three(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def two(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1)


def cells() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "tables" / "table1.csv")


def runs() -> pd.DataFrame:
    """A row per run: what it was, and what its metrics say."""
    rows = []
    for file in sorted(FOLDER.glob("runs/*/metrics.json")):
        metrics = read_json(file)
        mint = metrics["mint"] or {}
        rows.append(
            {name: metrics["run"]["settings"][name] for name in SETTINGS}
            | {"calibrated": (mint.get("accuracy_calibrated") or {}).get("value")}
            | {"auc": (mint.get("auc") or {}).get("value")}
            | {"audited": metrics["audited"]["accuracy"]["value"]}
        )
    return pd.DataFrame(rows)


PLACE = ["dataset", "setup", "model"]
SETTINGS = ("dataset", "model", "setup", "method", "seed")


def rows_by_dataset() -> list[list[str]]:
    found = []
    for dataset, own in cells().query("method == 'attached'").groupby("dataset", sort=False):
        reached = int((own["audited"].round(2) >= own["paper_audited"]).sum())
        means = [three(own[name].mean()) for name in (*BESIDE_THE_PAPER, *STRICT)]
        found.append([TITLES[dataset], *means, str(reached)])
    return found


def rows_by_method() -> list[list[str]]:
    found = []
    every = cells()
    attached, joint = (every.query(f"method == '{name}'") for name in ("attached", "active"))
    reached = joint.query("seeds > 0")[PLACE]
    rows = {
        "attached": attached,
        "attached, on the cells that active has": attached.merge(reached),
        "active": joint,
    }
    for title, own in rows.items():
        counts = [
            " / ".join(str((own[column] == verdict).sum()) for verdict in VERDICTS)
            for column in COMPARED
        ]
        share = f"{(own['seeds'] > 0).sum()} of {len(own)}"
        means = [three(own[name].mean()) for name in STRICT]
        audited = three(own["audited"].mean())
        found.append([title, share, *counts, *means, audited])
    return found


def said_of_thresholds() -> Iterator[str]:
    table = cells()
    attached = table.query("method == 'attached'")
    joint = table.query("method == 'active' and seeds > 0")
    at_half, calibrated = "mint_verdict", "mint_paper_calibrated_verdict"

    def count(column: str, verdict: str, own: pd.DataFrame = attached) -> int:
        return int((own[column] == verdict).sum())

    now, before = ([count(column, one) for one in VERDICTS] for column in (calibrated, at_half))
    yield (
        f"At a calibrated threshold {now[0]} of {len(attached)} cells lie above the paper's MINT "
        f"accuracy by more than its noise, {now[1]} within it and {now[2]} below; at probability "
        f".5 it is {before[0]}, {before[1]} and {before[2]}."
    )
    below = attached[attached[calibrated] == "below"]
    assert set(below["dataset"]) == {"mnist"}
    assert "mobilenet" not in set(below["model"])
    yield f"The {len(below)} are deep models on MNIST."
    of_joint = [count(column, "above", joint) for column in (calibrated, at_half)]
    yield (
        f"{now[0]} of {len(attached)} cells of the attached head lie above the paper's MINT "
        f"accuracy at a calibrated threshold, and {before[0]} at probability .5; of the joint "
        f"training {of_joint[0]} of {len(joint)}, and {of_joint[1]}."
    )
    means = (three(attached[name].mean()) for name in ("mint_paper_calibrated", "mint_calibrated"))
    yield (
        "the mean accuracy is {} against official test images and {} against holdout images"
    ).format(*means)


def _range(values: pd.Series) -> str:
    return f"{two(values.min())} to {two(values.max())}"


def said_of_cifar10() -> Iterator[str]:
    own = cells().query("method == 'attached' and dataset == 'cifar10'")
    gain = (own["audited"].round(2) - own["paper_audited"]).round(2)
    models = (own["model"][gain.idxmin()], own["model"][gain.idxmax()])
    assert models == ("densenet121", "vit")
    yield f"the audited accuracy by {two(gain.min())} (DenseNet-121) to {two(gain.max())} (ViT)"
    (cell,) = own.query("model == 'mobilenet' and setup == 'middle'").to_dict("records")
    assert cell["seeds"] == 3
    yield (
        f"calibrated accuracy {three(cell['mint_calibrated'])} (three seeds, standard deviation "
        f"{three(cell['mint_spread'])}) and TPR {two(cell['tpr_at_1pct'])} at 1 % FPR"
    )
    everything = own["audited"] >= own["paper_audited"]
    for column in ("mint_paper", "mint_paper_calibrated"):
        everything &= own[column] >= own["paper_mint"]
    yield (
        f"On CIFAR-10 all {everything.sum()} cells lie at or above the paper's in both numbers, at "
        "either threshold"
    )


def said_of_the_joint_stage() -> Iterator[str]:
    table = runs().query("dataset == 'cifar10' and setup == 'middle'")
    means = table.groupby(["model", "method"])[["calibrated", "audited"]].mean()
    mint, audited = means["calibrated"], means["audited"]

    def pair(values: pd.Series, model: str, other: str) -> str:
        return f"{three(values[model, 'active'])} against {three(values[model, other])}"

    first = f"{three(mint['mobilenet', 'active'])} (active) against "
    first += f"{three(mint['mobilenet', 'attached'])} (attached, three seeds) on MobileNet"
    others = (("resnet50", "ResNet-50"), ("vit", "ViT"), ("convnet", "ConvNet"))
    rest = (f"{pair(mint, model, 'attached')} on {title}" for model, title in others)
    yield ", ".join([f"calibrated accuracy is {first}", *rest])
    named = (("mobilenet", "MobileNet"), *others[:2])
    attached = (
        f"{three(mint[model, 'attached'])} against {three(mint[model, 'active'])} ({title})"
        for model, title in named
    )
    yield f"calibrated accuracy {', '.join(attached)}"
    costs = {model: price(model) for model in ("mobilenet", *dict(others))}
    told = [
        f"{title} {pair(audited, model, 'joint')} ({signed(costs[model])})"
        for model, title in others
    ]
    assert all(costs[model]["low"] < 0 < costs[model]["high"] for model, _ in others)
    yield f"{', '.join(told)}: none that these test images can show"
    assert costs["mobilenet"]["low"] > 0
    yield f"{pair(audited, 'mobilenet', 'joint')} ({signed(costs['mobilenet'])})"


def said_of_low_rates() -> Iterator[str]:
    attached = cells().query("method == 'attached'")
    means = attached.groupby("dataset")["tpr_at_1pct"].mean()
    high, low = (
        " and ".join(three(means[name]) for name in names)
        for names in (("cifar10", "tiny_imagenet"), ("mnist", "gtsrb"))
    )
    yield f"where TPR at 1 % FPR is {high} on average over the cells"
    yield f"not on MNIST and GTSRB, where it is {low}"
    own = attached.query("dataset == 'cifar10'").set_index("setup")["tpr_at_1pct"]
    assert own.idxmin() == "output"
    yield f"over its {len(own)} cells TPR at 1 % FPR goes down to {two(own.min())} (output taps)"


def said_of_both_ways() -> Iterator[str]:
    values = ["mint_calibrated", "audited", "epochs"]
    both = cells().pivot_table(index=PLACE, columns="method", values=values).dropna()
    own = both["mint_calibrated"]
    ahead = own["attached"] - own["active"]
    assert (ahead.idxmax(), ahead.idxmin()) == (
        ("gtsrb", "middle", "resnet50"),
        ("mnist", "middle", "vit"),
    )
    most, least = own.loc[ahead.idxmax()], own.loc[ahead.idxmin()]
    numbers = len(own), (ahead > 0).sum(), (ahead < 0).sum()
    yield "Of the {} cells that have both, the attached head calibrates better in {} ".format(
        *numbers
    ) + (
        f"(most on GTSRB's ResNet-50, {three(most['attached'])} against {three(most['active'])}), "
        f"the one that learnt jointly in {numbers[2]} "
        f"(most on MNIST's ViT, {three(least['active'])} against {three(least['attached'])})"
    )
    fewer, audited = both["epochs"], both["audited"]
    assert (fewer["active"] < fewer["attached"]).all()
    assert (audited["active"] < audited["attached"]).all()
    yield (
        f"fewer passes in each of the {numbers[0]}, and classifies less well in each, on average "
        f"{three(audited['active'].mean())} against {three(audited['attached'].mean())}"
    )
    yield (
        f"Of the {numbers[0]} cells of Table 1 that have both, it calibrates better in "
        f"{numbers[1]}, the head that learnt jointly in {numbers[2]}"
    )


def price(model: str) -> Metric:
    """Audited accuracy with the MINT loss minus without it, on CIFAR-10's test images."""
    return paired.share_difference(*(_right(model, method) for method in ("active", "joint")))


def _right(model: str, method: str) -> np.ndarray:
    (run,) = FOLDER.glob(f"runs/cifar10-{model}-middle-{method}-strict-s0-*")
    split = pd.read_parquet(
        FOLDER / "splits" / read_json(run / "metrics.json")["data"]["split_file"]
    )
    test = split["role"] == "test"
    predicted = pd.read_parquet(run / "scores.parquet")["predicted"]
    return (predicted[test] == split.loc[test, "label"]).to_numpy()


def signed(metric: Mapping[str, float]) -> str:
    """A difference with its interval, as the pages print it."""
    return render.signed_interval(*(metric[part] for part in ("value", "low", "high")))


def said_of_the_loss_attack() -> Iterator[str]:
    table = runs()
    cifar, tiny = (table.query(f"dataset == '{name}'") for name in ("cifar10", "tiny_imagenet"))
    yeom, head = (cifar.query(f"method == '{name}'")["auc"] for name in ("yeom", "attached"))
    yield f"AUC {_range(yeom)} on CIFAR-10, where the attached head has {_range(head)}."
    known = tiny.query("method == 'yeom' and model in ('resnet50', 'resnet101', 'xception')")
    yield f"it is as good ({_range(known['auc'])})."


def said_of_what_falls_short() -> Iterator[str]:
    table = cells().query("method == 'attached'")
    digits, signs = (table.query(f"dataset == '{name}'") for name in ("mnist", "gtsrb"))
    mobilenet = digits["model"] == "mobilenet"
    calibrated = digits["mint_calibrated"]
    yield (
        f"Calibrated {_range(calibrated[mobilenet])} on MobileNet, but "
        f"{_range(calibrated[~mobilenet])} on the others"
    )
    yield f"audited {_range(signs['audited'])} against {_range(signs['paper_audited'])}."
    yield f"MINT is calibrated {_range(signs['mint_calibrated'])}."
    (tiny,) = table.query(
        "dataset == 'tiny_imagenet' and model == 'densenet121' and setup == 'middle'"
    ).to_dict("records")
    yield f"classifies {three(tiny['audited'])} against {two(tiny['paper_audited'])}"
    own = table[table["dataset"] != "tiny_imagenet"]
    means = own[["mint_calibrated", "tpr_at_1pct"]].mean()
    reached = (own["audited"].round(2) >= own["paper_audited"]).sum()
    yield (
        f"over the {len(own)} cells at the paper's members they are {three(means.iloc[0])} and "
        f"{three(means.iloc[1])}, and {reached} of {len(own)}"
    )
    each = table.groupby("dataset")[["mint_calibrated", "tpr_at_1pct"]].mean()
    assert set(each.index[each["mint_calibrated"] >= 0.98]) == {"cifar10", "tiny_imagenet"}
    assert (each["tpr_at_1pct"] < 0.95).all()
    cifar = table[table["dataset"] == "cifar10"].set_index(["setup", "model"])["tpr_at_1pct"]
    low = cifar.loc["output"][["resnet50", "resnet101", "xception"]]
    assert cifar[cifar < 0.7].size == len(low)
    yield "(ResNet-50 {}, ResNet-101 {}, Xception {})".format(*map(two, low))
    files = list(FOLDER.glob("runs/gtsrb-*-attached-*/metrics.json"))
    rates = [read_json(file)["mint"]["tpr_at_fpr"]["0.01"] for file in files]
    assert all(rate["low"] == 0 for rate in rates)
    yield f"by track its interval begins at 0 in all {len(rates)} cells"
    rates = table[["false_positives", "false_positives_without_twins"]].mean()
    yield f"the means over {len(table)} cells are {' and '.join(map(three, rates))}."


def said_of_sizes() -> Iterator[str]:
    sizes: dict[str, dict[str, int]] = {}
    for file in FOLDER.glob("runs/*/metrics.json"):
        data = read_json(file)["data"]
        sizes.setdefault(data["dataset"], data["sizes"])
        assert sizes[data["dataset"]] == data["sizes"]
    # Of the paper's notebooks: external images.
    of_notebooks = {"mnist": 35_000, "cifar10": 30_000, "gtsrb": 15_640}
    external = [
        f"{sizes[name]['external']:,} on {TITLES[name]} ({theirs:,})"
        for name, theirs in of_notebooks.items()
    ]
    tiny = sizes["tiny_imagenet"]
    yield f"{', '.join(external)}, {tiny['external']:,} on {TITLES['tiny_imagenet']}."
    official = {name: DATASETS[name].official_sizes["test"] for name in sizes}
    for name in ("mnist", "cifar10"):
        assert sizes[name]["test"] == official[name]
    yield (
        f"GTSRB has {sizes['gtsrb']['test']:,} of {official['gtsrb']:,} here, Tiny ImageNet "
        f"{tiny['test']:,} of its {official['tiny_imagenet']:,} validation images"
    )


SOURCES = (
    said_of_sizes,
    said_of_thresholds,
    said_of_cifar10,
    said_of_the_joint_stage,
    said_of_both_ways,
    said_of_low_rates,
    said_of_the_loss_attack,
    said_of_what_falls_short,
)

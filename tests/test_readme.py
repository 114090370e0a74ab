"""What the README says holds: its code runs, its numbers are those of the committed results."""

import re

import pandas as pd
import pytest
import torch

from amint_core.batch.grid import NOTEBOOKS
from amint_core.files import read_json
from amint_core.locations import project_root

ROOT = project_root()
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLE1 = ROOT / "results" / "laptop" / "tables" / "table1.csv"


def test_the_method_in_15_lines_runs():
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    assert len(code.strip().splitlines()) <= 15
    members, external = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)
    names = {"batches": [(members, torch.tensor([0, 1, 2, 3]), external)], "images": members}
    exec(code, names)
    assert names["is_member"].shape == (4,)
    assert names["is_member"].dtype == torch.bool


def test_every_link_into_the_repository_leads_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing


def test_every_notebook_has_a_row():
    present = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(NOTEBOOKS.values()) | {"aMINTViT", "aMINTResults"} == present
    assert all(f"(notebooks/{name}.ipynb)" in README for name in present)


MEASURES = ["mint_accuracy", "accuracy_calibrated", "auc", "tpr_at_1pct_fpr", "audited_accuracy"]
COMPARISON = ROOT / "results" / "comparison" / "tables" / "comparison.csv"
LAPTOP = ROOT / "results" / "laptop" / "tables" / "comparison.csv"
TRANSFORMATIONS = ROOT / "results" / "comparison" / "tables" / "transformations.csv"


def rows(header="| dataset | setup |"):
    """Rows of the README's table that starts with `header`, cell by cell as printed."""
    lines = README[README.index(header) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def printed(value):
    return "–" if pd.isna(value) else f"{value:.3f}".replace("0.", ".", 1)


@pytest.mark.parametrize("row", rows(), ids=lambda row: "-".join(row[:3]))
def test_the_table_of_results_is_the_committed_one(row):
    table = pd.read_csv(TABLE1)
    table = table[table["mint_accuracy"].notna() & (table["recipe"] == "fixed")]
    dataset, setup, model, mint, calibrated, auc, tpr, audited, paper, _ = row
    found = table[
        (table["dataset"] == dataset) & (table["setup"] == setup) & (table["model"] == model)
    ]
    assert len(found) == 1
    (one,) = found.to_dict("records")
    assert [mint, calibrated, auc, tpr, audited] == [printed(one[name]) for name in MEASURES]
    values = [one["paper_mint_accuracy"], one["paper_audited_accuracy"]]
    assert paper == " / ".join(f"{value:.2f}".replace("0.", ".", 1) for value in values)


def test_the_table_of_results_shows_every_run():
    table = pd.read_csv(TABLE1)
    ran = table["mint_accuracy"].notna() & (table["recipe"] == "fixed")
    assert len(rows()) == int(ran.sum())


METHOD_ROWS = "| test | accuracy at its own threshold |"
TARGET_ROWS = "| attack | AUC on the plain model |"
RECIPE_ROWS = "| recipe | exact |"


LARGE_ROWS = "| of 5,000 members | calibrated |"
TESTS_ROWS = "| other test | exact |"


def of_best(members=2_000):
    table = pd.read_csv(COMPARISON)
    cifar = (table["recipe"] == "best") & (table["dataset"] == "cifar10")
    found = table[cifar & (table["members"] == members)]
    return found[found["cell"] == found["cell"].mode()[0]]  # the one that all methods are run in


@pytest.mark.parametrize("row", rows(METHOD_ROWS), ids=lambda row: row[0])
def test_the_table_of_methods_is_the_committed_one(row):
    table = of_best()
    found = table[(table["method_title"] == row[0]) & (table["target"] != "active")]
    assert len(found) == 1
    (one,) = found.to_dict("records")
    assert row[1:] == [*(printed(one[name]) for name in MEASURES), str(one["seeds"])]


def test_the_table_of_methods_shows_every_method():
    assert len(rows(METHOD_ROWS)) == int((of_best()["target"] != "active").sum())


def test_the_table_of_five_thousand_members_is_the_committed_one():
    found = of_best(5_000)
    told = [
        [one["method_title"], *(printed(one[name]) for name in MEASURES[1:])]
        for one in found.to_dict("records")
    ]
    assert rows(LARGE_ROWS) == told
    assert len(told) > 1


@pytest.mark.parametrize("row", rows(TARGET_ROWS), ids=lambda row: row[0])
def test_the_table_of_targets_is_the_committed_one(row):
    table = of_best()
    found = table[table["method_title"] == row[0]].set_index("target")
    measures = ("auc", "tpr_at_1pct_fpr")
    assert row[1:] == [
        printed(found[m][target]) for m in measures for target in ("plain", "active")
    ]


def test_the_table_of_targets_shows_every_attack_on_the_active_model():
    assert len(rows(TARGET_ROWS)) == int((of_best()["target"] == "active").sum()) > 0


@pytest.mark.parametrize("row", rows(RECIPE_ROWS), ids=lambda row: row[0] + row[-1])
def test_the_table_of_recipes_is_the_committed_one(row):
    header = README[README.index(RECIPE_ROWS) :].splitlines()[0]
    names = [cell.strip() for cell in header.strip("|").split("|")][1:-1]
    table = pd.read_csv(TRANSFORMATIONS)
    of_recipe = table[(table["recipe"] == row[0].strip("`")) & (table["method"] == "active")]
    told = [
        [*(printed(group["auc"].get(name)) for name in names), str(group["seeds"].iloc[0])]
        for _, group in of_recipe.set_index("transformation").groupby("variant", dropna=False)
    ]
    assert row[1:] in told


def test_the_table_of_recipes_shows_every_recipe_measured():
    assert {row[0].strip("`") for row in rows(RECIPE_ROWS)} == set(
        pd.read_csv(TRANSFORMATIONS)["recipe"]
    )


def test_the_table_of_tests_on_transformed_images_is_the_committed_one():
    names = [cell.strip() for cell in README[README.index(TESTS_ROWS) :].split("|")[2:]]
    names = names[: names.index("")]
    table = pd.read_csv(TRANSFORMATIONS)
    table = table[table["method"] != "active"]
    titles = of_best().set_index("method")["method_title"]
    told = [
        [titles[titles.index == method].iloc[0], *(printed(group["auc"].get(n)) for n in names)]
        for method, group in table.set_index("transformation").groupby("method", sort=False)
    ]
    assert rows(TESTS_ROWS) == told
    assert len(told) > 1


def test_the_table_of_lambda_is_the_committed_one():
    table = pd.read_csv(COMPARISON.parent / "lambda.csv")
    measures = ("accuracy_calibrated", "auc", "tpr_at_1pct_fpr", "audited_accuracy")
    expected = [
        [f"{row['lambda_mint']:g}", *(printed(row[name]) for name in measures), str(row["seeds"])]
        for row in table.to_dict("records")
    ]
    assert rows("| λ | calibrated |") == expected
    assert (
        f"trained alone the classifier reaches {printed(table['plain_audited_accuracy'][0])}:"
        in (README)
    )


@pytest.mark.parametrize("row", rows("| `best` on |"), ids=lambda row: row[0])
def test_the_table_of_other_datasets_is_the_committed_one(row):
    table = pd.read_csv(LAPTOP)
    titles = {"MNIST": "mnist", "GTSRB, by track, 32 pixels": "gtsrb"}
    table = table[(table["recipe"] == "best") & (table["dataset"] == titles[row[0]])]
    (active,) = table[table["method"] == "active"].to_dict("records")
    plain = table.loc[table["method"] == "plain", "audited_accuracy"]
    assert row[1:6] == [printed(active[name]) for name in MEASURES]
    assert row[6] == (printed(plain.iloc[0]) if len(plain) else "–")


def test_what_is_said_to_hold_is_what_was_found():
    found = of_best().set_index(["method", "target"])["audited_accuracy"]
    audited = found.groupby("method").first()
    says = re.search(r"audited accuracy (\S+) against (\S+) alone", README).groups()
    assert says == (printed(audited["active"]), printed(audited["plain"]))
    tpr = of_best(5_000).set_index("method")["tpr_at_1pct_fpr"]
    assert f"1 % FPR {printed(tpr['active'])} against {printed(tpr['yeom'])}." in README
    (active,) = of_best()[of_best()["method"] == "active"].to_dict("records")
    says = re.search(r"`best` is right about (\d+) %", README).group(1)
    assert says == f"{100 * active['precision_at_1pct_prior']:.0f}"


def test_what_is_said_of_the_blind_control_is_what_was_found():
    table = pd.read_csv(COMPARISON)
    blind = table[(table["dataset"] == "gtsrb") & (table["method"] == "blind")]
    told = [
        f"{printed(row['auc'])} [{printed(row['auc_low'])}, {printed(row['auc_high'])}] "
        f"with {row['members']:,} members"
        for _, row in blind.sort_values("members").iterrows()
    ]
    assert len(told) == 2
    assert f"its AUC is {' and '.join(told)}." in README


def test_what_is_said_of_single_defects_is_what_was_found():
    table = pd.read_csv(ROOT / "results" / "comparison" / "tables" / "ablation.csv")
    table = table[table["base_recipe"] == "fixed"]
    (base,) = table[table["setting"].isna()].to_dict("records")
    defects = table[table["setting"] == "defects"].set_index("switched")
    assert len(defects) == 7
    separate, none = (
        printed(defects["auc"][name]) for name in ("separate_batches", "scaled_mint_loss")
    )
    assert f"(AUC {printed(base['auc'])} → {separate})" in README
    assert f"defect 6 switches MINT off altogether ({none})" in README
    wrong = printed(defects["mint_accuracy"]["sampled_members"])
    assert f"from {printed(base['mint_accuracy'])} to {wrong} with the same model" in README


def test_what_is_said_of_casias_size_is_what_was_found():
    folder = ROOT / "results" / "benchmarks"
    whole = read_json(folder / "casia_scale.json")
    part = read_json(folder / "casia_scale_4944.json")
    sizes = [found["phases"]["decode"]["private_mib"] for found in (whole, part)]
    assert f"at most {sizes[0]:.0f} MiB of private memory, {sizes[1]:.0f} MiB of them" in README
    assert f"splitting {whole['phases']['split']['private_mib']:.0f} MiB" in README
    assert f"the {whole['images'] * 64 * 64 * 3 / 2**30:.1f} GiB of pixels" in README
    grown = 1024 * (sizes[0] - sizes[1]) / (whole["images"] - part["images"])
    assert f"{grown:.1f} KiB of names and hashes an image" in README
    trained = [found["phases"]["train"]["private_mib"] / 1024 for found in (whole, part)]
    assert f"took {trained[0]:.1f} GiB of private memory in fp32, {trained[1]:.1f} GiB" in README

"""README and docs/ are right: code runs, links lead somewhere, numbers are the committed ones."""

import re
import tomllib
import unicodedata

import pandas as pd
import pytest
import said_of_convnet
import said_of_deployable
import said_of_ensemble
import said_of_growth
import said_of_lists_and_sets
import said_of_literal
import said_of_mobilenet
import said_of_own_models
import said_of_paper
import said_of_robust
import said_of_speedrun
import said_of_table1
import torch

from amint_core.batch.grid import NOTEBOOKS, grid_file, load_grid
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.report import paper
from amint_core.run.recorded import DISK_BUDGET

ROOT = project_root()
#: Page → its text; paths from the project's folder on.
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
#: Other pages that a reader is sent to.
OTHERS = ("data/README.md", "benchmarks/LOG.md")
README = PAGES["README.md"]
TEXT = "\n\n".join(PAGES.values())
TABLE1 = ROOT / "results" / "laptop" / "tables" / "table1.csv"


def test_the_page_of_datasets_names_what_the_committed_results_were_made_of():
    found = set()
    for file in (ROOT / "results").glob("*/runs/*/metrics.json"):
        data = read_json(file)["data"]
        if data["source"] == "real":
            found.add((data["dataset"], data["fingerprint"][:16]))
    rows = re.findall(
        r"^\| `(\w+)` \| .* \| ([0-9a-f]{16}) \|$", (ROOT / "data/README.md").read_text(), re.M
    )
    assert set(rows) == found


def test_readme_is_one_page():
    assert len(README.splitlines()) <= 200


def the_method(**names):
    """Run the code of the method with these names, and return all that it leaves."""
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    assert len(code.strip().splitlines()) <= 15
    exec(code, names)
    return names


def test_the_method_in_15_lines_accuses_members_and_hardly_a_stranger():
    members, external = torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)
    strangers = torch.randn(1000, 3, 32, 32)
    left = the_method(
        batches=[(members, torch.tensor([0, 1, 2, 3]), external)] * 20,
        images=torch.cat([members, strangers[:600]]),
        calibration=strangers[600:],
    )["is_member"]
    assert (left.shape, left.dtype) == ((604,), bool)
    assert left[:4].all()
    assert left[4:].mean() <= 0.02


def test_the_distribution_is_called_what_readme_calls_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"the distribution is called `{project['name']}`" in README
    extras = re.search(r"the extras (.+?) bring the rest", README).group(1)
    assert re.findall(r"`(\w+)`", extras) == list(project["optional-dependencies"])


def anchors(text):
    """Names of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    kept = (
        "".join(c for c in name.lower() if c in " -_" or unicodedata.category(c)[0] in "LN")
        for name in headings
    )
    return {name.replace(" ", "-") for name in kept}


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_every_link_into_the_repository_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    assert links or page in OTHERS
    missing = []
    for link in links:
        name, _, heading = link.partition("#")
        path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        there = path.exists() and path.is_relative_to(ROOT)
        if not there or (heading and heading not in anchors(path.read_text(encoding="utf-8"))):
            missing.append(link)
    assert not missing


def test_readme_leads_to_every_page():
    assert [page for page in PAGES if page != "README.md" and f"({page})" not in README] == []


def test_the_architecture_names_every_folder():
    named = re.findall(r"^\| \[`([a-z_/]+)/`\]", PAGES["docs/architecture.md"], re.M)
    rooms = {path.parent.name for path in (ROOT / "amint_core").glob("*/__init__.py")}
    assert {f"amint_core/{room}" for room in rooms} <= set(named)
    assert {path.parent.name for path in ROOT.glob("*/*.ipynb")} <= set(named)
    assert {"config", "workflow", "benchmarks", "tests", "data", "results", "docs"} <= set(named)


def test_the_architecture_names_every_file_of_a_run():
    from amint_core.run.folder import FILES

    part = PAGES["docs/architecture.md"].split("| file | holds |")[1].split("\n\n")[0]
    named = re.findall(r"^\| `([a-z_.]+)` \|", part, re.M)
    assert set(named) == {*FILES, "notebook.ipynb"}


def test_names_in_the_tables_are_those_that_settings_take():
    from amint_core.methods import METHODS
    from amint_core.recipes import DEFECTS, RECIPES

    methods = PAGES["docs/methods.md"].split("| method |")[1].split("\n\n")[0]
    named = re.findall(r"`(\w+)`", methods.replace("|---", ""))
    lacking = [name for name in METHODS if name not in named]
    assert not lacking, f"docs/methods.md, first table, lacks {lacking}"
    assert named == list(METHODS), "docs/methods.md, first table, is not in the registry's order"
    recipes = PAGES["docs/recipes.md"].split("| recipe |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", recipes, re.M) == list(RECIPES)
    defects = PAGES["docs/recipes.md"].split("| switch |")[1].split("\n\n")[0]
    switches = dict(re.findall(r"^\| (\d+) \|.*\| `(\w+)` \|$", defects, re.M))
    assert switches == {one.effect.split(":")[0]: name for name, one in DEFECTS.items()}


def test_every_notebook_has_a_row():
    present = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    others = {"aMINTViT", "aMINTTable1", "aMINTResults", "aMINTAudit", "aMINTOwnModel"}
    assert set(NOTEBOOKS.values()) | others == present
    assert all(f"(notebooks/{name}.ipynb)" in README for name in present)


def test_data_describes_every_dataset():
    from amint_core.data import DATASETS

    page = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    lines = page.split("| name | folder |")[1].split("\n\n")[0].splitlines()[2:]
    described = {row[0].strip("`"): row[2:5] for row in map(cells, lines)}
    assert list(described) == list(DATASETS)
    for name, spec in DATASETS.items():
        sizes = spec.official_sizes
        # CASIA-WebFace's test images are set aside from the pool.
        parts = sizes.values() if name != "casia_webface" else [sum(sizes.values())]
        side = f"{spec.image_size}×{spec.image_size}×{spec.channels}"
        images = " + ".join(f"{count:,}" for count in parts)
        assert described[name] == [images, f"{spec.num_classes:,}", side]
    for name in ("tiny_imagenet", "casia_webface"):
        spec = DATASETS[name]
        size = sum(spec.official_sizes.values()) * spec.image_size**2 * spec.channels
        assert f"{size / 1e9:.1f} GB for {spec.title}" in " ".join(page.split())


TABLE1_ROWS = "| dataset | setup |"
METHOD_ROWS = "| test | accuracy at its own threshold |"
TARGET_ROWS = "| attack | AUC on the plain model |"
RECIPE_ROWS = "| recipe | exact |"
LARGE_ROWS = "| of 5,000 members | calibrated |"
TESTS_ROWS = "| other test | exact |"
LAMBDA_ROWS = "| λ | calibrated |"
DATASET_ROWS = "| `best` on |"
ATTACHED_ROWS = "| attached, 18 cells each |"
REACHED_ROWS = "| method | cells reached |"
CONVNET_ROWS = "| recipe | test | AUC | calibrated |"
IN_README_ROWS = "| test, on a ConvNet | AUC |"
MOBILENET_ROWS = "| recipe | test, on MobileNet | AUC |"
MOVED_ROWS = "| recipe | test | exact |"
DEPLOYABLE_ROWS, ITS_MOVED_ROWS = "| test | AUC | calibrated |", "| test | exact | flip |"
ENSEMBLE_ROWS, ENSEMBLE_MOVED_ROWS = "| heads | AUC |", "| heads | exact |"
ROBUST_ROWS, ROBUST_MOVED_ROWS = "| the head sees | AUC |", "| the head sees | exact |"
TABLES = (
    *(TABLE1_ROWS, METHOD_ROWS, TARGET_ROWS, RECIPE_ROWS, LARGE_ROWS, TESTS_ROWS, LAMBDA_ROWS),
    *(
        DATASET_ROWS,
        ATTACHED_ROWS,
        REACHED_ROWS,
        CONVNET_ROWS,
        IN_README_ROWS,
        MOBILENET_ROWS,
        MOVED_ROWS,
    ),
    *(DEPLOYABLE_ROWS, ITS_MOVED_ROWS, ROBUST_ROWS, ROBUST_MOVED_ROWS),
    *(ENSEMBLE_ROWS, ENSEMBLE_MOVED_ROWS),
)
MEASURES = ["mint_accuracy", "accuracy_calibrated", "auc", "tpr_at_1pct_fpr", "audited_accuracy"]
COMPARISON = ROOT / "results" / "comparison" / "tables" / "comparison.csv"
LAPTOP = ROOT / "results" / "laptop" / "tables" / "comparison.csv"
TRANSFORMATIONS = ROOT / "results" / "comparison" / "tables" / "transformations.csv"


def block(header):
    """The pages' only table that starts with `header`, as text."""
    assert TEXT.count(f"\n{header}") == 1
    return TEXT[TEXT.index(f"\n{header}") + 1 :].split("\n\n")[0].rstrip()


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows(header):
    """Rows of the table that starts with `header`, cell by cell as printed."""
    return [cells(line) for line in block(header).splitlines()[2:]]


def columns(header):
    return cells(block(header).splitlines()[0])


def printed(value, places=3):
    return "–" if pd.isna(value) else f"{value:.{places}f}".replace("0.", ".", 1)


def short(value):
    return f"{value:.2f}".replace("0.", ".", 1)


@pytest.mark.parametrize("row", rows(TABLE1_ROWS), ids=lambda row: "-".join(row[:3]))
def test_the_table_of_results_is_the_committed_one(row):
    table = pd.read_csv(TABLE1)
    table = table[table["mint_accuracy"].notna() & (table["recipe"] == "fixed")]
    dataset, setup, model, mint, calibrated, auc, tpr, audited, of_paper, hours = row
    found = table[
        (table["dataset"] == dataset) & (table["setup"] == setup) & (table["model"] == model)
    ]
    assert len(found) == 1
    (one,) = found.to_dict("records")
    assert [mint, calibrated, auc, tpr, audited] == [printed(one[name]) for name in MEASURES]
    values = [one["paper_mint_accuracy"], one["paper_audited_accuracy"]]
    assert of_paper == " / ".join(short(value) for value in values)
    assert hours == short(one["seconds"] / 3600)


def test_the_table_of_results_shows_every_run():
    table = pd.read_csv(TABLE1)
    ran = table["mint_accuracy"].notna() & (table["recipe"] == "fixed")
    assert len(rows(TABLE1_ROWS)) == int(ran.sum())


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
    names = columns(RECIPE_ROWS)[1:-1]
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
    names = columns(TESTS_ROWS)[1:]
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
    assert rows(LAMBDA_ROWS) == expected


@pytest.mark.parametrize("row", rows(DATASET_ROWS), ids=lambda row: row[0])
def test_the_table_of_other_datasets_is_the_committed_one(row):
    table = pd.read_csv(LAPTOP)
    titles = {"MNIST": "mnist", "GTSRB, by track, 32 pixels": "gtsrb"}
    table = table[(table["recipe"] == "best") & (table["dataset"] == titles[row[0]])]
    (active,) = table[table["method"] == "active"].to_dict("records")
    plain = table.loc[table["method"] == "plain", "audited_accuracy"]
    assert row[1:6] == [printed(active[name]) for name in MEASURES]
    assert row[6] == (printed(plain.iloc[0]) if len(plain) else "–")


def test_the_tables_of_all_cells_are_the_committed_ones():
    assert rows(ATTACHED_ROWS) == said_of_table1.rows_by_dataset()
    assert rows(REACHED_ROWS) == said_of_table1.rows_by_method()


def test_the_tables_of_a_model_that_one_would_use_are_of_the_committed_runs():
    assert block(CONVNET_ROWS).splitlines()[2:] == list(said_of_convnet.of_all_rows())
    assert block(IN_README_ROWS).splitlines()[2:] == list(said_of_convnet.of_readme())
    assert block(MOVED_ROWS).splitlines()[2:] == list(said_of_convnet.of_transformed())


def test_the_table_of_the_same_runs_on_mobilenet_is_of_the_committed_runs():
    assert block(MOBILENET_ROWS).splitlines()[2:] == list(said_of_mobilenet.of_all_rows())


def test_the_rows_of_a_classifier_that_one_would_deploy_are_its_runs():
    assert block(DEPLOYABLE_ROWS).splitlines()[2:] == list(said_of_deployable.of_all_rows())
    assert block(ITS_MOVED_ROWS).splitlines()[2:] == list(said_of_deployable.of_transformed())


def test_the_rows_of_members_that_were_encoded_anew_are_of_the_committed_runs():
    assert block(ROBUST_ROWS).splitlines()[2:] == list(said_of_robust.of_all_rows())
    assert block(ENSEMBLE_ROWS).splitlines()[2:] == list(said_of_ensemble.of_all_rows())
    assert block(ENSEMBLE_MOVED_ROWS).splitlines()[2:] == list(said_of_ensemble.of_transformed())
    assert block(ROBUST_MOVED_ROWS).splitlines()[2:] == list(said_of_robust.of_transformed())


def said_to_hold():
    weights = pd.read_csv(COMPARISON.parent / "lambda.csv").set_index("lambda_mint")
    of_weight = weights["audited_accuracy"]
    yield f"falls from {printed(of_weight[0.1])} to {printed(of_weight[10])} as the weight"
    assert of_weight[0.1] > of_weight[1] > of_weight[10]
    tpr = of_best(5_000).set_index("method")["tpr_at_1pct_fpr"]
    yield f"1 % FPR {printed(tpr['active'])} against {printed(tpr['yeom'])}."
    laptop = pd.read_csv(LAPTOP).set_index(["dataset", "method", "recipe"])
    low, high = (
        printed(laptop.loc["gtsrb", "active", "best"][f"tpr_at_1pct_fpr_{end}"])
        for end in ("low", "high")
    )
    yield f"The TPR on signs has an interval of [{low}, {high}]"
    yeom = short(paper.ATTACKS["Yeom"]["cifar10"])
    convnet = pd.read_csv(project_root() / "results" / "convnet" / "tables" / "comparison.csv")
    (own,) = convnet.query("recipe == 'best' and method == 'yeom' and target == 'plain'").to_dict(
        "records"
    )
    yield (
        f"Its accuracy at its own threshold is {printed(own['mint_accuracy'])}; the paper has "
        f"{yeom}, at ten times the members"
    )


def said_of_passive_mint():
    auc = of_best().groupby("method")["auc"].first()
    yield (
        f"passive MINT has AUC {printed(auc['passive_unseen'])} here where it is judged on members "
        f"that its head never saw, and {printed(auc['passive'])} where its head was told of them."
    )
    row = paper.PASSIVE_ACTIVE["cifar10", "resnet50"]
    told = short(row.passive), short(row.active)
    yield f"({told[0]} against {told[1]} on CIFAR-10, ResNet-50)"


def said_of_the_blind_control():
    table = pd.read_csv(COMPARISON)
    blind = table[(table["dataset"] == "gtsrb") & (table["method"] == "blind")]
    told = [
        f"{printed(row['auc'])} [{printed(row['auc_low'])}, {printed(row['auc_high'])}] "
        f"with {row['members']:,} members"
        for _, row in blind.sort_values("members").iterrows()
    ]
    assert len(told) == 2
    yield f"its AUC is {' and '.join(told)}."


def said_of_single_defects():
    table = pd.read_csv(COMPARISON.parent / "ablation.csv")
    table = table[table["base_recipe"] == "fixed"]
    (base,) = table[table["setting"].isna()].to_dict("records")
    defects = table[table["setting"] == "defects"].set_index("switched")
    separate, none = (
        printed(defects["auc"][name]) for name in ("separate_batches", "scaled_mint_loss")
    )
    yield f"separate batches cost AUC {printed(base['auc'])} → {separate}"
    yield f"defect 6 switches MINT off altogether ({none})"
    yield f"tells nothing (AUC {none} below)"
    names = ("first_batch_balance", "frozen_batchnorm")
    first, frozen = (difference(defects.loc[name], sign=-1) for name in names)
    yield (
        f"The balance by the first batch costs audited accuracy {first} and a frozen BatchNorm "
        f"{frozen}, with no loss in AUC;"
    )
    assert (defects["auc_difference_high"][list(names)] > 0).all()
    changes_little = defects.loc["threshold_on_judged"]
    assert abs(changes_little["accuracy_calibrated_difference"]) < 0.01


def said_of_the_authors_headline():
    # Counted from what their CIFAR notebook prints: 157 batches of 64 members, the whole test set.
    hits = {"members": (9_593, 10_048), "others": (7_721, 10_000)}
    (right, members), (rejected, others) = hits.values()
    yield f"prints {printed(right / others, 4)} for members"
    yield f"and {printed(rejected / members, 4)} for the others"
    yield f"prints {printed((right / members + rejected / others) / 2, 4)}, the mean of"
    yield f"shares would give {printed((right / others + rejected / members) / 2, 4)}."


def said_of_lambda():
    table = pd.read_csv(COMPARISON.parent / "lambda.csv")
    yield f"trained alone the classifier reaches {printed(table['plain_audited_accuracy'][0])}:"
    table = pd.read_csv(COMPARISON.parent / "ablation.csv").fillna({"switched": "base"})
    table = table.set_index(["base_recipe", "switched"])
    yield f"better than with 1 by {difference(table.loc['best', '0.1'])}"
    without = table.loc["fixed", "scaled_mint_loss"]
    audited = (
        printed(without["audited_accuracy"]),
        printed(table["audited_accuracy"]["fixed", "base"]),
    )
    yield f"reaches {audited[0]}, with it {audited[1]},"
    yield f"a difference of {difference(without)}."


def difference(row, of="audited_accuracy", sign=1):
    """A difference with its interval; sign=-1: how much less the row has than its base."""
    value, *ends = (sign * row[f"{of}_difference{end}"] for end in ("", "_low", "_high"))
    low, high = map(printed, sorted(ends))
    return f"{printed(value)} [{low}, {high}]"


def said_of_casias_size():
    folder = ROOT / "results" / "benchmarks"
    whole = read_json(folder / "casia_scale.json")
    part = read_json(folder / "casia_scale_4944.json")
    phases = whole["phases"]
    yield f"a STAND-IN of {whole['images']:,} faces of {whole['identities']:,} identities"
    seconds = phases["decode"]["seconds"]
    rate = round(whole["images"] / seconds, -2)
    yield f"Decoding took {seconds:.0f} s ({rate:,.0f} files a second)"
    sizes = [found["phases"]["decode"]["private_mib"] for found in (whole, part)]
    yield f"at most {sizes[0]:.0f} MiB of private memory, {sizes[1]:.0f} MiB of them"
    split = phases["split"]
    yield f"splitting {split['private_mib']:.0f} MiB and {split['seconds']:.0f} s"
    yield f"the {whole['images'] * 64 * 64 * 3 / 2**30:.1f} GiB of pixels"
    grown = 1024 * (sizes[0] - sizes[1]) / (whole["images"] - part["images"])
    yield f"{grown:.1f} KiB of names and hashes an image"
    trained = [found["phases"]["train"]["private_mib"] / 1024 for found in (whole, part)]
    yield f"took {trained[0]:.1f} GiB of private memory in fp32, {trained[1]:.1f} GiB"
    yield f"steps of {whole['batch'] // 2} + {whole['batch'] // 2} images"


def said_of_bf16():
    page = (ROOT / "results" / "benchmarks" / "cpu.md").read_text(encoding="utf-8")
    fp32, bf16 = re.search(r"(\d+) GFLOP/s in fp32, (\d+) in bf16", page).groups()
    times = f"{int(bf16) / int(fp32):.0f}"
    yield f"how much faster a machine multiplies in bf16 than in fp32 (here {times} times)"


def said_of_the_laptop_profile():
    runs = [run for run in load_grid(grid_file("laptop")).values() if run.recipe == "fixed"]
    (members,), (external,) = (
        {getattr(run, name) for run in runs} for name in ("members", "external")
    )
    (epochs,) = {run.epochs for run in runs if run.dataset == "cifar10"}
    (digits,) = {run.epochs for run in runs if run.dataset == "mnist"}
    table = pd.read_csv(TABLE1)
    table = table[table["mint_accuracy"].notna() & (table["recipe"] == "fixed")]
    (judged,), (others,) = (table[f"judged_{side}"].unique() for side in ("members", "non_members"))
    yield (
        f"{members:,} members and {external:,} external images, {epochs} epochs (MNIST {digits}), "
        f"judged on {judged:,.0f} members and {others:,.0f} holdout images"
    )


def said_of_recordings():
    yield f"at most {DISK_BUDGET / 2**30:.0f} GiB"


def said_of_the_comparison_profile():
    (active,) = of_best()[of_best()["method"] == "active"].to_dict("records")
    (shadows,) = {
        run.shadows for run in load_grid(grid_file("comparison")).values() if "lira" in run.method
    }
    yield (
        f"{active['members']:,} members and {active['external']:,} external images, "
        f"{active['epochs']} epochs, {shadows} shadow models; judged on "
        f"{active['judged_members']:,} members and {active['judged_non_members']:,} holdout images"
    )
    (larger,) = of_best(5_000)[of_best(5_000)["method"] == "active"].to_dict("records")
    yield f"With {larger['members']:,} members and {larger['external']:,} external images"


#: Each yields phrases of prose that state a result, with the numbers as they were found.
SOURCES = (
    said_to_hold,
    said_of_passive_mint,
    said_of_the_blind_control,
    said_of_single_defects,
    said_of_the_authors_headline,
    said_of_lambda,
    said_of_casias_size,
    said_of_bf16,
    said_of_the_laptop_profile,
    said_of_recordings,
    said_of_the_comparison_profile,
    *said_of_table1.SOURCES,
    *said_of_lists_and_sets.SOURCES,
    *said_of_own_models.SOURCES,
    *said_of_paper.SOURCES,
    *said_of_convnet.SOURCES,
    *said_of_deployable.SOURCES,
    *said_of_robust.SOURCES,
    *said_of_ensemble.SOURCES,
    *said_of_growth.SOURCES,
    *said_of_literal.SOURCES,
    *said_of_mobilenet.SOURCES,
    *said_of_speedrun.SOURCES,
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_what_is_said_is_what_was_found(source):
    phrases = list(source())
    assert phrases
    assert [phrase for phrase in phrases if phrase not in TEXT] == []


def test_no_number_is_left_that_nothing_tests():
    left = TEXT
    for phrase in (phrase for source in SOURCES for phrase in source()):
        left = left.replace(phrase, "")
    for header in TABLES:
        left = left.replace(block(header), "")
    # Probability .5 and file names such as ".csv" are no results.
    assert re.findall(r"[^\n]{0,40}(?<![\w])\.\d\d+\b[^\n]{0,20}", left) == []
    assert re.findall(r"[^\n]{0,40}\b\d+(?:\.\d+)? [KMG]iB\b", left) == []

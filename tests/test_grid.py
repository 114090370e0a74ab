"""Grids: how a file becomes runs, what is refused, and what the shipped profiles hold."""

import pytest
from completeness import require_all

from amint_core.batch.grid import NOTEBOOKS, grid_file, load_grid, notebook_for
from amint_core.data import DATASETS
from amint_core.errors import SettingsError
from amint_core.locations import project_root
from amint_core.methods import METHODS
from amint_core.model.zoo import SETUPS
from amint_core.recipes import DEFECTS, RECIPES
from amint_core.report.paper import PASSIVE_ACTIVE, TABLE1
from amint_core.run.needs import training_settings
from amint_core.settings import create
from amint_core.training.kinds import ATTACHED, PLAIN

MODELS = {"mobilenet", "resnet50", "resnet101", "densenet121", "xception", "vit"}


def grid_of(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_grid(path)


def test_lists_are_a_product_over_the_defaults(tmp_path):
    grid = grid_of(
        tmp_path,
        """
        defaults: {dataset: mnist, data: standin, epochs: 3}
        runs:
          - {model: tiny, setup: [entry, middle], seed: [0, 1]}
          - {model: tiny, dataset: cifar10, epochs: 5}
        """,
    )
    runs = list(grid.values())
    assert [(run.setup, run.seed) for run in runs[:4]] == [
        ("entry", 0),
        ("entry", 1),
        ("middle", 0),
        ("middle", 1),
    ]
    assert [run.epochs for run in runs] == [3, 3, 3, 3, 5]
    assert list(grid) == [run.id for run in runs]
    assert {run.profile for run in runs} == {"mine"}


def test_settings_that_are_lists_vary_as_lists_of_lists(tmp_path):
    one = "runs: [{dataset: mnist, model: tiny, taps: [a, b]}]"
    two = "runs: [{dataset: mnist, model: tiny, taps: [[a, b], [c, d]]}]"
    assert [run.taps for run in grid_of(tmp_path, one).values()] == [("a", "b")]
    assert [run.taps for run in grid_of(tmp_path, two).values()] == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one"),
        ("runs: []", "at least one"),
        ("run: [{}]\nruns: [{}]", "Found also: run"),
        ("runs: [{dataset: mnist, model: tiny, epoch: 3}]", "run block 1.*Did you mean 'epochs'"),
        (
            "runs: [{dataset: mnist, model: tiny}, {dataset: mnst, model: tiny}]",
            "mine.yaml, run block 2.*Did you mean 'mnist'",
        ),
        (
            "runs: [{dataset: mnist, model: tiny}, {dataset: mnist, model: tiny, epochs: 20}]",
            "run block 2: .* stands twice",
        ),
    ],
)
def test_bad_grids_are_refused(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        grid_of(tmp_path, text)


def test_a_grid_may_be_like_another_with_defaults_and_runs_of_its_own(tmp_path):
    (tmp_path / "base.yaml").write_text(
        "defaults: {dataset: mnist, model: tiny, epochs: 3}\nruns: [{seed: [1, 2]}]\n"
    )
    grid = grid_of(tmp_path, "like: base\ndefaults: {model: convnet}\nruns: [{seed: 3}]")
    assert [(run.model, run.epochs, run.seed) for run in grid.values()] == [
        ("convnet", 3, 1),
        ("convnet", 3, 2),
        ("convnet", 3, 3),
    ]
    assert {run.profile for run in grid.values()} == {"mine"}


def test_a_grid_like_one_that_is_missing_or_itself_like_another_is_refused(tmp_path):
    (tmp_path / "base.yaml").write_text("runs: [{dataset: mnist, model: tiny}]")
    with pytest.raises(SettingsError, match=r"Unknown grid 'bse'\. Did you mean 'base'"):
        grid_of(tmp_path, "like: bse")
    for odd in ("../base", "x" * 300, "mine"):  # a path, too long a name, the grid itself
        with pytest.raises(SettingsError, match="Unknown grid"):
            grid_of(tmp_path, f"like: {odd}")
    (tmp_path / "base.yaml").write_text("like: first\n")
    with pytest.raises(SettingsError, match=r"itself like another\. Name one that has all"):
        grid_of(tmp_path, "like: base")


def test_an_error_names_the_file_that_has_the_block(tmp_path):
    (tmp_path / "base.yaml").write_text("runs: [{dataset: mnist, model: tiny, seed: [0, 1]}]\n")
    with pytest.raises(SettingsError, match=r"mine\.yaml, run block 1: .* stands twice"):
        grid_of(tmp_path, "like: base\nruns: [{dataset: mnist, model: tiny, seed: 1}]")
    with pytest.raises(SettingsError, match=r"base\.yaml, run block 1: .*epochs = 0"):
        grid_of(tmp_path, "like: base\ndefaults: {epochs: 0}")


def test_an_unknown_profile_names_the_nearest():
    with pytest.raises(SettingsError, match="Did you mean 'laptop'"):
        grid_file("lapptop")


def test_every_dataset_has_a_notebook():
    require_all(NOTEBOOKS, DATASETS, "NOTEBOOKS of amint_core/batch/grid.py")


def test_vit_has_its_own_notebook(tmp_path):
    grid = grid_of(tmp_path, "runs: [{dataset: [mnist, gtsrb], model: [vit, tiny]}]")
    assert [notebook_for(run) for run in grid.values()] == [
        "aMINTViT",
        "aMINTMNIST",
        "aMINTViT",
        "aMINTGTSRB",
    ]


def test_quick_shows_everything_once_on_stand_ins():
    runs = load_grid(grid_file("quick")).values()
    assert {run.data for run in runs} == {"standin"}
    require_all({run.dataset for run in runs}, set(DATASETS) - {"cifar100"}, "config/quick.yaml")
    assert {run.model for run in runs} == MODELS | {"tiny"}
    require_all({run.method for run in runs}, METHODS, "config/quick.yaml")
    assert {run.recipe for run in runs} >= {"fixed", "best", "robust"}
    assert {run.setup for run in runs} == set(SETUPS)
    assert {notebook_for(run) for run in runs} == {*NOTEBOOKS.values(), "aMINTViT"}
    # One thread per run: two side by side on two cores, with the same bits everywhere.
    assert {run.cpu_threads for run in runs} == {1}


def test_laptop_is_real_and_strict():
    runs = load_grid(grid_file("laptop")).values()
    assert {(run.data, run.protocol) for run in runs} == {("real", "strict")}
    assert {run.dataset for run in runs} == {"mnist", "cifar10", "gtsrb"}


def test_comparison_sets_every_method_and_recipe_side_by_side_on_real_images():
    runs = load_grid(grid_file("comparison")).values()
    assert {run.data for run in runs} == {"real"}
    other = load_grid(grid_file("convnet")).values()  # the same on a model that one would use
    several = load_grid(grid_file("ensemble")).values()  # three heads beside one
    # A head as published takes many times our step: it has cells of its own, in literal.yaml.
    assert {run.recipe for run in (*runs, *other, *several)} == set(RECIPES) - {"published"}
    assert {run.recipe for run in several} == {"staged", "staged_ensemble"}
    cells = (("cifar10", "best", 0), ("cifar10", "best", 10), ("cifar10", "staged", 10))
    shown = [run for run in (*runs, *other) if (run.dataset, run.recipe, run.seed) in cells]
    where = "config/convnet.yaml (with config/comparison.yaml), in CIFAR-10's cell,"
    require_all({run.method for run in shown if run.target == "plain"}, METHODS, where)
    attacks = {
        name for name, one in METHODS.items() if one.group == "attack" and one.training is None
    }
    attacked = {run.method for run in shown if run.target == "active"}
    require_all(attacked, attacks, f"{where} with target: active,")
    # Each defect that this cell can have is switched alone somewhere.
    alone = {run.defects[0] for run in runs if len(run.defects) == 1}
    assert alone == set(DEFECTS) - {"hundred_outputs", "tracks_ignored"}


def test_paper_is_the_whole_of_table_1_at_the_published_sizes():
    runs = load_grid(grid_file("paper")).values()
    sizes = {
        "mnist": (25_000, 35_000),
        "cifar10": (20_000, 30_000),
        "gtsrb": (11_000, 15_640),
        "tiny_imagenet": (40_000, 60_000),
    }
    cells = {(run.dataset, run.setup, run.model) for run in runs if run.dataset in sizes}
    assert cells == {(d, s, m) for d in sizes for s in SETUPS for m in MODELS}
    for run in runs:
        assert (run.data, run.protocol, run.holdout) == ("real", "paper", 0)
        if run.dataset in sizes and (run.dataset, run.model) != ("cifar10", "vit"):
            members, external = sizes[run.dataset]
            assert run.members == members
            # At most one in a hundred fewer, to leave room for duplicates.
            assert 0.99 * external <= run.external <= external
    casia = [run for run in runs if run.dataset == "casia_webface"]
    assert {(run.model, run.members, run.external) for run in casia} == {
        ("mobilenet", 200_000, 249_000)
    }


def test_paper_has_the_papers_comparisons():
    runs = load_grid(grid_file("paper")).values()
    at_entry = [run for run in runs if run.setup == "entry"]
    for method in ("active", "passive", "plain"):
        cells = {(run.dataset, run.model) for run in at_entry if run.method == method}
        assert set(PASSIVE_ACTIVE) <= cells
    for dataset in ("cifar10", "gtsrb"):
        beside = {run.method for run in at_entry if run.dataset == dataset and run.calibration}
        require_all(beside, METHODS, f"config/paper.yaml, in {dataset}'s block of attacks,")


def test_literal_is_as_the_notebooks_compute_two_cells():
    runs = load_grid(grid_file("literal")).values()
    cells = {(run.dataset, run.model): (run.members, run.external) for run in runs}
    assert cells == {("mnist", "mobilenet"): (25_000, 35_000), ("cifar10", "vit"): (15_000, 34_900)}
    for run in runs:
        assert (run.recipe, run.head, run.setup) == ("published", "published", "middle")
        assert (run.protocol, run.lambda_mint, run.precision) == ("paper", 1, "fp32")
        assert set(run.defects) == set(DEFECTS) - {"scaled_mint_loss"}


def test_robust_attaches_two_heads_to_one_trunk():
    sharp, soft = load_grid(grid_file("robust")).values()
    assert (sharp.recipe, soft.recipe) == ("staged", "staged_robust")
    assert training_settings(sharp, PLAIN) == training_settings(soft, PLAIN)
    assert training_settings(sharp, ATTACHED) != training_settings(soft, ATTACHED)


def test_table1_is_every_cell_in_two_stages_at_the_papers_members():
    runs = load_grid(grid_file("table1")).values()
    assert {run.recipe for run in runs} == {"staged"}
    assert {run.method for run in runs} == {"attached", "joint", "active", "yeom"}
    for method in ("attached", "active"):
        cells = {(run.dataset, run.setup, run.model) for run in runs if run.method == method}
        assert cells >= set(TABLE1)
    members = {"mnist": 25_000, "cifar10": 20_000, "gtsrb": 11_000, "tiny_imagenet": 8_000}
    assert {(run.dataset, run.members) for run in runs} == set(members.items())
    assert {run.data for run in runs} == {"real"}


@pytest.mark.parametrize("profile", ["quick", "laptop", "comparison", "paper", "literal", "table1"])
def test_every_setting_of_a_profile_has_a_comment(profile):
    text = (project_root() / "config" / f"{profile}.yaml").read_text(encoding="utf-8")
    defaults = text.split("defaults:\n")[1].split("\nruns:")[0].splitlines()
    bare = [line for line in defaults if line.strip() and "#" not in line]
    assert not bare


@pytest.mark.parametrize(
    "text",
    [
        "runs: [",
        "[]",
        "runs: []",
        "runs: [mnist]",
        "runs: [{1: 2, dataset: mnist, model: tiny}]",
        "defaults: [a]\nruns: [{dataset: mnist, model: tiny}]",
        "other: 1\nruns: [{dataset: mnist, model: tiny}]",
    ],
)
def test_a_file_that_is_no_grid_is_refused_by_name(tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"bad\.yaml"):
        load_grid(tmp_path / "bad.yaml")


def test_a_grid_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yaml cannot be read"):
        load_grid(tmp_path / "none.yaml")


def test_a_folder_of_images_has_a_notebook_too():
    settings = create(dataset="folder:/my photos", model="tiny")
    assert notebook_for(settings) == "aMINTCIFAR"

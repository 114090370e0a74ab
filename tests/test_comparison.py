"""The comparison of methods and targets, and the differences between their tests."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from made_runs import SHIFTS, put_judged, put_methods, seal_files
from read_back import profile, table, text_of, texts

from amint_core import report
from amint_core.evaluation import paired
from amint_core.evaluation.seeds import interval_of_mean
from amint_core.files import write_json
from amint_core.locations import project_root, results_root
from amint_core.methods import METHODS
from amint_core.report import render
from amint_core.report.figures import FIGURES
from amint_core.report.names import GROUPS, row_title
from amint_core.report.read import MEASURES, read_runs
from amint_core.report.tables import comparison, differences


@pytest.fixture
def results():
    return results_root()


def test_a_row_per_method_and_target_in_the_order_of_groups(results):
    put_methods(results, n=50)
    rows = table()
    assert set(rows["method"]) == {*SHIFTS, "plain"}
    assert (rows["method"] == "yeom").sum() == 2
    assert rows["cell"].nunique() == 1
    assert list(rows["group"]) == sorted(rows["group"], key=list(GROUPS).index)
    assert list(rows.query("method == 'yeom'")["target"]) == ["plain", "active"]
    assert pd.isna(rows.set_index("method").loc["active", "target"])
    assert rows.set_index("method").loc["lira_online", "shadows"] == 8
    assert (rows["title"] == "CIFAR-10 [STAND-IN]").all()
    assert (rows["data"] == "STAND-IN").all()


def test_shadow_models_stand_beside_those_of_the_paper(results):
    put_methods(results, n=50)
    rows = table().set_index("method")
    assert rows.loc["lira_online", "published_shadows"] == "64 to 256"
    assert pd.isna(rows.loc["passive", "published_shadows"])
    document = comparison.document(profile())
    for write in render.FORMS.values():
        assert "8, paper 64 to 256" in write(document)
        assert "expect less power: LiRA (online) (8, paper 64 to 256)." in write(document)


def test_as_many_shadow_models_as_published_are_not_called_few(results):
    put_judged(results, n=50)
    put_judged(results, method="rmia_online", n=50, shadow_count=2)
    text = text_of(comparison)
    assert "2, paper 2 to 254" in text
    assert "less power" not in text


@pytest.mark.usefixtures("tables_alone")
def test_tables_say_that_intervals_go_by_group(results):
    for method in ("active", "yeom"):
        put_judged(results, n=120, method=method, dataset="gtsrb", frames=10)
    put_judged(results, n=120)
    files = report.write("quick")
    said = (
        "Intervals by group, not by image, since frames of a track, or near-twins, are alike: "
        "members of 12 groups, non-members of 12."
    )
    for name in ("comparison", "differences", "table1"):
        for form in render.FORMS:
            assert files[f"{name}.{form}"].read_text().count(said) == 1
    rows = pd.read_csv(files["comparison.csv"]).set_index("dataset")
    assert (rows.loc["gtsrb", "judged_member_tracks"] == 12).all()
    assert pd.isna(rows.loc["cifar10", "judged_member_tracks"])
    scores = profile().scores
    found = table(differences).iloc[0]
    own = scores[found["run"]]
    both = paired.align(own, scores[found["reference_run"]])
    assert found["auc_difference_low"] == paired.auc_difference(*both, own["group"])["low"]
    assert found["auc_difference_low"] != paired.auc_difference(*both)["low"]


@pytest.mark.usefixtures("tables_alone")
def test_non_members_without_known_tracks_are_said_to_be_too_narrow(results):
    folder = put_judged(results, n=120, dataset="gtsrb", frames=10)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["mint"]["judged"]["tracks"]["non_members"] = 120
    write_json(folder / "metrics.json", metrics)
    seal_files(folder)
    text = report.write("quick")["table1.md"].read_text()
    assert "members of 12 groups, non-members one by one, whose groups are not known" in text


def test_known_non_members_of_attacks_on_the_active_model_are_named(results):
    said = "On the active model RMIA and gMINT take known non-members from calibration"
    put_judged(results, n=50)
    put_judged(results, n=50, method="rmia_online")
    assert said not in text_of(comparison)
    put_judged(results, n=50, method="rmia_online", target="active")
    assert said in text_of(comparison)


def test_seeds_are_averaged_and_their_spread_stated(results):
    put_methods(results, seeds=(0, 1, 2), n=50)
    runs = read_runs("quick")
    (row,) = table().query("method == 'passive'").to_dict("records")
    own = runs[runs["method"] == "passive"]
    assert row["seeds"] == 3
    for name in ("auc", "precision_at_1pct_prior"):
        assert row[name] == pytest.approx(own[name].mean())
        ends = interval_of_mean(*(own[f"{name}{end}"] for end in ("", "_low", "_high")))
        assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(np.clip(ends, 0, 1))
    assert row["auc_sd"] == pytest.approx(own["auc"].std(ddof=1))
    assert render.SEEDS in text_of(comparison)


def test_one_seed_is_no_mean(results):
    put_methods(results, n=50)
    assert render.SEEDS not in text_of(comparison)


def test_other_training_or_sizes_are_another_cell(results):
    put_judged(results, method="active", n=50)
    put_judged(results, method="passive", n=50)
    put_judged(results, method="passive", n=50, epochs=40)
    put_judged(results, method="yeom", n=50, recipe="published")
    rows = table()
    assert rows["cell"].nunique() == 3
    ((_, cell),) = comparison.compared(rows).items()
    assert set(cell["method"]) == {"active", "passive"}
    assert (cell["epochs"] == 20).all()
    assert "in comparison.csv only: 2" in text_of(comparison)


def test_heads_on_the_same_finished_model_stand_side_by_side(results):
    for recipe in ("staged", "staged_ensemble", "staged_robust"):
        put_judged(results, method="attached", n=50, recipe=recipe)
    put_judged(results, method="yeom", n=50, recipe="staged")
    # Another classifier, and a model that no second stage follows.
    put_judged(results, method="attached", n=50, recipe="staged_ensemble", epochs=40)
    put_judged(results, method="passive", n=50, recipe="best")
    rows = table()
    ((title, cell),) = comparison.compared(rows).items()
    assert "staged" in title
    assert set(cell["method"]) == {"attached", "yeom"}
    assert (cell["epochs"] == 20).all()
    variants = cell[cell["method"] == "attached"]["variant"]
    assert sorted(variants) == [
        "head_count=1, low_pass=False, views=one",
        "head_count=1, low_pass=True, views=flips",
        "head_count=3, low_pass=False, views=one",
    ]
    assert sorted(set(rows["cell"])) == [1, 2, 3]
    assert "in comparison.csv only: 2" in text_of(comparison)


def test_lone_heads_go_to_the_fullest_cell_in_whatever_order(results):
    # Recipes sort as they are registered: the first here stands alone, and before the others.
    put_judged(results, method="passive", n=50, recipe="fixed", epochs=30, head_width=8)
    for method in ("active", "passive", "yeom"):
        put_judged(results, method=method, n=50, recipe="best", epochs=30, augment_members=0)
    rows = table()
    assert list(rows["cell"]) == [1] * 4
    assert list(rows["recipe"]).count("fixed") == 1
    ((title, cell),) = comparison.compared(rows).items()
    assert title.endswith("best")
    assert len(cell) == 4


def test_a_head_from_elsewhere_says_what_sets_it_apart(results):
    for method in ("attached", "yeom"):
        put_judged(results, method=method, n=50, recipe="staged")
    put_judged(results, method="passive_unseen", n=50, recipe="staged_ensemble")
    (cell,) = comparison.compared(table()).values()
    found = cell.set_index("method")["variant"]
    assert found["passive_unseen"] == "head_count=3"
    assert found[["attached", "yeom"]].isna().all()


def test_counts_of_heads_stand_in_one_cell(results):
    for count in (1, 2, 3):
        put_judged(results, method="attached", n=50, recipe="staged", head_count=count)
    put_judged(results, method="yeom", n=50, recipe="staged", head_count=1)
    (cell,) = comparison.compared(table()).values()
    assert set(cell["variant"].dropna()) == {f"head_count={count}" for count in (1, 2, 3)}
    assert cell.set_index("method")["variant"].isna()["yeom"]


def test_heads_at_other_taps_are_cells_of_their_own(results):
    for setup in ("entry", "output"):
        put_judged(results, method="attached", n=50, recipe="staged", setup=setup)
    assert not comparison.compared(table())


def test_heads_that_learn_with_the_model_are_cells_of_their_own(results):
    for recipe in ("staged", "staged_ensemble"):
        put_judged(results, method="active", n=50, recipe=recipe)
    assert not comparison.compared(table())


def test_recipes_of_equal_settings_are_told_apart_by_name(results):
    three = {"method": "attached", "n": 50, "head_count": 3}
    for recipe in ("staged", "staged_ensemble"):
        put_judged(results, recipe=recipe, **three)
    (cell,) = comparison.compared(table()).values()
    assert sorted(cell["variant"]) == ["recipe=staged", "recipe=staged_ensemble"]


def test_how_membership_is_tested_does_not_make_another_cell(results):
    for changes in ({}, {"shadows": 4}, {"variance": "per_class"}):
        put_judged(results, method="lira_online", n=50, **changes)
    put_judged(results, n=50, views="flips")
    put_judged(results, n=50)
    rows = table()
    assert rows["cell"].nunique() == 1
    variants = rows[rows["method"] == "lira_online"]["variant"]
    assert variants.is_unique
    assert "shadows=4" in "".join(variants)
    titles = [row_title(row) for _, row in rows.iterrows()]
    assert "aMINT (active) (views=flips)" in titles


def test_cells_of_one_name_are_told_apart(results):
    for epochs in (20, 40):
        for method in ("active", "passive"):
            put_judged(results, method=method, n=50, epochs=epochs)
    titles = [title.split("fixed ")[1] for title in comparison.compared(table())]
    assert sorted(titles) == ["(epochs=20)", "(epochs=40)"]


def test_controls_that_were_not_run_are_named(results):
    put_methods(results, n=50)
    text = text_of(comparison)
    controls = {name for name in METHODS if METHODS[name].group == "control"}
    assert {"blind", "memorizer"} < controls
    for name in controls:
        missing = METHODS[name].title in text.split("Controls not run: ")[1].split("\n")[0]
        assert missing == (name not in SHIFTS)
        assert METHODS[name].title in text
    for name in controls - set(SHIFTS):
        put_judged(results, 0.0, 50, method=name)
    assert "All controls run." in text_of(comparison)


def test_the_papers_values_stand_where_it_has_them(results):
    put_methods(results, n=50, model="resnet50", data="real")
    rows = table().set_index(["method", "target"])["paper_mint_accuracy"]
    assert rows["active"].iloc[0] == 0.89
    assert rows["passive"].iloc[0] == 0.66
    assert rows["yeom", "plain"] == 0.64
    assert np.isnan(rows["yeom", "active"])
    assert np.isnan(rows["lira_online", "plain"])
    assert table().set_index("method").loc["plain", "paper_audited_accuracy"] == 0.55


def test_every_measure_stands_with_its_interval(results):
    put_methods(results, n=1000)
    row = table().query("method == 'yeom' and target == 'plain'").iloc[0]
    (line,) = (
        line
        for line in text_of(comparison).splitlines()
        if line.startswith("| Yeom (loss threshold) ") and "on the active" not in line
    )
    for name in MEASURES:
        shown = render.measured(row[name], row[f"{name}_low"], row[f"{name}_high"]) or "–"
        # With so few non-members the precision where members are rare may be anything.
        assert ("[" in shown) != (shown == "–" and name == "precision_at_1pct_prior")
        assert f" {shown} |" in line


def test_a_threshold_that_means_nothing_leaves_a_dash_and_no_difference(results):
    for method in ("active", "lira_offline", "passive_unseen"):
        put_judged(results, n=120, method=method)
    text = comparison.document(profile()).parts[0].text.set_index("Method")
    assert text.loc["LiRA (offline)", "Accuracy at .5"] == "–"
    assert text.loc["LiRA (offline)", "Calibrated"] != "–"
    assert text.loc["Passive MINT, unseen members", "Calibrated"] == "–"
    assert text.loc["Passive MINT, unseen members", "Accuracy at .5"] != "–"
    found = table(differences)
    known = found.set_index("method")["accuracy_difference"].notna()
    assert known.to_dict() == {"lira_offline": True, "passive_unseen": False}
    (part,) = (part.text for part in differences.document(profile()).shown)
    assert list(part.set_index("Method")["Accuracy"] == "–") == [True, False]
    assert (part[["AUC", "TPR at 1 % FPR"]] != "–").all(axis=None)
    for name in ("agreement", "class_difficulty"):
        assert "No two methods" not in texts(FIGURES[name].draw(profile()))


@pytest.mark.usefixtures("tables_alone")
def test_too_few_non_members_for_a_verdict_have_no_figures_of_it(results):
    put_methods(results, n=90)
    for name in ("agreement", "class_difficulty", "image_difficulty"):
        assert "No two methods" in texts(FIGURES[name].draw(profile()))
    assert "Yeom" in texts(FIGURES["roc_by_method"].draw(profile()))
    files = report.write("quick")
    found = pd.read_csv(files["differences.csv"])
    assert found[["kappa", "both", "tpr_at_1pct_fpr_difference"]].isna().all(axis=None)
    assert found[["auc_difference", "accuracy_difference"]].notna().all(axis=None)


def test_the_plain_model_has_a_row_without_a_test(results):
    put_methods(results, n=50)
    row = table().set_index("method").loc["plain"]
    assert np.isnan(row["auc"])
    assert row["audited_accuracy"] == 0.4471
    (line,) = (line for line in text_of(comparison).splitlines() if "model alone" in line)
    assert line.count("–") == 7


def test_what_else_was_measured_does_not_make_a_second_row(results):
    put_methods(results, n=150)
    put_judged(results, n=150, method="yeom", transformations=("flip",))
    rows = table()
    assert ((rows["method"] == "yeom") & (rows["target"] == "plain")).sum() == 1
    found = table(differences)
    assert ((found["method"] == "yeom") & (found["target"] == "plain")).sum() == 1


def test_runs_that_judge_different_images_are_not_paired(results):
    put_methods(results, n=150)
    path = next((results / "quick" / "runs").glob("*yeom*/judged.parquet"))
    rows = pd.read_parquet(path)
    rows.assign(index=rows["index"] + 1).to_parquet(path)
    seal_files(path.parent)
    report.write("quick")
    found = table(differences)
    assert not found["run"].str.contains(path.parent.name).any()
    assert len(found) > 1


@pytest.mark.usefixtures("tables_alone")
def test_standin_is_marked_in_every_form(results):
    put_methods(results, n=120)
    files = report.write("quick")
    for form in render.FORMS:
        for name in ("comparison", "differences"):
            assert files[f"{name}.{form}"].read_text().count("[STAND-IN]") >= 2, (name, form)


def test_without_a_joint_training_tests_stand_against_the_attached_head(results):
    recipes = {"recipe": "staged", "model": "tiny"}
    for seed in (0, 1):
        for method in ("attached", "yeom"):
            put_judged(results, n=150, method=method, seed=seed, **recipes)
    put_judged(results, n=150, method="active", seed=1, **recipes)
    found = table(differences).set_index(["method", "seed"])["reference"]
    assert found.to_dict() == {
        ("yeom", 0): "attached",
        ("yeom", 1): "active",
        ("attached", 1): "active",
    }
    assert "Each other test minus the first attached head" in text_of(differences)


def test_differences_are_those_of_both_runs_scores(results):
    put_methods(results, seeds=(0, 1), n=150)
    runs = read_runs("quick")
    scores = profile().scores
    found = table(differences)
    # Seven other tests (the plain model is none) and Yeom's on both models, two seeds.
    assert len(found) == 14 + 2
    assert set(found["seed"]) == {0, 1}
    found = found[found["reference"] == "active"]
    row = found.query("method == 'passive' and seed == 1").iloc[0]
    cuts = runs.set_index("run")["threshold_calibrated"]
    both = paired.align(scores[row["run"]], scores[row["reference_run"]])
    for name, expected in (
        ("auc_difference", paired.auc_difference(*both)),
        (
            "accuracy_difference",
            paired.accuracy_difference(*both, (cuts[row["run"]], cuts[row["reference_run"]])),
        ),
    ):
        assert row[name] == expected["value"]
        assert (row[f"{name}_low"], row[f"{name}_high"]) == (expected["low"], expected["high"])
    indexed = runs.set_index("run")["auc"]
    difference = indexed[row["run"]] - indexed[row["reference_run"]]
    assert row["auc_difference"] == pytest.approx(difference)
    assert row[["both", "only_method", "only_reference", "neither"]].sum() == pytest.approx(1)
    (line,) = (
        line for line in text_of(differences).splitlines() if line.startswith("| Passive MINT ")
    )
    assert render.signed(found.query("method == 'passive'")["auc_difference"].mean()) in line


def test_what_learnt_no_classes_has_no_difference_of_audited_accuracy():
    # The table follows from its runs: test_committed_tables.py.
    file = project_root() / "results" / "convnet" / "tables" / "differences.csv"
    found = pd.read_csv(file).set_index("method")["audited_accuracy_difference"]
    assert found["memorizer"].isna().all()
    assert found[["joint", "plain", "passive"]].notna().all()


def test_no_interval_of_a_difference_leaves_what_shares_can_differ_by(results):
    for seed in range(3):
        put_judged(results, 20.0, 150, seed)
        put_judged(results, -3.0 + 2 * seed, 150, seed, "yeom")
    found = table(differences)["tpr_at_1pct_fpr_difference"]
    assert found.mean() < -0.9
    assert found.nunique() > 1  # so that Student's interval reaches beyond -1
    numbers = re.findall(r"[+-]\d?\.\d{3}", text_of(differences))
    assert numbers
    assert min(map(float, numbers)) == -1.0


def test_attacks_on_the_active_model_stand_against_the_same_on_the_plain_one(results):
    for seed in (0, 1):
        for target in ("plain", "active"):
            put_judged(results, n=120, seed=seed, method="yeom", target=target)
            put_judged(results, n=120, seed=seed, method="lira_online", target=target, shadows=4)
    put_judged(results, n=120, method="lira_online", target="active")  # on the active model alone
    put_judged(results, n=120, seed=2, method="salem")  # on the plain model alone
    runs = read_runs("quick")
    found = table(differences)
    assert set(found["reference"]) == {"target=plain"}
    assert sorted(zip(found["method"], found["seed"], strict=True)) == [
        *(("lira_online", 0), ("lira_online", 1), ("yeom", 0), ("yeom", 1))
    ]
    by_id = runs.set_index("run")
    for _, row in found.iterrows():
        ours, theirs = by_id.loc[row["run"]], by_id.loc[row["reference_run"]]
        assert (ours["target"], theirs["target"]) == ("active", "plain")
        assert (ours["method"], ours["seed"]) == (theirs["method"], theirs["seed"])
        assert ours["settings.shadows"] == theirs["settings.shadows"]
        assert row["auc_difference"] == pytest.approx(ours["auc"] - theirs["auc"])
        assert row["auc_difference_low"] < row["auc_difference"] < row["auc_difference_high"]
    text = text_of(differences)
    assert "Does auditability open the model?" in text
    assert "How far is active MINT ahead?" not in text


def test_without_any_scores_differences_and_figures_made_with_them_stay(results):
    put_methods(results, n=120)
    names = ("differences.csv", "differences.md", "roc_by_method.png", "agreement.png")
    first = report.write("quick")
    before = {name: first[name].read_bytes() for name in names}
    for path in results.glob("quick/runs/*/judged.parquet"):
        path.unlink()
    second = report.write("quick")
    assert {name: first[name].read_bytes() for name in names} == before
    assert "comparison.csv" in second
    assert "methods.png" in second


@pytest.mark.usefixtures("tables_alone")
def test_settings_in_tables_are_readable_again(results):
    put_methods(results, n=50)
    files = report.write("quick")
    runs = pd.read_csv(files["runs.csv"])
    assert json.loads(runs["settings.defects"].iloc[0]) == []
    assert {"target", "shadows", "precision_at_10pct_prior_low"} <= set(runs)

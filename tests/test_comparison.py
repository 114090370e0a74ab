"""The comparison, the differences, the ablation and the transformations of a profile."""

import json

import numpy as np
import pandas as pd
import pytest
from made_runs import SHIFTS, made_metrics, measure, put, put_judged, put_methods
from matplotlib import pyplot as plt

from amint_core import report
from amint_core.evaluation import paired
from amint_core.exceptions import ResultsError
from amint_core.files import write_json
from amint_core.locations import results_root
from amint_core.methods import METHODS
from amint_core.recipes import DEFECTS
from amint_core.report import (
    ablations,
    by_method,
    by_transformation,
    compact,
    difficulty_figures,
    method_figures,
    paired_tables,
    style,
)
from amint_core.report.collect import read_runs, scores_of, thresholds
from amint_core.report.method_names import GROUPS, method_group, method_order


@pytest.fixture
def results():
    return results_root()


def table():
    return by_method.comparison(read_runs("quick"))


def text_of(module, *given):
    return compact.to_markdown(module.document(*given, "quick"))


def texts(figure):
    """Return all that a reader can read in a figure."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(plt.Text) if text.get_text())


def test_a_row_per_method_and_target_in_the_order_of_groups(results):
    put_methods(results, n=50)
    rows = table()
    assert set(rows["method"]) == {*SHIFTS, "plain"}
    assert (rows["method"] == "yeom").sum() == 2
    assert rows["cell"].nunique() == 1
    assert list(rows["group"]) == sorted(rows["group"], key=GROUPS.index)
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
    document = by_method.document(table(), "quick")
    for write in compact.FORMS.values():
        assert "8, paper 64 to 256" in write(document)
        assert "expect less power: LiRA (online) (8, paper 64 to 256)." in write(document)


def test_as_many_shadow_models_as_published_are_not_called_few(results):
    put_judged(results, n=50)
    put_judged(results, method="rmia_online", n=50, shadow_count=2)
    text = text_of(by_method, table())
    assert "2, paper 2 to 254" in text
    assert "less power" not in text


def test_tables_say_that_intervals_go_by_track(results):
    for method in ("active", "yeom"):
        put_judged(results, n=120, method=method, dataset="gtsrb", frames=10)
    put_judged(results, n=120)
    files = report.write("quick")
    said = "Intervals by track, not by frame: members of 12 tracks, non-members of 12."
    for name in ("comparison", "differences", "table1"):
        for form in compact.FORMS:
            assert files[f"{name}.{form}"].read_text().count(said) == 1
    rows = pd.read_csv(files["comparison.csv"]).set_index("dataset")
    assert (rows.loc["gtsrb", "judged_member_tracks"] == 12).all()
    assert pd.isna(rows.loc["cifar10", "judged_member_tracks"])
    scores = scores_of(read_runs("quick"))
    found = paired_tables.differences(table(), read_runs("quick"), scores).iloc[0]
    own = scores[found["run"]]
    both = paired.align(own, scores[found["reference_run"]])
    assert found["auc_difference_low"] == paired.auc_difference(*both, own["group"])["low"]
    assert found["auc_difference_low"] != paired.auc_difference(*both)["low"]


def test_non_members_without_known_tracks_are_said_to_be_too_narrow(results):
    folder = put_judged(results, n=120, dataset="gtsrb", frames=10)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["mint"]["judged"]["tracks"]["non_members"] = 120
    write_json(folder / "metrics.json", metrics)
    text = report.write("quick")["table1.md"].read_text()
    assert "members of 12 tracks, non-members one by one, whose tracks are not known" in text


def test_known_non_members_of_attacks_on_the_active_model_are_named(results):
    said = "On the active model RMIA and gMINT take known non-members from calibration"
    put_judged(results, n=50)
    put_judged(results, n=50, method="rmia_online")
    assert said not in text_of(by_method, table())
    put_judged(results, n=50, method="rmia_online", target="active")
    assert said in text_of(by_method, table())


def test_seeds_are_averaged_and_their_spread_stated(results):
    put_methods(results, seeds=(0, 1, 2), n=50)
    runs = read_runs("quick")
    (row,) = table().query("method == 'passive'").to_dict("records")
    own = runs[runs["method"] == "passive"]
    assert row["seeds"] == 3
    for name in ("auc", "auc_low", "precision_at_1pct_prior_high"):
        assert row[name] == pytest.approx(own[name].mean())
    assert row["auc_sd"] == pytest.approx(own["auc"].std(ddof=1))


def test_other_training_or_sizes_are_another_cell(results):
    put_judged(results, method="active", n=50)
    put_judged(results, method="passive", n=50)
    put_judged(results, method="passive", n=50, epochs=40)
    put_judged(results, method="yeom", n=50, recipe="published")
    rows = table()
    assert rows["cell"].nunique() == 3
    ((_, cell),) = by_method.compared(rows).items()
    assert set(cell["method"]) == {"active", "passive"}
    assert (cell["epochs"] == 20).all()
    assert "in comparison.csv only: 2" in text_of(by_method, rows)


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
    titles = [by_method.row_title(row) for _, row in rows.iterrows()]
    assert "aMINT (active) (views=flips)" in titles


def test_cells_of_one_name_are_told_apart(results):
    for epochs in (20, 40):
        for method in ("active", "passive"):
            put_judged(results, method=method, n=50, epochs=epochs)
    titles = [title.split("fixed ")[1] for title in by_method.compared(table())]
    assert sorted(titles) == ["(epochs=20)", "(epochs=40)"]


def test_controls_that_were_not_run_are_named(results):
    put_methods(results, n=50)
    text = text_of(by_method, table())
    controls = {name for name in METHODS if METHODS[name].group == "control"}
    assert {"blind", "memorizer"} < controls
    for name in controls:
        missing = METHODS[name].title in text.split("Controls not run: ")[1].split("\n")[0]
        assert missing == (name not in SHIFTS)
        assert METHODS[name].title in text
    for name in controls - set(SHIFTS):
        put_judged(results, 0.0, 50, method=name)
    assert "All controls run." in text_of(by_method, table())


def test_the_papers_values_stand_where_it_has_them(results):
    put_methods(results, n=50, model="resnet50", data="real")
    rows = table().set_index(["method", "target"])["paper_mint_accuracy"]
    assert rows["active"].iloc[0] == 0.89
    assert rows["passive"].iloc[0] == 0.66
    assert rows["yeom", "plain"] == 0.64
    assert np.isnan(rows["yeom", "active"])
    assert np.isnan(rows["lira_online", "plain"])
    assert table().set_index("method").loc["plain", "paper_audited_accuracy"] == 0.55


def test_the_plain_model_has_a_row_without_a_test(results):
    put_methods(results, n=50)
    row = table().set_index("method").loc["plain"]
    assert np.isnan(row["auc"])
    assert row["audited_accuracy"] == 0.4471
    (line,) = (line for line in text_of(by_method, table()).splitlines() if "model alone" in line)
    assert line.count("–") == 7


@pytest.mark.parametrize("form", compact.FORMS)
def test_standin_is_marked_in_every_form(results, form):
    put_methods(results, n=120)
    files = report.write("quick")
    for name in ("comparison", "differences"):
        assert files[f"{name}.{form}"].read_text().count("[STAND-IN]") >= 2


def test_differences_are_those_of_both_runs_scores(results):
    put_methods(results, seeds=(0, 1), n=150)
    runs = read_runs("quick")
    scores = scores_of(runs)
    found = paired_tables.differences(table(), runs, scores)
    # Seven other tests (the plain model is none), two seeds.
    assert len(found) == 14
    assert set(found["seed"]) == {0, 1}
    row = found.query("method == 'passive' and seed == 1").iloc[0]
    cuts = runs.assign(cut=thresholds(runs)).set_index("run")["cut"]
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
        line
        for line in text_of(paired_tables, found, table()).splitlines()
        if line.startswith("| Passive MINT ")
    )
    assert compact.signed(found.query("method == 'passive'")["auc_difference"].mean()) in line


def test_without_scores_earlier_differences_and_figures_stay(results):
    put_methods(results, n=120)
    names = ("differences.csv", "differences.md", "roc_by_method.png", "agreement.png")
    first = report.write("quick")
    before = {name: first[name].read_bytes() for name in names}
    for path in results.glob("quick/runs/*/scores.parquet"):
        path.unlink()
    second = report.write("quick")
    assert not set(names) & set(second)
    assert {name: first[name].read_bytes() for name in names} == before
    assert "comparison.csv" in second
    assert "methods.png" in second


def test_each_defect_and_change_is_set_against_its_base(results):
    for seed in (0, 1):
        put(results, made_metrics(mint=0.90 + 0.02 * seed, seed=seed))
        put(
            results, made_metrics(mint=0.80 + 0.01 * seed, seed=seed, defects=("frozen_batchnorm",))
        )
    put(results, made_metrics(mint=0.95, weight_decay=0.0))
    copies = {"augment_external": 0.5, "external_transformations": ("flip", "shift")}
    put(results, made_metrics(mint=0.96, **copies))
    put(results, made_metrics(mint=0.97, **copies, weight_decay=0.0))  # two things
    put(results, made_metrics(mint=0.60, method="passive", weight_decay=0.0))
    rows = ablations.ablation(read_runs("quick"))
    assert list(rows["setting"].fillna("base")) == [
        *("base", "augment_external", "defects", "weight_decay")
    ]
    defect = rows.set_index("setting").loc["defects"]
    assert (defect["base"], defect["switched"]) == ("", "frozen_batchnorm")
    assert defect["mint_accuracy"] == pytest.approx(0.805)
    assert defect["mint_accuracy_difference"] == pytest.approx(-0.105)
    assert defect["mint_accuracy_difference_sd"] == pytest.approx(np.std([0.1, 0.11], ddof=1))
    assert (defect["seeds"], defect["matched_seeds"]) == (2, 2)
    decay = rows.set_index("setting").loc["weight_decay"]
    # Matched by seed: .95 against .90, not against the mean of both.
    assert decay["mint_accuracy_difference"] == pytest.approx(0.05)
    assert decay["matched_seeds"] == 1
    text = text_of(ablations, rows)
    assert "defect frozen_batchnorm on" in text
    assert "augment_external: 0 → 0.5 by flip, shift" in text
    assert "weight_decay: 0.0001 → 0" in text


def test_a_published_defect_switched_off_is_set_against_published(results):
    base = made_metrics(recipe="published")
    put(results, base)
    defects = base["run"]["settings"]["defects"]
    for left_out in defects[:2]:
        kept = tuple(name for name in defects if name != left_out)
        put(results, made_metrics(recipe="published", defects=kept))
    put(results, made_metrics())  # fixed: another recipe, so no row of this base
    rows = ablations.ablation(read_runs("quick"))
    assert list(rows["recipe"]) == ["published"] * 3
    assert list(rows["base"].dropna()) == sorted(defects[:2])
    assert f"defect {defects[0]} off" in text_of(ablations, rows)


def test_the_base_keeps_its_recipe_even_where_it_is_not_the_first(results):
    # One row alone: both runs are neighbours of each other, and only the recipe decides.
    put(results, made_metrics(defects=("frozen_batchnorm",), epochs=4, batch_size=50))
    put(results, made_metrics(epochs=4, batch_size=50))
    rows = ablations.ablation(read_runs("quick"))
    assert list(rows["switched"].fillna("base")) == ["base", "frozen_batchnorm"]


CHANGES = {
    "augment_external: 0.5 by flip, shift → 0.25 by flip, shift": {"augment_external": 0.25},
    "external_transformations: flip, shift → flip": {"external_transformations": ("flip",)},
    "external_transformations: flip, shift → shift": {"external_transformations": ("shift",)},
    "head: default → published": {"head": "published"},
    "lambda_mint: 1 → 3": {"lambda_mint": 3.0},
    "epochs: 30 → 60": {"epochs": 60},
    "views: one → flips": {"views": "flips"},
    "augment_members: 0 → 0.5 by flip": {
        "augment_members": 0.5,
        "member_transformations": ("flip",),
    },
    "external: 3000 → 6000": {"external": 6000},
    "weight_decay: 0.0001 → 0": {"weight_decay": 0.0},
    **{f"defect {name} on": {"defects": (name,)} for name in DEFECTS},
}


def test_each_change_of_best_alone_has_a_row(results):
    """As on real data: the base with seeds and transformed images, the others with neither."""
    best = {"recipe": "best", "data": "real", "epochs": 30}
    for seed in (0, 1, 2):
        put(results, transformed(("flip", "jpeg"), 0.99, seed, **best))
    put(results, made_metrics(**best))  # the base of seed 0 again, without transformed images
    for change in CHANGES.values():
        put(results, made_metrics(**best | change))
    put(results, made_metrics(**best | {"recipe": "fixed"}))
    put(results, made_metrics(**best | {"recipe": "robust"}))  # switches two things
    rows = ablations.ablation(read_runs("quick"))
    of_best = rows[rows["base_recipe"] == "best"]
    assert (pd.isna(of_best["setting"].iloc[0]), of_best["seeds"].iloc[0]) == (True, 3)
    text = text_of(ablations, of_best)
    shown = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:]
    without = "augment_external: 0.5 by flip, shift → 0 (recipe fixed)"
    assert sorted(shown) == sorted(["– (base)", without, *CHANGES])
    assert (of_best["matched_seeds"].iloc[1:] == 1).all()
    # Seen from `fixed`, the copies are what `best` adds.
    (added,) = rows[rows["base_recipe"] == "fixed"].iloc[1:].to_dict("records")
    assert (added["recipe"], added["switched"]) == ("best", "0.5 by flip, shift")
    # Single switches leave Table 1, whole recipes stay.
    printed = report.table1(read_runs("quick")).dropna(subset="runs")
    assert sorted(printed["recipe"].unique()) == ["best", "fixed", "robust"]
    assert not {"lambda_mint", "defects", "epochs"} & set(" ".join(printed["variant"]).split("="))


def test_without_a_common_seed_the_means_are_compared(results):
    put(results, made_metrics(mint=0.90))
    put(results, made_metrics(mint=0.80, epochs=40, seed=1))
    row = ablations.ablation(read_runs("quick")).iloc[1]
    assert row["matched_seeds"] == 0
    assert row["mint_accuracy_difference"] == pytest.approx(-0.1)


def test_nothing_switched_is_said_in_words(results):
    put(results, made_metrics())
    files = report.write("quick")
    assert "no active run differs from a base run" in files["ablation.md"].read_text()
    assert "no run measured transformed images" in files["transformations.md"].read_text()
    assert len(pd.read_csv(files["ablation.csv"])) == 0
    assert "transformations.png" not in files


def transformed(names, value, seed=0, **settings):
    metrics = made_metrics(seed=seed, transformations=names, **settings)
    metrics["transformations"] = {
        name: {
            "auc": measure(value - 0.1 * place),
            "accuracy_calibrated": measure(0.5),
            "tpr_at_fpr": {"0.01": measure(0.2)},
        }
        for place, name in enumerate(("exact", *names))
    }
    return metrics


def test_transformations_by_recipe_and_views_over_seeds(results):
    put(results, made_metrics(method="passive"))
    for seed, value in ((0, 0.90), (1, 0.94)):
        put(results, transformed(("jpeg", "flip"), value, seed))
    put(results, transformed(("flip",), 0.80, recipe="published"))
    put(results, transformed(("flip",), 0.85, views="flips"))
    rows = by_transformation.transformations(read_runs("quick"))
    own = rows.query("recipe == 'fixed' and views == 'one'").set_index("transformation")
    assert list(own.index) == ["exact", "flip", "jpeg"]  # exact first, then in one order
    assert own.loc["exact", "auc"] == pytest.approx(0.92)
    assert own.loc["flip", "auc"] == pytest.approx(0.72)
    assert own.loc["jpeg", "auc_sd"] == pytest.approx(np.std([0.80, 0.84], ddof=1))
    assert (own["seeds"] == 2).all()
    text = text_of(by_transformation, rows)
    assert text.count("[STAND-IN]") == 4
    first = text.split("AUC: ")[1].split("Calibrated")[0]
    (line,) = (line for line in first.splitlines() if "published" in line)
    assert ".800" in line
    assert "–" in line  # JPEG was not measured there
    assert "fixed, views: flips" in text
    drawn = texts(by_transformation.transformations_figure(rows, "quick"))
    for label in ("published", "jpeg", ".92", "[STAND-IN]"):
        assert label in drawn


def test_a_damaged_transformation_is_refused_by_name(results):
    metrics = transformed(("flip",), 0.9)
    folder = put(results, metrics)
    metrics["transformations"]["flip"]["auc"]["value"] = "high"
    write_json(folder / "metrics.json", metrics)
    with pytest.raises(ResultsError, match=r"transformations\.flip\.auc\.value = 'high'"):
        read_runs("quick")


def test_figures_show_every_method_and_say_what_is_substituted(results):
    put_methods(results, n=120)
    rows, scores = table(), scores_of(read_runs("quick"))
    for figure in (
        method_figures.methods_beside_each_other(rows, "quick"),
        method_figures.roc_by_method(rows, scores, "quick"),
        method_figures.agreement(rows, scores, "quick"),
        difficulty_figures.class_difficulty(rows, scores, "quick"),
    ):
        text = texts(figure)
        for name in (*SHIFTS, "yeom"):
            assert METHODS[name].title in text
        assert "Yeom (loss threshold) on the active model" in text
        assert "not to be compared" in text.replace("\n", " ")
    assert "no test" in texts(method_figures.methods_beside_each_other(rows, "quick"))


def test_dots_stand_at_the_tables_values(results):
    put_methods(results, n=120)
    rows = table()
    figure = method_figures.methods_beside_each_other(rows, "quick")
    dots = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(dots, rows["auc"])


def test_roc_curves_never_accuse_more_than_the_axis_says(results):
    put_methods(results, n=120)
    rows, scores = table(), scores_of(read_runs("quick"))
    _, (own,) = method_figures.scored(next(iter(by_method.compared(rows).values())), scores)[
        "aMINT (active)"
    ]
    rates, mean, low, high = method_figures._mean_curve([own])
    inside, outside = own.loc[own["member"], "score"], own.loc[~own["member"], "score"]
    for rate, value in zip(rates, mean, strict=True):
        cut = np.sort(outside)[::-1][min(int(rate * 120 + 1e-9), 119)]
        expected = (inside > cut).mean() if rate < 1 else 1.0
        assert value == pytest.approx(expected)
    assert ((low <= mean) & (mean <= high)).all()


def test_kappas_are_those_of_the_verdicts(results):
    put_methods(results, seeds=(0, 1), n=120)
    rows, scores = table(), scores_of(read_runs("quick"))
    grid = method_figures.kappas(rows, scores)
    np.testing.assert_allclose(np.diag(grid), 1)
    np.testing.assert_allclose(grid, grid.T)
    found = paired_tables.differences(rows, read_runs("quick"), scores)
    mean = found.query("method == 'memorizer'")["kappa"].mean()
    assert grid.loc["aMINT (active)", "Memorizer"] == pytest.approx(mean)


def test_shares_by_class_are_counted_on_members(results):
    put_methods(results, n=120)
    rows, scores = table(), scores_of(read_runs("quick"))
    grid = difficulty_figures.found_by_class(rows, scores)
    own = scores[rows.query("method == 'active'")["runs"].iloc[0]]
    members = own[own["member"] & (own["label"] == 3)]
    assert grid.loc["aMINT (active)", 3] == pytest.approx(members["flagged"].mean())
    assert grid.iloc[0].is_monotonic_increasing


def test_votes_count_methods_but_no_controls(results):
    put_methods(results, seeds=(0, 1), n=120)
    scores = scores_of(read_runs("quick"))
    ((_, rows),) = difficulty_figures.comparable(table(), scores).items()
    counted = difficulty_figures.votes(rows, scores)
    assert set(rows["group"]) == {"aMINT", "passive", "attack"}
    assert (counted["methods"] == 6).all()
    assert counted["votes"].between(0, 6).all()
    by_hand = sum(
        scores[one["runs"].split("; ")[0]].set_index("image")["flagged"].astype(int)
        for _, one in rows.iterrows()
        if one["method"] != "plain"
    )
    assert (by_hand.loc[counted.index] == counted["votes"]).all()
    assert "non-members" in texts(difficulty_figures.image_difficulty(table(), scores, "quick"))


def test_every_method_has_a_place_and_a_colour():
    assert {METHODS[name].group for name in METHODS} <= set(GROUPS)
    names = [(name, target) for name in METHODS for target in ("plain", "active")]
    looks = style.method_looks(names)
    of_attacks = {pair: look for pair, look in looks.items() if method_group(pair[0]) == "attack"}
    assert len(set(of_attacks.values())) == len(of_attacks)
    assert sorted(METHODS, key=method_order)[0] == "active"


def test_settings_in_tables_are_readable_again(results):
    put_methods(results, n=50)
    files = report.write("quick")
    runs = pd.read_csv(files["runs.csv"])
    assert json.loads(runs["settings.defects"].iloc[0]) == []
    assert {"target", "shadows", "precision_at_10pct_prior_low"} <= set(runs)

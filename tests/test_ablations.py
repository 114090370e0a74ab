"""The ablation: each defect and each change alone, set against its base run."""

import numpy as np
import pandas as pd
import pytest
from made_runs import made_metrics, made_scores, put, put_judged, seal_files, transformed
from read_back import profile, table, text_of, texts

from amint_core import report
from amint_core.evaluation import paired
from amint_core.evaluation.seeds import interval_of_mean
from amint_core.locations import results_root
from amint_core.recipes import DEFECTS
from amint_core.report.figures import FIGURES
from amint_core.report.read import read_runs
from amint_core.report.tables import ablation, table1


@pytest.fixture
def results():
    return results_root()


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
    rows = table(ablation)
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
    text = text_of(ablation)
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
    rows = table(ablation)
    assert list(rows["recipe"]) == ["published"] * 3
    assert list(rows["base"].dropna()) == sorted(defects[:2])
    assert f"defect {defects[0]} off" in text_of(ablation)


def test_defects_switched_on_together_have_a_row_of_their_own(results):
    together = ("frozen_batchnorm", "separate_batches")
    put(results, made_metrics())
    for defects in ((together[0],), together):
        put(results, made_metrics(defects=defects))
    assert list(table(ablation)["switched"].dropna()) == [together[0], ", ".join(together)]
    assert "defects frozen_batchnorm, separate_batches on" in text_of(ablation)


def test_the_base_keeps_its_recipe_even_where_it_is_not_the_first(results):
    # One row alone: both runs are neighbours of each other, and only the recipe decides.
    put(results, made_metrics(defects=("frozen_batchnorm",), epochs=4, batch_size=50))
    put(results, made_metrics(epochs=4, batch_size=50))
    rows = table(ablation)
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
    rows = table(ablation)
    of_best = rows[rows["base_recipe"] == "best"]
    assert (pd.isna(of_best["setting"].iloc[0]), of_best["seeds"].iloc[0]) == (True, 3)
    parts = ablation.document(profile()).parts
    (shown,) = (part.text["Switched"] for part in parts if "recipe best" in part.caption)
    without = "augment_external: 0.5 by flip, shift → 0 (recipe fixed)"
    assert sorted(shown) == sorted(["– (base)", without, *CHANGES])
    assert (of_best["matched_seeds"].iloc[1:] == 1).all()
    # Seen from `fixed`, the copies are what `best` adds.
    (added,) = rows[rows["base_recipe"] == "fixed"].iloc[1:].to_dict("records")
    assert (added["recipe"], added["switched"]) == ("best", "0.5 by flip, shift")
    # Single switches leave Table 1, whole recipes stay.
    printed = table(table1).dropna(subset="runs")
    assert sorted(printed["recipe"].unique()) == ["best", "fixed", "robust"]
    assert not {"lambda_mint", "defects", "epochs"} & set(" ".join(printed["variant"]).split("="))


def test_without_a_common_seed_the_means_are_compared(results):
    put(results, made_metrics(mint=0.90))
    put(results, made_metrics(mint=0.80, epochs=40, seed=1))
    row = table(ablation).iloc[1]
    assert row["matched_seeds"] == 0
    assert row["mint_accuracy_difference"] == pytest.approx(-0.1)


@pytest.mark.usefixtures("tables_alone")
def test_nothing_switched_is_said_in_words(results):
    put(results, made_metrics())
    files = report.write("quick")
    assert "no active run differs from a base run" in files["ablation.md"].read_text()
    assert "no run measured transformed images" in files["transformations.md"].read_text()
    assert len(pd.read_csv(files["ablation.csv"])) == 0
    assert "No run of this profile" in texts(FIGURES["transformations"].draw(profile()))
    put(results, made_metrics(epochs=40))
    assert len(pd.read_csv(report.write("quick")["ablation.csv"])) == 2
    assert len(pd.read_csv(report.write("quick")["ablation.csv"])) == 2


ENDS = ("low", "high")


def put_pairs(results):
    """Write base and switched runs of two seeds, with scores and with answers on test images."""
    for seed in (0, 1):
        for shift, changes in ((2.5, {}), (2.0, {"epochs": 40})):
            folder = put_judged(results, shift, 150, seed, **changes)
            scores = pd.read_parquet(folder / "judged.parquet")
            asked = made_scores(seed, 100).drop(columns="image")
            asked = asked.assign(role="test", judged=False, member=False)
            answers = np.random.default_rng(seed).integers(0, 2, 400)
            asked["predicted"] = (asked["label"] + (answers if changes else 0)) % 10
            # The order of rows does not matter.
            pd.concat([asked.sample(frac=1), scores]).to_parquet(folder / "judged.parquet")
            seal_files(folder)


def of_switch(rows):
    return rows[rows["setting"] == "epochs"].iloc[0]


def test_effects_have_the_paired_intervals_of_their_seeds(results):
    put_pairs(results)
    runs = read_runs("quick")
    scores = profile().scores
    row = of_switch(table(ablation))
    pairs = list(zip(row["runs"].split("; "), row["base_runs"].split("; "), strict=True))
    aligned = [paired.align(scores[one], scores[two]) for one, two in pairs]
    cuts = runs.set_index("run")["threshold_calibrated"]
    expected = {
        "auc": [paired.auc_difference(*both) for both in aligned],
        "tpr_at_1pct_fpr": [paired.tpr_difference(*both, 0.01) for both in aligned],
        "accuracy_calibrated": [
            paired.accuracy_difference(*both, (cuts[one], cuts[two]))
            for both, (one, two) in zip(aligned, pairs, strict=True)
        ],
    }
    for name, found in expected.items():
        low, high = interval_of_mean(*([one[end] for one in found] for end in ("value", *ENDS)))
        assert row[f"{name}_difference_low"] == pytest.approx(low)
        assert row[f"{name}_difference_high"] == pytest.approx(high)
    assert row["auc_difference_low"] < row["auc_difference"] < row["auc_difference_high"]


def test_audited_accuracy_is_paired_over_the_same_test_images(results):
    put_pairs(results)
    row = of_switch(table(ablation))
    # The base is right on all, the other on those that its seed did not move.
    each = []
    for seed in (0, 1):
        wrong = np.random.default_rng(seed).integers(0, 2, 400).astype(bool)
        each.append(paired.share_difference(~wrong, np.ones(400, bool)))
    low, high = interval_of_mean(*([one[end] for one in each] for end in ("value", *ENDS)))
    assert row["audited_accuracy_difference_low"] == pytest.approx(low)
    assert row["audited_accuracy_difference_high"] == pytest.approx(high)


def test_other_images_have_no_paired_interval(results):
    """A switch may change the split itself, or which images the audited model is asked."""
    put(results, made_metrics(dataset="gtsrb"), made_scores())
    others = made_scores().assign(index=lambda table: table["index"] + len(table))
    put(results, made_metrics(dataset="gtsrb", defects=("tracks_ignored",)), others)
    row = table(ablation).iloc[1]
    assert row["switched"] == "tracks_ignored"
    assert not np.isnan(row["auc_difference"])
    assert (
        row[[f"{name}_difference_{end}" for name in ablation.PAIRED for end in ENDS]].isna().all()
    )


def test_audited_accuracies_on_other_images_have_no_paired_interval(results):
    scores = made_scores(n=100)
    unjudged = scores.head(200).assign(judged=False, index=np.arange(200) + 1000)
    roles = np.repeat(["test", "external"], 100)
    scores = pd.concat([scores, unjudged.assign(role=roles)])
    put(results, made_metrics(), scores)
    published = made_metrics(defects=("audited_on_external",))
    published["audited"]["role"] = "external"
    put(results, published, scores)
    row = table(ablation).iloc[1]
    assert np.isnan(row["audited_accuracy_difference_low"])
    assert row["auc_difference_low"] == row["auc_difference_high"] == 0  # the same model


def test_without_scores_there_are_no_paired_intervals(results):
    put_pairs(results)
    assert "[" in text_of(ablation)
    for path in results.glob("quick/runs/*/judged.parquet"):
        path.unlink()
    row = of_switch(table(ablation))
    assert not np.isnan(row["auc_difference"])
    ends = [f"{name}_difference_{end}" for name in ablation.PAIRED for end in ENDS]
    assert row[ends].isna().all()
    assert "[" not in text_of(ablation).split("| – (base)")[1]

"""Table 1's sheets: verdicts, counts, and that the committed ones follow from committed runs."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from made_runs import seal_files

from amint_core.errors import ResultsError
from amint_core.evaluation.both_judgements import judge_twice, read_scores
from amint_core.files import read_json
from amint_core.report import paper, sheets
from amint_core.report.glance import draw
from amint_core.store import run_manifest, sha256

COMMITTED = Path(__file__).resolve().parent.parent / "results" / "table1"

#: Settings that a test may choose.
GIVEN = ("taps", "head_width", "head_epochs", "data")


def made(root, dataset="cifar10", setup="middle", model="vit", method="attached", **numbers):
    value = {"mint": 0.9, "calibrated": 0.99, "audited": 0.7, "seed": 0, **numbers}
    value = {"fingerprint": "these images", "code": "this code", **value}
    settings = {"dataset": dataset, "setup": setup, "model": model, "method": method}
    settings |= {"seed": value["seed"], "epochs": 8, "head_epochs": 4, "batch_size": 64}
    settings |= {name: value[name] for name in GIVEN if name in value}

    def metric(name):
        return {"value": value[name], "low": 0.0, "high": 1.0}

    tested = method not in ("plain", "joint")
    metrics = {
        "run": {"id": "-".join(map(str, settings.values())), "settings": settings},
        "data": {
            "source": settings.get("data", "real"),
            "fingerprint": value["fingerprint"],
            "sizes": {"members": 20, "external": 30},
            "image_size": 32,
        },
        "mint": {
            "accuracy_calibrated": metric("calibrated"),
            "auc": metric("calibrated"),
            "tpr_at_fpr": {"0.01": metric("calibrated"), "0.001": metric("calibrated")},
        }
        if tested
        else None,
        "paper": {"accuracy": metric("mint"), "accuracy_calibrated": metric("calibrated")}
        if tested
        else None,
        "audited": {"accuracy": metric("audited"), "on_members": metric("audited")},
        "training": {"seconds_trunk": 1.0, "seconds_head": 2.0, "hardware": "made up"},
    }
    folder = root / "runs" / metrics["run"]["id"]
    folder.mkdir(parents=True)
    (root / "splits").mkdir(exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    seal_files(folder, code=value["code"], git=value.get("git"))


@pytest.mark.parametrize(
    ("ours", "expected"),
    [(0.90, "within"), (0.84, "within"), (0.901, "above"), (0.83, "below"), (None, "not reached")],
)
def test_a_verdict_goes_by_the_published_noise(ours, expected):
    assert sheets.verdict(ours, 0.87) == expected


def test_all_72_cells_stand_for_each_method_reached_or_not(tmp_path):
    made(tmp_path)
    made(tmp_path, seed=1, calibrated=0.97)
    made(tmp_path, method="joint")
    table = sheets.cells(sheets.read(tmp_path))
    assert len(table) == len(sheets.METHODS) * len(paper.TABLE1) == 144
    (row,) = table[table["seeds"] > 0].to_dict("records")
    assert (row["method"], row["seeds"]) == ("attached", 2)
    assert row["mint_calibrated"] == pytest.approx(0.98)
    assert row["mint_spread"] == pytest.approx(0.0141, abs=1e-4)
    assert (row["mint_verdict"], row["audited_verdict"]) == ("within", "above")
    found = sheets.counts(table)
    assert found.loc["attached: Audited"].tolist() == [1, 0, 0, 71]
    assert found.loc["active: Audited"].tolist() == [0, 0, 0, 72]
    calibrated = "attached: MINT, on the paper's images, calibrated threshold"
    assert found.loc[calibrated].tolist() == [1, 0, 0, 71]


def test_a_copied_run_is_no_further_seed_and_a_renamed_one_is_refused(tmp_path):
    made(tmp_path)
    (run,) = (tmp_path / "runs").iterdir()
    copy = shutil.copytree(run, run.with_name(f"{run.name} (1)"))
    table = sheets.cells(sheets.read(tmp_path))
    assert table["seeds"].sum() == 1
    shutil.rmtree(run)
    copy.rename(run.with_name("other"))
    with pytest.raises(ResultsError, match="folder of another name"):
        sheets.read(tmp_path)


def test_a_cell_is_printed_as_the_paper_prints_it(tmp_path):
    made(tmp_path)
    table = sheets.cells(sheets.read(tmp_path))
    printed = sheets.laid_out(table, "attached", sheets.as_printed).set_index(["Dataset", "Setup"])
    assert printed.loc[("CIFAR-10", "middle"), "ViT"] == ".90/.70 (.87/.20)"
    assert printed.loc[("MNIST", "entry"), "MobileNet"] == "– (.86/.96)"
    other = sheets.laid_out(table, "attached", sheets.calibrated).set_index(["Dataset", "Setup"])
    assert other.loc[("CIFAR-10", "middle"), "ViT"] == ".99 (.87)"
    assert other.loc[("MNIST", "entry"), "MobileNet"] == "– (.86)"


def test_runs_of_no_timed_grid_have_no_sheets():
    with pytest.raises(ResultsError, match="aMINTResults shows the tables of quick"):
        sheets.read(COMMITTED.with_name("quick"))


def test_the_committed_sheets_follow_from_the_committed_runs(tmp_path):
    runs = sheets.read(COMMITTED)
    table = sheets.cells(runs)
    assert sheets.document(runs, table) == (COMMITTED / "tables" / "table1.md").read_text()
    committed = pd.read_csv(COMMITTED / "tables" / "table1.csv")
    assert list(committed) == list(table)
    assert committed["mint_verdict"].tolist() == table["mint_verdict"].tolist()


def test_every_committed_run_knows_the_images_that_it_was_judged_on():
    splits = {file.name: sha256(file) for file in (COMMITTED / "splits").iterdir()}
    for file in COMMITTED.glob("runs/*/metrics.json"):
        name = read_json(file)["data"]["split_file"]
        assert run_manifest(file.parent)["split_file"] == splits[name]


def _one_of_each_kind():
    kinds = {}
    for file in sorted(COMMITTED.glob("runs/*/metrics.json")):
        settings = read_json(file)["run"]["settings"]
        kinds.setdefault((settings["dataset"], settings["method"]), file)
    return [pytest.param(file, id=" ".join(kind)) for kind, file in kinds.items()]


@pytest.mark.parametrize("file", _one_of_each_kind())
def test_committed_metrics_follow_from_committed_scores_as_scores_are_judged_now(file):
    metrics = read_json(file)
    scores = read_scores(COMMITTED, file.parent, metrics["data"]["split_file"])
    for part, expected in judge_twice(scores).items():
        assert _numbers(metrics[part]) == pytest.approx(_numbers(expected), abs=1e-9)


def _numbers(metric, name=""):
    """Flatten nested metrics: name → number."""
    if not isinstance(metric, dict):
        return {name: metric}
    return {
        key: value
        for part, inner in metric.items()
        for key, value in _numbers(inner, f"{name}.{part}").items()
    }


def test_the_figure_draws_every_cell(tmp_path):
    from matplotlib import pyplot as plt

    made(tmp_path)
    figure = draw(sheets.cells(sheets.read(tmp_path)))
    assert [len(axes.patches) for axes in figure.axes] == [72] * 6
    plt.close(figure)


def test_the_figure_says_what_was_trained_and_where_thresholds_differ(tmp_path):
    made(tmp_path)
    figure = draw(sheets.cells(sheets.read(tmp_path)))
    assert [line.get_suptitle() for line in figure.subfigs] == list(sheets.METHODS.values())
    titles = [" ".join(axes.get_title().split()) for axes in figure.axes]
    calibrated = [title for title in titles if "calibrated" in title]
    assert len(calibrated) == 2
    assert all(title.endswith("(the paper's is at .5)") for title in calibrated)
    # A cell without a run shows the paper's value alone, in grey.
    others = [text for text in figure.axes[0].texts if text.get_text() != ".90\n.87"]
    assert {(len(text.get_text()), text.get_color()) for text in others} == {(3, "#999999")}


def test_stand_ins_are_called_so_in_the_sheets_and_in_the_figure(tmp_path):
    from matplotlib import pyplot as plt

    made(tmp_path, data="standin")
    runs = sheets.read(tmp_path)
    table = sheets.cells(runs)
    assert table["data"].dropna().tolist() == ["STAND-IN"]
    assert sheets.document(runs, table).startswith("# Table 1 on STAND-IN images\n")
    figure = draw(table)
    assert "on STAND-IN images" in figure.get_suptitle()
    plt.close(figure)
    made(tmp_path, dataset="mnist")
    assert sheets.images(sheets.read(tmp_path)) == "real images (STAND-IN: CIFAR-10)"


def test_a_run_with_taps_of_its_own_stands_in_no_cell(tmp_path):
    made(tmp_path)
    made(tmp_path, calibrated=0.6, taps=["norm", "head"])
    runs = sheets.read(tmp_path)
    assert sheets.cells(runs)["seeds"].sum() == 1
    assert sheets.others(runs)["setup"].tolist() == ["norm + head"]


def test_runs_of_one_cell_that_differ_in_more_than_their_seed_are_refused(tmp_path):
    made(tmp_path)
    made(tmp_path, seed=1, head_width=8)
    with pytest.raises(ResultsError, match=r"differ in head_width \(None, 8\)"):
        sheets.read(tmp_path)


def test_settings_that_differ_over_setups_are_listed_not_averaged(tmp_path):
    made(tmp_path, head_epochs=10)
    made(tmp_path, setup="entry", head_epochs=16)
    made(tmp_path, setup="output", head_epochs=10)
    (row,) = sheets.sizes(sheets.read(tmp_path)).to_dict("records")
    assert (row["head_epochs"], row["epochs"], row["members"]) == ("10, 16", "8", "20")
    assert row["seconds_head"] == 2.0


def test_runs_of_one_cell_on_different_images_are_refused(tmp_path):
    made(tmp_path)
    made(tmp_path, seed=1, fingerprint="others")
    with pytest.raises(ResultsError, match=r"differ in data\.fingerprint"):
        sheets.read(tmp_path)


def test_each_cell_names_the_commits_that_its_runs_were_made_at(tmp_path):
    first = {"commit": "a" * 40, "changed": False}
    made(tmp_path, git=first)
    made(tmp_path, seed=1, git={"commit": "b" * 40, "changed": True})
    made(tmp_path, model="resnet50")
    runs = sheets.read(tmp_path)
    named = {row["model"]: row["commit"] for row in sheets.sizes(runs).to_dict("records")}
    assert named == {"vit": f"{'a' * 12}, {'b' * 12}+", "resnet50": "unknown"}
    cell = sheets.cells(runs).query("seeds == 2")
    assert list(cell["commit"]) == [named["vit"]]


def test_cells_whose_seeds_different_code_made_are_named(tmp_path):
    made(tmp_path)
    made(tmp_path, setup="entry", code="other code")  # another cell, which is averaged with none
    runs = sheets.read(tmp_path)
    assert "different code" not in sheets.document(runs, sheets.cells(runs))
    made(tmp_path, seed=1, code="other code")
    runs = sheets.read(tmp_path)
    said = "Seeds made by different code are averaged in: cifar10 middle vit attached."
    assert said in sheets.document(runs, sheets.cells(runs))

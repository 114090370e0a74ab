"""What is stored between runs, as somebody else may hand it over: damaged, or well-formed and odd.

The hashes beside it are made to fit half of the time, as who hands out files can do.
"""

import json
import lzma
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from dataset_trees import mnist_idx
from fuzzing import ODD, chances, changed, guarded, sealed, spoiled, spoiled_json, tried_on
from hypothesis import given
from hypothesis import strategies as st
from made_runs import made_metrics, made_scores, put, seal_files
from matplotlib import pyplot as plt
from small_run import SMALL

from amint_core import data
from amint_core.batch.plan import resources
from amint_core.data.packed import load_packed, pack, packed_file
from amint_core.evaluation.scores import JUDGED_FILE
from amint_core.locations import project_root, results_root
from amint_core.report import render, sheets
from amint_core.report.figures.run import roc, score_distributions, training_curves
from amint_core.report.read import read as read_results
from amint_core.report.tables import TABLES
from amint_core.run import reference, shadows, steps
from amint_core.run.folder import Run
from amint_core.run.trainings import Training
from amint_core.settings import create
from amint_core.training.loop import State

#: A gigabyte of zeros in 150 kB.
BOMB = lzma.compress(bytes(2**20)) * 1000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with a shadow model, its files, and a checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "RESULTS"):
            patch.setenv(f"AMINT_{name}", str(tmp_path_factory.mktemp(name)))
        run = Run(create(**SMALL, method="salem", shadows=1))
        steps.train(run)
        case = steps.case_of(run)
        training = Training(run.shadows.trainings[0].identity)
        training.keep(State(1, run.model.audited.state_dict(), history=[{"epoch": 1}]))
        yield run, case, training.folder, shadows.answers(run.shadows, case).logits
        run._lock.release()


@pytest.fixture
def stored(made, tmp_path, monkeypatch):
    """The same trainings in this test's own cache."""
    run, case, folder, logits = made
    own = tmp_path / "cache" / "trainings" / folder.name
    shutil.copytree(folder, own, ignore=shutil.ignore_patterns(".lock"))
    return run, case, own, logits


@pytest.mark.parametrize("name", ["model.safetensors", "history.csv", "checkpoint.pt"])
@given(chance=chances(), answered=st.booleans())
def test_damaged_trainings_are_read_as_they_were_or_made_again(name, stored, chance, answered):
    run, _, folder, _ = stored
    training, part = run.shadows.trainings[0], run.model.audited
    read = training.state if name == "checkpoint.pt" else training.load
    with changed(folder / name, spoiled((folder / name).read_bytes(), chance), answered):
        found, refused = tried_on(lambda: read(part))
    assert not refused  # they can be made again
    if found is not None and name != "history.csv":
        weights = found.model if name == "checkpoint.pt" else found[0]
        assert {n: w.shape for n, w in weights.items()} == {
            n: w.shape for n, w in part.state_dict().items()
        }
    for aside in folder.glob("*.damaged-*"):
        assert not answered or aside.name.startswith(name)
        aside.unlink()


@given(chance=chances(), answered=st.booleans())
def test_damaged_logits_are_computed_again(stored, chance, answered):
    run, case, folder, logits = stored
    (file,) = folder.glob("logits-*.npy")
    with changed(file, spoiled(file.read_bytes(), chance), answered):
        found, refused = tried_on(lambda: shadows.answers(run.shadows, case).logits)
    assert not refused
    assert answered or np.array_equal(found, logits)
    assert found.shape == logits.shape
    for aside in folder.glob("*.damaged-*"):
        aside.unlink()


def made_up():
    """Return metrics with all parts that tables read."""
    metrics = made_metrics()
    metrics["transformations"] = {
        name: {"auc": metrics["mint"]["auc"], "accuracy_calibrated": metrics["mint"]["accuracy"]}
        | {"tpr_at_fpr": metrics["mint"]["tpr_at_fpr"]}
        for name in ("exact", "flip")
    }
    metrics["training"]["shadows"] = {"count": 8, "seconds": 800.5}
    return metrics


def tables():
    """Make all tables of a profile, in all forms."""
    results = read_results("quick")
    for table in TABLES.values():
        render.to_csv(results.once(table.rows)).encode()
        document = table.document and table.document(results)
        for form in render.FORMS.values() if document else ():
            form(document).encode()
    return results


@given(chance=chances())
def test_any_numbers_of_a_run_are_shown_or_refused(chance):
    folder = put(results_root(), made_metrics())
    (folder / "metrics.json").write_text(json.dumps(spoiled_json(made_up(), chance)))
    seal_files(folder)
    tried_on(tables)


@given(chance=chances())
def test_damaged_numbers_of_a_run_are_shown_or_refused(chance):
    folder = put(results_root(), made_metrics())
    raw = json.dumps(made_up()).encode()
    (folder / "metrics.json").write_bytes(spoiled(raw, chance))
    seal_files(folder)
    tried_on(tables)


DRAWN = {
    "roc": lambda title, scores: roc(scores, title),
    "scores": lambda title, scores: score_distributions(scores, title, 0.5),
    "training": lambda title, _: training_curves(
        pd.DataFrame({"epoch": [1], "mint_loss": [0.5]}), title
    ),
}
TITLES = [text for text in ODD if isinstance(text, str) and text.isprintable()]


@given(
    title=st.one_of(st.sampled_from(TITLES), st.text().filter(str.isprintable)),
    drawn=st.sampled_from(list(DRAWN)),
)
def test_any_title_that_is_read_is_drawn(title, drawn):
    with guarded():
        figure = DRAWN[drawn](title, made_scores(n=20).assign(method=title))
        figure.canvas.draw()
    plt.close(figure)


@given(chance=chances())
def test_scores_of_any_kind_are_read_or_refused(chance):
    folder = put(results_root(), made_metrics(), made_scores(n=20))
    table = pd.read_parquet(folder / JUDGED_FILE)
    column = chance.choice(list(table))
    match chance.randrange(4):
        case 0:
            table = table.drop(columns=column)
        case 1:
            table[column] = chance.choice(["x", None, 2**40, float("nan"), True, "\\$"])
        case 2:
            table = table.head(chance.randrange(3))
        case 3:
            table = table.rename(columns={column: "x"})
    table.to_parquet(folder / JUDGED_FILE)
    if chance.random() < 0.5:
        raw = (folder / JUDGED_FILE).read_bytes()
        (folder / JUDGED_FILE).write_bytes(spoiled(raw, chance))

    def look():
        results = read_results("quick")
        return results.verdicts, results.answers

    tried_on(look)


@pytest.fixture(scope="module")
def cell():
    """The metrics of a run of a timed grid."""
    folder = project_root() / "results" / "table1" / "runs"
    return json.loads(next(folder.glob("*/metrics.json")).read_text())


@given(chance=chances())
def test_any_numbers_of_a_timed_grid_are_shown_or_refused(cell, chance):
    folder = results_root() / "table1"
    run = folder / "runs" / cell["run"]["id"] / "metrics.json"
    run.parent.mkdir(parents=True, exist_ok=True)
    run.write_text(json.dumps(spoiled_json(cell, chance)))

    def look():
        runs = sheets.read(folder)
        sheets.document(runs, sheets.cells(runs)).encode()

    tried_on(look)


@given(chance=chances())
def test_any_reference_values_are_compared_or_refused(chance, monkeypatch):
    folder = put(results_root(), made_metrics())
    own = reference.key_values(folder)
    file = results_root() / "reference.json"
    monkeypatch.setattr(reference, "reference_file", lambda profile: file)
    file.write_text(json.dumps(spoiled_json({folder.name: own, "other": own}, chance)))
    tried_on(lambda: reference.compare("quick", [folder.name]).encode())


@given(chance=chances())
def test_any_plan_is_read_or_refused(chance):
    run = create(**SMALL)
    file = results_root() / run.profile / "plan.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    row = f"{run.id},1,0.5,2.0,1.5\n"
    raw = ("run,workers,hours,hours_alone,memory_gib\n" + row).encode()
    file.write_bytes(spoiled(raw, chance))
    found, _ = tried_on(lambda: resources(run))
    assert found is None or all(type(value) is int and value >= 0 for value in found.values())


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Digits as idx files, decoded into a cache, and packed."""
    root, cache = (tmp_path_factory.mktemp(name) for name in ("digits", "decoded"))
    mnist_idx(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMINT_DATA", str(root))
        patch.setenv("AMINT_CACHE", str(cache))
        pack("mnist", root, 8)
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    return root, folder


@pytest.mark.parametrize("name", ["description.json", "labels.npy", "pixels.npy", "files.txt"])
@given(chance=chances(), answered=st.booleans())
def test_a_damaged_cache_is_decoded_again_or_refused(name, digits, chance, answered, tmp_path):
    root, whole = digits
    folder = tmp_path / "cache" / whole.name
    shutil.rmtree(folder.parent, ignore_errors=True)
    shutil.copytree(whole, folder)
    raw = (folder / name).read_bytes()
    odd = spoiled(raw, chance)
    if name == "description.json" and answered:
        odd = sealed(spoiled_json(json.loads(raw), chance))
    with changed(folder / name, odd, answered):
        found, _ = tried_on(lambda: data.load("mnist", image_size=8, root=root, progress=False))
    if found is not None and not answered:
        assert (
            found.fingerprint == json.loads((whole / "description.json").read_text())["fingerprint"]
        )


@given(chance=chances())
def test_a_damaged_packed_dataset_is_refused(digits, chance, tmp_path):
    raw, file = packed_file(digits[0], "mnist", 8).read_bytes(), tmp_path / "mnist-8.packed"
    file.write_bytes(spoiled(raw, chance))
    tried_on(lambda: load_packed(file))


@given(chance=chances())
def test_a_packed_dataset_of_any_description_is_refused(digits, chance, tmp_path):
    file = tmp_path / "mnist-8.packed"
    with zipfile.ZipFile(packed_file(digits[0], "mnist", 8)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(list(members))
    if name == "description.json":
        members[name] = json.dumps(spoiled_json(json.loads(members[name]), chance)).encode()
    else:
        members[name] = chance.choice([spoiled(members[name], chance), BOMB])
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    tried_on(lambda: load_packed(file))

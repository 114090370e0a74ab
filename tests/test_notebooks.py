"""The notebooks are what their sources say."""

import importlib.util
import re

import nbformat
import pytest

from amint_core.batch.grid import NOTEBOOKS
from amint_core.locations import project_root
from amint_core.model import zoo
from amint_core.report import paper

FOLDER = project_root() / "notebooks"
_spec = importlib.util.spec_from_file_location("write", FOLDER / "source" / "write.py")
write = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(write)
#: Those that have code of their own; all others share run.md.
OWN = {"aMINTAudit", "aMINTOwnModel", "aMINTTable1"}
RUNS = [name for name in write.names() if name not in OWN]
#: Cells of code that are longer than a few lines: the parameters are one cell for papermill.
LINES = 6


def committed(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def sources(notebook):
    return [(cell.cell_type, cell.id, cell.source, cell.metadata) for cell in notebook.cells]


def test_every_notebook_but_the_results_has_a_source():
    present = {path.stem for path in FOLDER.glob("*.ipynb")} - {"aMINTResults"}
    others = {*NOTEBOOKS.values(), "aMINTViT", *OWN}
    assert set(write.names()) == present == others


@pytest.mark.parametrize("name", write.names())
def test_a_notebook_is_what_its_source_says(name):
    expected, found = write.written(name), committed(name)
    assert sources(found) == sources(expected), "Run `make notebooks`."
    assert found.metadata == expected.metadata


@pytest.mark.parametrize("name", write.names())
def test_cells_of_code_are_short(name):
    cells = [cell for cell in committed(name).cells if cell.cell_type == "code"]
    long = [cell.source for cell in cells if len(cell.source.splitlines()) > LINES]
    (parameters,) = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", ())]
    assert [cell for cell in long if cell != parameters] == []


def test_the_run_notebooks_differ_in_their_parameters_alone():
    codes = [write.code_of(write.written(name)) for name in RUNS]
    differing = [
        number for number, cells in enumerate(zip(*codes, strict=True)) if len(set(cells)) > 1
    ]
    assert differing == [1]


def test_writing_again_changes_no_file_and_changed_code_loses_its_outputs(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("run.md", "aMINTMNIST.md"):
        (source / name).write_bytes((FOLDER / "source" / name).read_bytes())
    path = tmp_path / "aMINTMNIST.ipynb"
    path.write_bytes((FOLDER / path.name).read_bytes())
    monkeypatch.setattr(write, "SOURCE", source)
    write.main()
    assert path.read_bytes() == (FOLDER / path.name).read_bytes()

    text = (source / "run.md").read_text(encoding="utf-8")
    (source / "run.md").write_text(text.replace("seed = 0", "seed = 1"), encoding="utf-8")
    write.main()
    changed = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in changed.cells)
    assert "seed = 1" in changed.cells[3].source


@pytest.mark.parametrize("name", RUNS)
def test_the_papers_numbers_are_the_papers(name):
    code, words = committed(name).cells[3].source, committed(name).cells[0].source
    dataset, model, setup = re.findall(r'^(?:dataset|model|setup) = "(\w+)"', code, re.M)
    if (dataset, setup, model) in paper.TABLE1:
        assert f"{paper.DATASETS[dataset]}, {setup.capitalize()}" in words
        cell = paper.TABLE1[dataset, setup, model]
        mint, audited = cell.mint, cell.audited
    elif (dataset, model) in paper.PASSIVE_ACTIVE:
        row = paper.PASSIVE_ACTIVE[dataset, model]
        mint, audited = row.active, row.audited_with
    else:
        assert "In the paper" not in words
        return
    told = re.search(r"right on (\.\d\d) of the images and the classifier on (\.\d\d)", words)
    assert [float(number) for number in told.groups()] == [mint, audited]


@pytest.mark.parametrize("name", ["aMINTMNIST", "aMINTViT"])
def test_the_heads_are_as_large_as_they_are_said_to_be(name):
    import torch

    from amint_core.model.mint import enhance, parameter_count

    of_vit = name == "aMINTViT"
    model, setup = ("vit", "middle") if of_vit else ("resnet50", "entry")
    images = torch.zeros(2, *((3, 32, 32) if of_vit else (1, 28, 28)))
    audited = zoo.create(model, *images.shape[1:3], 10)

    def millions(head, at):
        taps = zoo.default_taps(model, audited, at)
        return parameter_count(enhance(audited, taps, images, head, model).head) / 1e6

    words = next(cell.source for cell in committed(name).cells if "differs from" in cell.source)
    assert f"head has {millions(None, setup):.1f} million" in words
    published = millions("published", "middle")
    text = f"{published * 1e6:,.0f} parameters" if of_vit else f"{published:.0f} million parameters"
    assert text in words

"""The code that a result depends on: whatever is imported, a user's own files, and nothing else."""

import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_run import SMALL

from amint_core import provenance
from amint_core.data.prepare import prepare
from amint_core.errors import SettingsError
from amint_core.imports import reached
from amint_core.locations import project_root
from amint_core.model import zoo
from amint_core.model.zoo.architecture import Architecture
from amint_core.provenance import code_fingerprint
from amint_core.run.steps import code_of, run_all
from amint_core.run.trainings import training_of
from amint_core.settings import create
from amint_core.training.kinds import ACTIVE

TRAINING = "amint_core.run.models"
MODEL = """
from torch import nn
from {layers} import activation


def build(channels, image_size, num_classes):
    stages = nn.Sequential(
        nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), activation()),
        nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), activation()),
    )
    return nn.Sequential(stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes))
"""
LAYERS = "from torch import nn\n\n\ndef activation():\n    return nn.{name}()\n"

#: Imports one module after another, then tells of each, for each file that was imported by then,
#: whether a line more in it changes the module's fingerprint; the same for files that have no part.
CHANGED = """
import importlib, json, sys
from pathlib import Path

def fingerprint(module):
    from amint_core import provenance  # once it is known what the first module imports

    provenance._loaded.clear()  # a process that starts now would read the files
    return provenance.code_fingerprint(module)

modules, others = (text.split(",") for text in sys.argv[1:])
told = {}
for module in modules:
    importlib.import_module(module)
    ours = [name for name in sys.modules if name.partition(".")[0] == "amint_core"]
    imported = {str(Path(sys.modules[name].__file__)) for name in ours}
    before, changes = fingerprint(module), {}
    for file in [*imported, *others]:
        path = Path(file)
        content = path.read_bytes() if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((content or b"") + b"\\nCHANGED = True\\n")
        changes[file] = fingerprint(module) != before
        path.unlink() if content is None else path.write_bytes(content)
    assert fingerprint(module) == before
    told[module] = changes
print(json.dumps(told))
"""
MODULES = (TRAINING, "amint_core.run.steps")


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """Return a copy of the package, the files in it that have no part, and what `CHANGED` tells."""
    place = tmp_path_factory.mktemp("changed")
    package = place / "amint_core"
    shutil.copytree(project_root() / "amint_core", package)
    others = [
        *package.glob("report/*.py"),
        package / "batch" / "grid.py",
        package / "training" / ".ipynb_checkpoints" / "loop-checkpoint.py",
        package / "training" / ".loop.py",
    ]
    told = subprocess.run(
        [sys.executable, "-c", CHANGED, ",".join(MODULES), ",".join(map(str, others))],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return package, {*map(str, others)}, json.loads(told)


@pytest.mark.parametrize("module", MODULES)
def test_a_line_in_any_imported_file_changes_the_fingerprint_and_elsewhere_none(changed, module):
    package, others, told = changed
    changes = told[module]
    assert {file for file, changed in changes.items() if not changed} == others
    names = {Path(file).relative_to(package).as_posix() for file in changes}
    judging = {f"evaluation/{name}.py" for name in ("metrics", "intervals", "clusters")}
    assert names >= {"recipes.py", "training/loop.py", "training/losses.py", "model/mint.py"}
    assert names & judging == (set() if module == TRAINING else judging)


def test_storage_settings_files_of_datasets_and_judging_are_no_part_of_a_training():
    files = set(reached(TRAINING))
    assert not files & {"amint_core.store", "amint_core.run.trainings", "amint_core.config"}
    assert not {"amint_core.data.sources", "amint_core.data.entries"} & files
    others = ("amint_core.methods", "amint_core.evaluation")
    assert not {name for name in files if name.startswith(others)}


def test_a_training_depends_on_its_own_model_alone():
    roots = {name: zoo.code_of(name) for name in ("resnet50", "vit", "resnet18")}
    assert len({code_fingerprint(TRAINING, *of_model) for of_model in roots.values()}) == 3
    assert "amint_core.model.zoo.resnet" in reached(*roots["resnet50"])
    assert "amint_core.model.zoo.resnet" not in reached(*roots["vit"])


@pytest.fixture
def own_model(tmp_path, monkeypatch):
    """Register a model from files outside the package; returns a function that rewrites them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    layers, model = tmp_path / "own_layers.py", tmp_path / "own_model.py"

    def write(activation: str, load: bool = True) -> None:
        layers.write_text(LAYERS.format(name=activation))
        model.write_text(MODEL.format(layers=layers.stem))
        if not load:
            return
        importlib.invalidate_caches()
        for name in (layers.stem, model.stem):
            loaded = sys.modules.get(name)
            importlib.reload(loaded) if loaded else importlib.import_module(name)
        taps = dict.fromkeys(zoo.SETUPS, ("0.0", "0.1"))
        build = sys.modules[model.stem].build
        monkeypatch.setitem(zoo.AUDITED, "own", Architecture("own", "Own", build, taps, {}))

    yield write
    for name in (layers.stem, model.stem):
        sys.modules.pop(name, None)


def test_a_users_own_model_is_trained_again_when_its_files_change(own_model, capsys):
    settings, found = create(**{**SMALL, "model": "tiny"}), {}
    settings = settings.model_copy(update={"model": "own"})
    for activation in ("ReLU", "Tanh"):
        own_model(activation)
        found[activation] = run_all(settings)["mint"]["auc"]["value"]
        assert "Already trained" not in capsys.readouterr().out
    assert found["ReLU"] != found["Tanh"]


def test_the_fingerprints_of_runs_and_trainings_follow_a_users_files(own_model):
    found = []
    for activation in ("ReLU", "Tanh", "ReLU"):
        own_model(activation)
        settings = create(**{**SMALL, "model": "own"})
        found.append((code_of(settings), training_of(ACTIVE, prepare(settings)).folder))
    assert found[0] == found[2]
    assert not set(found[0]) & set(found[1])


def test_a_file_that_changes_meanwhile_is_not_what_runs(own_model):
    own_model("ReLU")
    before = code_fingerprint(*zoo.code_of("own"))
    own_model("Tanh", load=False)
    assert code_fingerprint(*zoo.code_of("own")) == before


def test_a_model_that_no_file_holds_is_refused_with_a_remedy():
    namespace = {"__name__": "__main__"}
    exec("def build(channels, image_size, num_classes): ...", namespace)
    for code in (namespace["build"], functools.partial(namespace["build"], 3)):
        with pytest.raises(SettingsError, match=r"build was written in a notebook.*\.py file"):
            code_fingerprint(code)


def test_the_commit_is_never_that_of_another_projects_repository(tmp_path, monkeypatch):
    monkeypatch.delenv("AMINT_COMMIT", raising=False)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path)]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    assert provenance.git_state() == {"commit": None, "changed": None}


def test_installed_packages_count_by_their_versions():
    assert not reached("torch", "json", "amint_core_that_is_not_there")
    assert torch.__name__ not in reached(TRAINING)

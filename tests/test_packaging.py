"""The repository itself: lock, environment, notebooks, names, sizes, command line."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import amint_core.cli as command_line
from amint_core import extras, locations
from amint_core.batch.grid import grid_file, load_grid
from amint_core.errors import SettingsError
from amint_core.files import read_json
from amint_core.locations import project_root
from amint_core.run import steps
from amint_core.run.reference import reference_file

ROOT = project_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
#: Largest file that a reader should have to fetch with the repository.
LARGEST = 2_500_000


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("This is no git checkout: what is tracked cannot be told.")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def locked():
    """Pinned versions by name; a name stands more than once where they depend on Python's."""
    pins = {}
    for line in LOCK.splitlines():
        if line and not line.startswith((" ", "#")):
            pin = Requirement(line.rstrip("\\ "))
            (version,) = pin.specifier
            assert version.operator == "==", line
            pins.setdefault(pin.name, []).append(Version(version.version))
    return pins


def required():
    project = PROJECT["project"]
    extras = project["optional-dependencies"].values()
    return [*project["dependencies"], *(one for extra in extras for one in extra)]


def test_the_lock_names_no_place():
    assert "://" not in LOCK
    assert not re.search(r"^\s*-(?!-hash)", LOCK, re.M)


def test_every_locked_package_has_hashes():
    blocks = re.split(r"\n(?=\S)", LOCK.strip())
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("requirement", required())
def test_the_lock_satisfies_every_requirement(requirement):
    requirement = Requirement(requirement)
    versions = locked()[requirement.name]
    assert all(version in requirement.specifier for version in versions)


def test_every_requirement_has_a_floor_and_no_ceiling():
    for requirement in required():
        assert {part.operator for part in Requirement(requirement).specifier} == {">="}


def test_conda_gives_the_versions_of_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    *tools, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements.lock"]}
    (python,) = (tool for tool in tools if tool.startswith("python="))
    floor = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert python == f"python={floor}"
    # Python aside, conda pins nothing that the lock could contradict.
    assert {"pip", "make", "git"} == set(tools) - {python}


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"] == "MIT"


def test_every_dataset_of_the_paper_has_its_notebook_and_the_results_one():
    names = {path.stem.removeprefix("aMINT") for path in NOTEBOOKS}
    datasets = {"MNIST", "CIFAR", "GTSRB", "TinyImagenet", "CasiaWebFace", "ViT"}
    assert names >= datasets | {"Results"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", ())]
    assert len(tagged) == 1
    for cell in code:
        source = "".join(cell["source"])
        assert not re.search(r"^\s*(async\s+def|def|class)\s", source, re.M), source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_show_no_machine_and_no_error(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(/home/|/Users/|/root/|/tmp/|/work/|[A-Z]:\\\\)", text)
    cells = json.loads(text)["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_modules_say_what_they_are_for():
    empty = {"utils", "util", "helpers", "common", "misc"}
    names = {path.stem for path in ROOT.joinpath("amint_core").rglob("*.py")}
    assert not names & empty


def test_no_file_is_too_large():
    large = {path.name: size for path in tracked() if (size := path.stat().st_size) > LARGEST}
    assert not large


def test_the_ci_script_alone_knows_the_shared_folder():
    needle = "../" + "shared"
    naming = [
        path.relative_to(ROOT).as_posix()
        for path in tracked()
        if needle.encode() in path.read_bytes()
    ]
    assert naming == [".ci/run"]


def test_make_names_a_too_old_python(tmp_path):
    old = tmp_path / "old python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    made = subprocess.run(
        ["make", "--always-make", "setup", f"PYTHON={old}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode != 0
    assert "needs Python 3.11 or newer" in made.stderr
    assert "make setup PYTHON=" in made.stderr


def test_make_without_a_target_lists_them():
    command = ["make", "--no-print-directory"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (declared,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert {line.split()[1] for line in told.splitlines()} == set(declared.split())


def test_help_names_every_command():
    told = command_line.parser().format_help()
    for name in ("data", "run", "reproduce", "report", "compare", "reference", "list"):
        assert re.search(rf"^\s+{name}\b", told, re.M)


def test_errors_of_the_user_are_one_message(capsys):
    assert command_line.main(["reproduce", "--profile", "quik"]) == 2
    assert capsys.readouterr().err.startswith(
        "amint: Unknown profile 'quik'. Did you mean 'quick'?"
    )
    assert command_line.main(["run", "dataset"]) == 2
    assert "not of the form KEY=VALUE" in capsys.readouterr().err
    assert command_line.main(["run", "seed=1", "seed=2"]) == 2
    assert "seed is given twice" in capsys.readouterr().err
    assert command_line.main(["data", "mnst"]) == 2
    assert "Did you mean 'mnist'" in capsys.readouterr().err


def test_ctrl_c_within_a_callback_of_a_weak_reference_is_not_lost():
    code = """
import signal, sys, time, weakref
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from amint_core import cli

class Key:
    pass

def action(_):
    key = Key()
    watched = weakref.ref(key, lambda gone: signal.raise_signal(signal.SIGINT))
    del key
    for _ in range(1000):
        time.sleep(0.01)
    return 0

cli.show_names = action
sys.exit(cli.main(["list"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (130, 0)
    assert "amint: interrupted" in done.stderr


@pytest.mark.parametrize(
    ("command", "codes"),
    [("{} list | head -c 1 > /dev/null", {0, 141}), ("PYTHONIOENCODING=ascii {} list", {0})],
    ids=["read in part", "ASCII alone"],
)
def test_whoever_reads_the_output_may_stop_or_know_ascii_only(command, codes):
    command = command.format(f'"{sys.executable}" -m amint_core')
    found = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=ROOT
    )
    assert found.returncode in codes
    assert not found.stderr


def test_run_takes_settings_as_yaml(monkeypatch, capsys):
    given = []
    monkeypatch.setattr(steps, "run_all", lambda settings: given.append(settings) or {"a": 1})
    pairs = ["dataset=mnist", "model=tiny", "epochs=3", "taps=[a, b]", "learning_rate=1e-2"]
    assert command_line.main(["run", *pairs]) == 0
    (settings,) = given
    assert (settings.epochs, settings.taps, settings.learning_rate) == (3, ("a", "b"), 0.01)
    told = capsys.readouterr().out
    assert told.startswith("a: 1\n")
    assert f"results/scratch/runs/{settings.id}" in told


def test_a_value_that_is_not_yaml_is_named():
    with pytest.raises(SettingsError, match=r"'taps=\[a' *: the value is not YAML"):
        command_line.parse_settings(["taps=[a"])


def test_list_names_what_settings_may_say(capsys):
    assert command_line.main(["list"]) == 0
    told = capsys.readouterr().out
    for name in (
        "casia_webface",
        "densenet121",
        "middle",
        "best",
        "frozen_batchnorm",
        "lira_online",
        "jpeg",
    ):
        assert name in told


def test_data_says_where_to_put_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AMINT_DATA", str(tmp_path))
    assert command_line.main(["data", "--status"]) == 0
    told = capsys.readouterr().out
    for title in ("MNIST", "CIFAR-10", "GTSRB", "Tiny ImageNet", "CASIA-WebFace"):
        assert f"{title}: not there." in told


#: What must not wait for PyTorch, as Python or as arguments of the command line.
QUICK = {
    "help": "import amint_core.cli as c; c.parser().format_help()",
    "list": "import amint_core.cli as c; c.main(['list'])",
    "settings": "import amint_core as a; a.RunConfig.create(dataset='mnist', model='resnet50')",
    "grids": "from amint_core.batch.grid import *; "
    "[load_grid(grid_file(name)) for name in ('quick', 'laptop', 'comparison', 'paper')]",
    "Snakefile": "from amint_core.batch.grid import *; from amint_core.batch import reproduce; "
    "reproduce.priorities(load_grid(grid_file('quick')))",
}
#: Packages that take a second or several to import.
SLOW = ("torch", "torchvision", "timm", "accelerate", "sklearn", "scipy", "pandas", "matplotlib")


@pytest.mark.parametrize("code", QUICK.values(), ids=QUICK)
def test_names_and_settings_do_not_wait_for_pytorch(code):
    told = f"{code}; import sys, time; "
    told += f"print([name for name in {SLOW} if name in sys.modules], time.process_time())"
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded, seconds = done.stdout.splitlines()[-1].rsplit(" ", 1)
    assert loaded == "[]"
    # 0.2 to 0.4 s of computing where nothing else runs.
    assert float(seconds) < 1.5


def test_a_run_loads_no_more_than_it_needs():
    told = "import sys, amint_core.run.steps; print([m for m in sys.argv[1:] if m in sys.modules])"
    rarely = ["timm", "torchvision", "torch._dynamo", "matplotlib", "pyarrow.parquet"]
    done = subprocess.run(
        [sys.executable, "-c", told, *rarely], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


PROFILED = ["plan", "reproduce", "judge", "report", "compare", "reference"]


@pytest.mark.parametrize("command", PROFILED)
@pytest.mark.parametrize("profile", ["", "..", "../quick", "/tmp", "a b"])
def test_a_profile_that_names_no_folder_is_refused(command, profile, capsys):
    assert command_line.main([command, "--profile", profile]) == 2
    assert "names a folder: use letters" in capsys.readouterr().err


@pytest.mark.parametrize("command", PROFILED)
def test_without_a_checkout_the_batch_says_so(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locations, "__file__", str(tmp_path / "site" / "amint_core" / "l.py"))
    monkeypatch.chdir(tmp_path)
    assert command_line.main([command]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"amint: amint {command} needs a checkout of the repository")
    assert "Clone the repository, run `make setup` there" in told


def test_a_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert command_line.main(["reproduce"]) == 2
    assert "pip install 'amint-kit[batch]'" in capsys.readouterr().err


def test_extras_bring_what_the_code_asks_of_them():
    optional = PROJECT["project"]["optional-dependencies"]
    brought = {
        extra: {Requirement(one).name.replace("-", "_") for one in all_}
        for extra, all_ in optional.items()
    }
    asked = [
        re.findall(r'"(\w+)"', call)
        for path in (ROOT / "amint_core").rglob("*.py")
        for call in re.findall(r"^ +require\((.*?)\)", path.read_text("utf-8"), re.M | re.S)
    ]
    assert len(asked) >= 3
    for extra, *modules in asked:
        assert brought[extra] >= set(modules)


def test_training_needs_neither_the_batch_nor_notebooks():
    needed = {Requirement(one).name for one in PROJECT["project"]["dependencies"]}
    assert not needed & {"snakemake", "papermill", "jupyterlab", "nbconvert", "matplotlib"}
    assert PROJECT["project"]["name"] == extras.DISTRIBUTION


def test_the_command_line_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "amint_core", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "reproduce" in done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_executed(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    kinds = {kind for cell in code for out in cell["outputs"] for kind in out.get("data", {})}
    assert "image/png" in kinds
    # A bar would be a widget that a reader on a code host cannot see.
    assert not any("widget" in kind for kind in kinds)


@pytest.mark.parametrize("profile", ["quick", "laptop", "comparison"])
def test_reference_values_cover_the_grid(profile):
    kept = read_json(reference_file(profile))
    lacking = sorted(set(load_grid(grid_file(profile))) - set(kept.get("runs", kept)))
    assert not lacking, f"{reference_file(profile)} lacks {lacking}: see docs/adding.md"

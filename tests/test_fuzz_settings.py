"""Settings and grids from outside: each is taken, or refused by an error of ours."""

import json
from contextlib import suppress

import pytest
import yaml
from fuzzing import ODD, chances, guarded, spoiled, tried_on
from hypothesis import given
from hypothesis import strategies as st

from amint_core.batch.grid import load_grid
from amint_core.cli import parse_settings
from amint_core.config import RunConfig
from amint_core.locations import project_root
from amint_core.settings import create, from_namespace
from amint_core.values import read_yaml

NAMES = [*RunConfig.model_fields, "epoch", "", "__class__", "self"]
#: What YAML, papermill and shells make of values.
SPELLINGS = ["1:30", "010", "0x1F", "1_000", "1e3", ".5", "no", "~", "None", "null", "[a, b]"]
SPELLINGS += [
    "{a: 1}",
    "!!python/object/apply:os.system [id]",
    "*x",
    "&x 1",
    "<<: 1",
    "'",
    '"',
    "[",
]
SPELLINGS += ["9" * 5000, "[" * 1000, "- - -", "2026-01-01", "\t", "a: b: c", "?", "|", "١"]
VALUES = st.one_of(st.sampled_from(ODD), st.integers(), st.floats(), st.text(max_size=20))
TEXTS = st.one_of(st.sampled_from(SPELLINGS), st.text(max_size=20), VALUES.map(repr))
GIVEN = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5)
WHOLE = {"dataset": "mnist", "model": "tiny"}


@given(given=GIVEN)
def test_settings_of_any_type(given):
    run, refused = tried_on(lambda: create(**{**WHOLE, **given}))
    assert refused or create(**json.loads(run.model_dump_json())) == run


@given(pairs=st.lists(st.tuples(st.sampled_from(NAMES), TEXTS), max_size=4))
def test_settings_on_the_command_line(pairs):
    given = ["dataset=mnist", "model=tiny", *(f"{name}={text}" for name, text in pairs)]
    tried_on(lambda: create(**parse_settings(given)).id.encode())


@given(pairs=st.lists(st.text(max_size=30), max_size=3))
def test_any_text_on_the_command_line(pairs):
    tried_on(lambda: create(**parse_settings(pairs)))


@given(namespace=GIVEN)
def test_settings_from_a_notebook(namespace):
    tried_on(lambda: from_namespace({**WHOLE, **namespace}))


@given(text=st.one_of(TEXTS, st.text(max_size=200)))
def test_any_value_as_yaml(text):
    with guarded(), suppress(ValueError):
        read_yaml(text)


@given(
    defaults=st.one_of(GIVEN, VALUES),
    runs=st.one_of(st.lists(st.one_of(GIVEN, VALUES), max_size=3), VALUES),
    other=st.one_of(st.none(), st.text(max_size=5)),
)
def test_grids_of_any_values(defaults, runs, other, tmp_path):
    content = {"defaults": defaults, "runs": runs} | ({other: 1} if other else {})
    try:
        text = yaml.safe_dump(content).encode()
    except (yaml.YAMLError, UnicodeEncodeError):
        text = repr(content).encode("utf-8", "surrogatepass")
    (tmp_path / "grid.yaml").write_bytes(text)
    tried_on(lambda: load_grid(tmp_path / "grid.yaml"))


@pytest.mark.parametrize("profile", ["quick", "comparison"])
@given(chance=chances())
def test_damaged_grids(profile, chance, tmp_path):
    raw = (project_root() / "config" / f"{profile}.yaml").read_bytes()
    (tmp_path / "grid.yaml").write_bytes(spoiled(raw, chance))
    grid, refused = tried_on(lambda: load_grid(tmp_path / "grid.yaml", "trial"))
    assert refused or all(run.profile == "trial" for run in grid.values())

"""Values that people write are read as they are meant, or refused in words."""

import math
import random

import pytest
import yaml
from small_run import SMALL

from amint_core.batch.grid import load_grid
from amint_core.cli import parse_settings
from amint_core.errors import SettingsError
from amint_core.locations import project_root
from amint_core.settings import create, from_namespace
from amint_core.values import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("-7", -7),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("2.", 2.0),
        ("-.inf", -math.inf),
        ("true", True),
        ("None", None),
        ("null", None),
        ("~", None),
        ("", None),
        ("[a, 1, None]", ["a", 1, None]),
        # YAML 1.1 takes these for numbers, truth values and dates.
        *(
            (text, text)
            for text in ("1:30", "no", "On", "y", "1_000", "0x1F", "0b11", "2026-01-02")
        ),
    ],
)
def test_yaml_is_read_as_it_is_meant(text, value):
    assert read_yaml(text) == value
    assert type(read_yaml(text)) is type(value)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("epochs=1:30", "epochs = '1:30'"),
        ("epochs=1_000", "epochs = '1_000'"),
        (f"epochs={'9' * 5000}", "Exceeds the limit"),
        (f"epochs={'9' * 4000}", "epochs = 9999.*…"),
        (f"taps={'[' * 1000}", "too many brackets"),
        (f"taps={'[' * 1000}{']' * 1000}", "too many brackets"),
        ("taps={a: 1, a: 2}", "'a' stands twice"),
        ("taps=!!int x", "not YAML"),
        ("taps=!!python/object:os.system x", "not YAML"),
    ],
)
def test_what_nobody_can_mean_is_refused_in_words(pair, message):
    with pytest.raises(SettingsError, match=message) as refused:
        create(**{**SMALL, **parse_settings([pair])})
    assert len(str(refused.value)) < 600


def test_a_seed_with_a_zero_before_it_is_decimal():
    assert create(**{**SMALL, **parse_settings(["seed=010", "cpu_threads=None"])}).seed == 10


@pytest.mark.parametrize("profile", ["2026_01", "2024", "010", "1e3", "no", "None", "'2024'"])
def test_a_profile_is_text_whatever_it_looks_like(profile, tmp_path):
    settings = create(**{**SMALL, **parse_settings([f"profile={profile}"])})
    assert settings.profile == profile.strip("'")


def test_what_yaml_takes_for_a_comment_or_a_tag_stays_in_a_text():
    read = parse_settings(["dataset=folder:/a/batch #2", "profile=!!str x", "recipe='a: #b'"])
    assert read == {"dataset": "folder:/a/batch #2", "profile": "!!str x", "recipe": "a: #b"}


@pytest.mark.parametrize("profile", [202601, 1e3, 10**5000], ids=["date", "float", "long"])
def test_a_profile_that_papermill_made_a_number_is_refused(profile):
    with pytest.raises(SettingsError, match=r"perhaps was written otherwise.*-r"):
        from_namespace({**SMALL, "profile": profile})


def test_papermills_text_for_lists_and_none_is_understood():
    settings = from_namespace({**SMALL, "taps": "[a, b]", "cpu_threads": "None", "head": "None"})
    assert (settings.taps, settings.cpu_threads, settings.head) == (("a", "b"), None, None)
    with pytest.raises(SettingsError, match="taps"):
        from_namespace({**SMALL, "taps": "[a, b"})


def test_a_grid_is_read_like_the_command_line(tmp_path):
    path = tmp_path / "2026_01.yaml"
    path.write_text("defaults: {dataset: mnist, model: tiny, data: standin}\nruns: [{seed: 010}]\n")
    (settings,) = load_grid(path).values()
    assert (settings.seed, settings.profile) == (10, "2026_01")
    for text, message in (
        ("runs: [{dataset: mnist, model: tiny, profile: x}]", "leave profile out"),
        ("runs: [{dataset: mnist, model: tiny, seed: 1, seed: 2}]", "'seed' stands twice"),
        (f"runs: {'[' * 1000}", "too many brackets"),
    ):
        path.write_text(text)
        with pytest.raises(SettingsError, match=message):
            load_grid(path)


def test_every_grid_of_the_project_is_read_as_before():
    for path in sorted((project_root() / "config").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert yaml.safe_dump(read_yaml(text)) == yaml.safe_dump(yaml.safe_load(text)), path.name


def test_any_text_is_read_or_refused_in_words():
    draw = random.Random(0)
    signs = "[]{}:,!&*#|>-?%@`'\"\\ \n\t~<=.0179einNotl\u03bb\u0663\u00b2\x00\ud800"
    refused = 0
    for _ in range(600):
        text = "".join(draw.choices(signs, k=draw.randint(0, 12)))
        for name in ("seed", "taps", "learning_rate", "profile", "model", "defects", text):
            try:
                create(**{**SMALL, **parse_settings([f"{name}={text}"])})
            except SettingsError:
                refused += 1
    assert refused > 1000

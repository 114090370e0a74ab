"""Settings: what is accepted, what is refused with which remedy, and what a run is called."""

import json
import re

import pytest

import amint_core as amint
from amint_core.config import LISTS, MARKS, PARTS, RunConfig, parts_of, settings_of
from amint_core.errors import SettingsError
from amint_core.locations import project_root
from amint_core.recipes import DEFECTS, RECIPES, defects_of
from amint_core.settings import create, from_namespace


def settings(**changed) -> RunConfig:
    return create(**{"dataset": "mnist", "model": "tiny"} | changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dataset": "mnst"}, "Did you mean 'mnist'"),
        ({"model": "resnet5"}, "Did you mean 'resnet50'"),
        ({"epoch": 3}, "Did you mean 'epochs'"),
        ({"recipe": "publishd"}, "Did you mean 'published'"),
        ({"defects": ["frozen_batchnrm"]}, "Did you mean 'frozen_batchnorm'"),
        ({"setup": "begin"}, "Unknown setup 'begin'.*Valid: entry, middle, output"),
        ({"members": 0}, "members = 0"),
        ({"epochs": "many"}, "epochs = 'many'"),
        ({"epochs": 2.5}, "epochs = 2.5"),
        ({"epochs": True}, "epochs = True"),
        ({"learning_rate": -1.0}, "learning_rate = -1.0"),
        ({"method": "yeom", "calibration": 0}, "yeom' learns from members that are not judged"),
        (
            {"method": "rmia_online", "target": "active", "protocol": "paper", "calibration": 0},
            "from the calibration images, and calibration = 0",
        ),
        ({"method": "passive", "target": "active"}, "Leave target at 'plain'"),
        ({"method": "yeom", "views": "flips"}, "'yeom' asks none. Leave views at 'one'"),
        ({"data": "fake"}, "Unknown data 'fake'.*Valid: real, standin"),
        ({"profile": "../elsewhere"}, "names a folder"),
        ({"holdout": 0}, "leaves nobody to judge"),
        ({"patience": 3, "calibration": 0}, "needs calibration images"),
    ],
)
def test_bad_settings_are_refused_with_a_remedy(changed, message):
    for build in (create, amint.RunConfig):
        with pytest.raises(SettingsError, match=message):
            build(**{"dataset": "mnist", "model": "tiny"} | changed)


def test_the_paper_protocol_has_no_holdout():
    assert settings(protocol="paper", holdout=5).holdout == 0
    assert settings(protocol="paper").id == settings(protocol="paper", holdout=0).id


def test_a_model_of_timm_is_accepted():
    assert settings(model="resnet18").model == "resnet18"


@pytest.mark.parametrize("given", [0.001, "1e-3", "1.0E-3"])
def test_numbers_that_yaml_reads_as_text_are_numbers(given):
    assert settings(learning_rate=given).learning_rate == 0.001


def test_whole_numbers_do_for_factors():
    assert settings(lambda_mint=3).lambda_mint == 3.0


def test_lists_become_tuples():
    assert settings(taps=["a", "b"]).taps == ("a", "b")


def test_settings_cannot_change_afterwards():
    with pytest.raises(Exception, match="frozen"):
        settings().epochs = 3


def test_a_recipe_fills_what_is_open_and_no_more():
    filled = settings(recipe="published", learning_rate=0.5)
    assert filled.head == RECIPES["published"]["head"]
    assert filled.defects == tuple(sorted(set(DEFECTS) - {"scaled_mint_loss"}))
    assert filled.learning_rate == 0.5


def test_a_recipes_views_are_for_methods_that_ask_a_head():
    views = {name: settings(recipe="robust", method=name).views for name in ("active", "yeom")}
    assert views == {"active": RECIPES["robust"]["views"], "yeom": "one"}
    assert views["active"] != "one"


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "attached"},
        {"method": "attached", "recipe": "staged"},
        {"method": "yeom", "recipe": "robust"},
        {"protocol": "paper"},
        {"recipe": "published"},
    ],
)
def test_the_public_class_fills_in_what_create_fills_in(changed):
    given = {"dataset": "mnist", "model": "tiny"} | changed
    assert amint.RunConfig(**given) == create(**given)
    assert amint.RunConfig.model_validate(given) == create(**given)


def test_published_factors_follow_the_dataset():
    factors = {
        name: settings(dataset=name, recipe="published").lambda_mint
        for name in ("mnist", "gtsrb", "tiny_imagenet")
    }
    assert factors["mnist"] == 10
    assert factors["tiny_imagenet"] == 10_000
    assert factors["mnist"] < factors["gtsrb"] < factors["tiny_imagenet"]
    assert settings(dataset="casia_webface", recipe="published").learning_rate == 1e-5


def test_a_defect_is_asked_for_by_its_name():
    assert settings(defects=["frozen_batchnorm"]).has("frozen_batchnorm")
    assert not settings().has("frozen_batchnorm")
    with pytest.raises(SettingsError, match="Did you mean 'frozen_batchnorm'"):
        settings().has("frozen_batch_norm")


def test_the_id_tells_what_the_run_is():
    run = settings(data="standin", setup="entry", seed=3)
    assert run.id.startswith("mnist-standin-tiny-entry-active-strict-s3-")
    assert settings(data="real").id.startswith("mnist-tiny-middle-")


@pytest.mark.parametrize(
    "changed",
    [{"epochs": 7}, {"members": 9}, {"taps": ["a", "b"]}, {"defects": ["scaled_mint_loss"]}],
)
def test_another_setting_makes_another_id(changed):
    assert settings(**changed).id != settings().id


def test_folders_of_other_names_make_other_ids():
    names = ["猫の写真", "犬の写真", "a b", "a_b", "a/b", "Ä", "Ö", "~/x", "__x", "x" * 300]
    ids = {settings(dataset=f"folder:{name}").id for name in names}
    assert len(ids) == len(names)
    assert all(one.isascii() and len(one) < 140 for one in ids)


def test_the_id_is_the_same_where_the_settings_are():
    # Where results go, and a default that is spelled out, change nothing.
    assert settings(profile="laptop", epochs=20).id == settings().id
    assert settings(learning_rate="1e-3").id == settings().id


def test_a_notebooks_values_are_its_settings():
    notebook = {
        "dataset": "mnist",
        "model": "tiny",
        "epochs": 3,
        "_": 5,
        "In": ["x"],
        "run": object(),
        "np": pytest,
    }
    assert from_namespace(notebook) == settings(epochs=3)


def test_a_notebooks_other_parameters_are_no_settings():
    notebook = {"dataset": "mnist", "model": "tiny", "beside": [{"method": "plain"}]}
    assert from_namespace(notebook, but=["beside"]) == settings()
    with pytest.raises(SettingsError, match="Unknown setting 'beside'"):
        from_namespace(notebook)


def test_a_run_beside_another_is_the_same_but_for_what_differs():
    first = settings(recipe="robust", transformations=("flip",), epochs=3)
    beside = first.beside(method="plain")
    assert (beside.method, beside.views, beside.transformations) == ("plain", "one", ())
    assert beside.augment_external == first.augment_external == 1.0
    assert first.beside(method="memorizer").views == first.views == "flips_and_shifts"
    with pytest.raises(SettingsError, match="Unknown setting 'epoch'"):
        first.beside(epoch=2)


def test_a_mistyped_papermill_parameter_is_refused():
    with pytest.raises(SettingsError, match="Did you mean 'epochs'"):
        from_namespace({"dataset": "mnist", "model": "tiny", "epohcs": 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"setup": "midle"}, "Unknown setup 'midle'. Did you mean 'middle'"),
        ({"head": "leen"}, "Unknown head 'leen'. Did you mean 'lean'"),
        ({"recipe": ["fixed"]}, "Unknown recipe"),
        ({"learning_rate": float("inf")}, "learning_rate = inf"),
        ({"learning_rate": "fast"}, "learning_rate = 'fast'"),
        ({"seed": 2**64}, "seed ="),
        ({"members": 1}, "members = 1"),
        ({"taps": []}, "names no module"),
        ({"profile": ".."}, "names a folder"),
        ({"members": True}, "members = True"),
    ],
)
def test_values_that_cannot_work_are_refused_in_words(changes, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        create(**{"dataset": "mnist", "model": "tiny", **changes})


def test_defects_in_any_order_make_the_same_run():
    ids = {
        create(dataset="mnist", model="tiny", defects=defects).id
        for defects in (
            ["separate_batches", "frozen_batchnorm"],
            ("frozen_batchnorm", "separate_batches", "frozen_batchnorm"),
        )
    }
    assert len(ids) == 1


def test_a_notebook_takes_numpy_numbers_and_refuses_objects_in_place_of_settings():
    import numpy as np

    given = {"dataset": "mnist", "model": "tiny", "members": np.int64(5)}
    assert from_namespace(given).members == 5
    with pytest.raises(SettingsError, match="defects"):
        from_namespace({**given, "defects": {"frozen_batchnorm"}})
    with pytest.raises(SettingsError, match="model"):
        from_namespace({**given, "model": object()})


@pytest.mark.parametrize("name", RunConfig.model_fields)
def test_every_setting_declares_what_it_takes_part_in(name):
    declared = parts_of(RunConfig.model_fields[name])
    assert declared & set(PARTS)
    assert declared <= {*PARTS, *MARKS}


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_declares_what_it_takes_part_in(name):
    assert DEFECTS[name].parts & {"data", "model", "head", "test"}
    assert DEFECTS[name].parts <= {*PARTS, *MARKS}


def test_settings_are_told_by_what_they_take_part_in():
    assert settings_of("spelled") == (
        *("dataset", "model", "setup", "method", "protocol", "data", "seed"),
    )
    assert settings_of("nothing") == ("profile", "workers", "keep_epochs")
    assert set(settings_of("test")) - set(settings_of("averaged")) == {
        *("method", "target", "shadows", "variance", "views")
    }
    assert settings_of("head") == (
        *("setup", "head", "head_width", "head_count", "low_pass", "taps"),
        *("lambda_audited", "lambda_mint", "patience"),
        *("augment_external", "external_transformations"),
        *("head_epochs", "head_batch", "head_rate", "head_copies"),
    )
    assert "seed" in settings_of("data")
    assert "seed" in settings_of("model")
    assert defects_of("data") == ("tracks_ignored",)
    with pytest.raises(SettingsError, match="Did you mean 'model'"):
        settings_of("modl")


def test_a_setting_that_declares_nothing_is_found():
    class More(RunConfig):
        sixth: int = 0

    assert not parts_of(More.model_fields["sixth"])


def test_the_settings_that_are_lists_are_known():
    assert (
        *("taps", "member_transformations", "external_transformations", "defects"),
        "transformations",
    ) == LISTS


def test_committed_runs_keep_their_ids():
    files = sorted(project_root().glob("results/*/runs/*/metrics.json"))
    assert len(files) > 90
    for file in files:
        given = json.loads(file.read_text(encoding="utf-8"))["run"]["settings"]
        assert create(**given).id == file.parent.name

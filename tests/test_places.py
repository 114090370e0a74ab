"""Places that variables name are the same wherever the code is started."""

import pytest

from amint_core.errors import SettingsError
from amint_core.locations import cache_root, data_root, given_path, project_root, results_root

ROOTS = {"AMINT_DATA": data_root, "AMINT_CACHE": cache_root, "AMINT_RESULTS": results_root}


@pytest.mark.parametrize("variable", ROOTS)
def test_a_relative_place_counts_from_the_project(variable, monkeypatch, tmp_path):
    monkeypatch.setenv(variable, "build/../elsewhere")
    found = set()
    for inside in (".", "notebooks", "amint_core/batch"):
        monkeypatch.chdir(project_root() / inside)
        found.add(ROOTS[variable]())
    assert found == {project_root() / "elsewhere"}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=f"{variable} = .* is relative.*Give it in full"):
        ROOTS[variable]()


@pytest.mark.parametrize("written", ["{}", " {} ", "'{}'", '"{}"', "$PLACE", "~/b c"])
def test_a_place_is_read_as_it_is_meant(written, monkeypatch, tmp_path):
    place = tmp_path / "b c"
    monkeypatch.setenv("PLACE", str(place))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AMINT_DATA", written.format(place))
    monkeypatch.chdir(tmp_path)
    assert data_root() == place


def test_a_file_is_no_place(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AMINT_RESULTS", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match="which is no folder"):
        results_root()


def test_an_empty_variable_names_nothing(monkeypatch):
    monkeypatch.setenv("AMINT_DATA", " ")
    assert data_root() == project_root() / "data"


def test_a_name_that_no_folder_can_have_is_refused(monkeypatch):
    monkeypatch.setenv("AMINT_CACHE", "/tmp/" + "a" * 300)
    with pytest.raises(SettingsError, match="File name too long"):
        cache_root()


@pytest.mark.parametrize(
    "left",
    ["$NOPE/x", "${NOPE}/x", "`pwd`/x", "$(pwd)/x", r"C:\Users\me", "s3://b/x", "'/tmp/x", "None"],
)
def test_what_a_shell_left_in_a_place_makes_no_folder(left, monkeypatch, tmp_path):
    monkeypatch.chdir(project_root())
    for variable in ("AMINT_CACHE", "AMINT_RESULTS"):
        monkeypatch.setenv(variable, left)
        with pytest.raises(SettingsError, match=f"{variable} = .*Write out the folder's path"):
            ROOTS[variable]()
    monkeypatch.setenv("AMINT_CACHE", str(tmp_path / "o'brien #2"))
    assert cache_root() == tmp_path / "o'brien #2"


def test_a_given_path_has_its_tilde_replaced_and_is_not_empty(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert given_path("~/models") == tmp_path / "models"
    for odd, message in (
        ("", "empty"),
        (" ", "empty"),
        ("x" * 300, "too long"),
        ("a\0b", "no usable path"),
        ("~nobody-of-this-name/x", "no usable path"),
        (3, "int is no path"),
    ):
        with pytest.raises(SettingsError, match=message):
            given_path(odd)

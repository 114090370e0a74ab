"""Writes leave a whole file or none."""

import os
from pathlib import Path

import pytest

from amint_core import files
from amint_core.errors import ResultsError, unknown_name
from amint_core.files import atomic_path, read_json, write_files, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "before")
    with pytest.raises(TypeError), atomic_path(target) as temporary:
        temporary.write_text(None)
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path, monkeypatch):
    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", no_space)
    with pytest.raises(ResultsError, match=r"a\.txt: No space left.*Free some space"):
        write_text(tmp_path / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="Could not write"):
        write_text(tmp_path / "file" / "below.txt", "x")


def test_of_many_files_those_before_a_failure_are_complete(tmp_path):
    def refuse(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    def write(path: Path) -> None:
        path.write_text("whole")

    with pytest.raises(ResultsError, match=r"b\.txt: No space left"):
        write_files(tmp_path, [("a.txt", write), ("b.txt", refuse), ("c.txt", write)])
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "whole"}


def test_a_folder_is_looked_through_once_for_many_files(tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(files, "clear_unfinished", looked.append)
    write_files(tmp_path, [(f"{number}.txt", Path.touch) for number in range(20)])
    assert looked == [tmp_path]
    assert len(list(tmp_path.iterdir())) == 20


def test_json_is_read_back_and_nan_is_refused(tmp_path):
    write_json(tmp_path / "a.json", {"λ": 1.5})
    assert read_json(tmp_path / "a.json") == {"λ": 1.5}
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"λ": 1.5}


def test_damaged_and_missing_json_are_named(tmp_path):
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ResultsError, match=r"bad\.json is not valid JSON"):
        read_json(tmp_path / "bad.json")
    with pytest.raises(ResultsError, match=r"none\.json is missing"):
        read_json(tmp_path / "none.json")


def test_an_unknown_name_comes_with_the_nearest():
    message = unknown_name("model", "resnet5", ["resnet50", "vit"])
    assert message == "Unknown model 'resnet5'. Did you mean 'resnet50'? Valid: resnet50, vit."
    assert "Did you mean" not in unknown_name("model", "qqqq", ["resnet50", "vit"])


def test_an_error_about_what_is_no_unicode_can_be_printed():
    assert str(ResultsError("an unexpected key '\ud800'")) == "an unexpected key '\\ud800'"


def test_a_named_pipe_is_refused_and_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "metrics.json")
    with pytest.raises(ResultsError, match=r"metrics\.json is no file"):
        read_json(tmp_path / "metrics.json")

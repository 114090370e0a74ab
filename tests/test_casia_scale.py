"""The script that measures CASIA-WebFace's size: what it makes, and what it leaves alone."""

import pytest

from amint_core.exceptions import AmintError
from benchmarks import casia_scale


def test_a_stand_in_is_generated_once_and_anew_where_it_differs(tmp_path):
    folder = tmp_path / "faces"
    casia_scale.generate(folder, 6, 2)
    files = sorted(folder.rglob("*.jpg"))
    assert len(files) == 6
    assert {file.parent.name for file in files} == {"0000000", "0000001"}
    before = files[0].stat().st_mtime_ns
    casia_scale.generate(folder, 6, 2)
    assert files[0].stat().st_mtime_ns == before
    casia_scale.generate(folder, 8, 2)
    assert len(list(folder.rglob("*.jpg"))) == 8


def test_a_folder_of_other_files_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(AmintError, match="holds no stand-in"):
        casia_scale.generate(tmp_path, 6, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("given", [["--images", "0"], ["--images", "200", "--identities", "0"]])
def test_impossible_sizes_are_refused_in_words(given, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["casia_scale", *given])
    with pytest.raises(SystemExit):
        casia_scale.main()
    assert "--images must be 100 or more" in capsys.readouterr().err

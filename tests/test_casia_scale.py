"""The script that measures CASIA-WebFace's size: what it makes, and what it leaves alone."""

import pytest

from amint_core.errors import AmintError
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


@pytest.mark.parametrize("images", ["0", "2599", "494415"])
def test_impossible_sizes_are_refused_in_words(images, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["casia_scale", "--images", images])
    with pytest.raises(SystemExit):
        casia_scale.main()
    assert "--images must be 2600 to 494414" in capsys.readouterr().err


def test_fewer_images_have_fewer_identities_and_results_of_their_own(tmp_path, monkeypatch):
    asked = []

    def measure(folder, images, identities):
        asked.append((folder.name, images, identities))
        return {"images": images}

    monkeypatch.setattr(casia_scale, "measure", measure)
    for images in (["--images", "4944"], []):
        monkeypatch.setattr("sys.argv", ["casia_scale", *images, "--out", str(tmp_path)])
        casia_scale.main()
    assert asked == [("4944", 4944, 106), ("494414", 494414, 10575)]
    assert {path.name for path in tmp_path.iterdir()} == {
        "casia_scale.json",
        "casia_scale_4944.json",
    }


def test_a_failing_phase_and_a_bad_folder_are_told_in_words(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("mine")
    out = ["--out", str(tmp_path / "out"), "--images", "2600"]
    monkeypatch.setattr("sys.argv", ["casia_scale", *out, "--folder", str(tmp_path / "file")])
    with pytest.raises(SystemExit):
        casia_scale.main()
    assert "casia_scale: error" in capsys.readouterr().err
    # No faces there: decoding fails in its own process.
    (tmp_path / "faces").mkdir()
    monkeypatch.setattr(casia_scale, "generate", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["casia_scale", *out, "--folder", str(tmp_path / "faces")])
    with pytest.raises(SystemExit):
        casia_scale.main()
    assert "phase 'decode' failed: CASIA-WebFace" in capsys.readouterr().err

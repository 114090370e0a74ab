"""The audit as a web page: what is dropped in, what comes out, and what is written where."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from audit_folders import HOW, fill, pictures
from browser import needs_browser, opened

import amint_core as amint
from amint_core.audit import page as pages
from amint_core.audit.demo import STANDIN, _command, _notebook, _places
from amint_core.cli import main
from amint_core.errors import ProtocolError
from amint_core.model import zoo
from amint_core.settings import create

STRANGERS = pictures(3, 120)


def made() -> amint.AuditableModel:
    torch.manual_seed(0)
    audited = zoo.create("tiny", 3, 16, 4)
    taps = zoo.default_taps("tiny", audited, "middle")
    model = amint.enhance(audited, taps, torch.zeros(2, 3, 16, 16))
    return amint.auditable(model, HOW, STRANGERS, architecture="tiny", card={"by": "me"})


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    return amint.save(made(), tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Ten images and two files that are none."""
    folder = fill(tmp_path / "photos", pictures(5, 10))
    (folder / "page.png").write_text("<script>document.title='owned'</script>")
    (folder / "empty.png").write_bytes(b"")
    return sorted(folder.iterdir())


def uploads(files: list[Path]) -> list[dict]:
    return [{"name": path.name, "content": memoryview(path.read_bytes())} for path in files]


def test_the_answer_is_the_report_in_a_frame_without_rights(files, model_folder) -> None:
    answer = pages.answered(amint.load(model_folder), uploads(files), [], 0.05)
    assert "cannot tell, floor" in answer
    assert '<iframe sandbox=""' in answer
    assert "page.png" in answer
    assert "is not an image of a known format" in answer
    assert "<script" not in answer


def test_what_is_wrong_is_said_and_not_raised(files, model_folder) -> None:
    model = amint.load(model_folder)
    assert "There is no image yet" in pages.answered(model, [], [], 0.05)
    few = pages.answered(model, uploads(files), uploads(files[1:4]), 0.05)
    assert "reference images are too few" in few
    none = pages.answered(
        model, uploads([one for one in files if one.name == "empty.png"]), [], 0.05
    )
    assert "none could be read" in none


def test_uploads_have_limits_and_no_folders_in_their_names(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pages, "MOST_FILES", 3)
    monkeypatch.setattr(pages, "MOST_BYTES", 10)
    for given in ([b"1"] * 4, [b"123456", b"123456"]):
        with pytest.raises(ProtocolError, match="too many for a page: at most 3 files and 10"):
            pages.unpacked([{"name": "a", "content": each} for each in given], tmp_path / "in")
        assert not (tmp_path / "in").exists()
    names = ["../../up.png", "..\\up.png", ".."]
    given = [{"name": name, "content": b"1"} for name in names]
    folder = pages.unpacked(given, tmp_path / "in" / "deep")
    assert sorted(path.name for path in folder.iterdir()) == ["2-up.png", "image", "up.png"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["deep"]
    names = ["2-a", "a", "a"]  # each keeps a name of its own, and one that a disk can hold
    monkeypatch.setattr(pages, "MOST_FILES", 4)
    given = [{"name": name, "content": b"1"} for name in [*names, "照" * 90]]
    folder = pages.unpacked(given, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["2-a", "3-a", "a", "照" * 33]


def test_nothing_of_an_upload_stays(files, model_folder, monkeypatch, tmp_path) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    pages.answered(amint.load(model_folder), uploads(files), [], 0.05)
    assert not list(place.iterdir())


def test_the_page_is_of_widgets_and_answers_a_click(files, model_folder) -> None:
    widgets = pytest.importorskip("ipywidgets")
    box = pages.page(model_folder)
    (ask,) = [each for each in box.children if isinstance(each, widgets.Button)]
    assert ask.description == "Audit"
    ask.click()
    assert "There is no image yet" in box.children[-1].value
    assert not ask.disabled


def test_voila_listens_on_this_machine_alone_and_takes_no_more_than_an_upload(tmp_path) -> None:
    command = _command(tmp_path / "audit.ipynb", 8866, browser=False)
    assert "--Voila.ip=127.0.0.1" in command
    assert f"{pages.MOST_BYTES * 3 // 2}" in " ".join(command)
    assert all(Path(place).is_relative_to(tmp_path) for place in _places(tmp_path).values())
    assert _notebook()["cells"][0]["source"].endswith('page(os.environ["AMINT_DEMO_MODEL"])')
    assert create(**STANDIN).data == "standin"


def test_the_command_hands_its_options_on(monkeypatch, tmp_path) -> None:
    from amint_core.audit import demo

    given = []
    monkeypatch.setattr(demo, "serve", lambda *options: given.append(options) or 0)
    assert main(["demo", "--model", str(tmp_path), "--port", "9000", "--no-browser"]) == 0
    assert given == [(tmp_path, 9000, False)]


@needs_browser
def test_images_go_in_and_verdicts_and_pictures_come_out(files, model_folder, tmp_path) -> None:
    pytest.importorskip("voila")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-m", "amint_core", "demo", "--model", str(model_folder)]
    command += ["--port", str(port), "--no-browser"]
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(tmp_path)}
    log = (tmp_path / "voila.log").open("w")
    demo = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(port)
        with opened(f"http://127.0.0.1:{port}/", tmp_path / "profile") as page:
            page.choose("Images in question", files)
            page.wait_for("document.body.innerText.includes('Images in question (12)')")
            page.click("Audit")
            report = page.wait_for("document.querySelector('iframe')?.srcdoc")
            assert page.value("document.body.innerText.includes('cannot tell, floor')")
            assert page.value("document.title") != "owned"
            # What it shows: pictures, and what was said of the wrong files.
            assert report.count("data:image/png;base64,") >= 12  # ten images, two figures
            for said in ("page.png", "is not an image of a known format", "empty.png", "is empty"):
                assert said in report
    finally:
        demo.terminate()
        demo.wait(60)
    assert not list(home.iterdir())
    left = {path.name for path in tmp_path.iterdir()} - {"photos", "home", "profile", "voila.log"}
    assert not {name for name in left if name.startswith("amint")}


def wait_for(port: int, seconds: float = 180) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as tried:
            tried.settimeout(1)
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail("the page is not served")

"""From a folder to a report: what is found, what is written, and that names stay text."""

from __future__ import annotations

import csv
import json
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from audit_folders import HOW, ONERROR, SCRIPT, fill, hazards, pictures, recognises
from browser import PROGRAM, needs_browser

from amint_core.audit.audit import audit
from amint_core.audit.fingerprints import Published, content_hash
from amint_core.audit.found import Found
from amint_core.audit.preprocessing import Preprocessing
from amint_core.audit.scoring import score_all
from amint_core.errors import DataError, ModelError, ProtocolError

MEMBERS = pictures(1, 60)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Return 60 members, 140 strangers and hazards in one folder, 800 strangers in the other."""
    root = tmp_path_factory.mktemp("audit")
    hazards(root / "photos")
    fill(root / "photos", MEMBERS, "member")
    fill(root / "photos", pictures(2, 140), "stranger")
    return root / "photos", fill(root / "reference", pictures(3, 800))


@pytest.fixture(scope="module")
def found(folders) -> Found:
    photos, reference = folders
    published = Published.of([*MEMBERS[:5], *pictures(9, 10)])
    return audit(
        recognises(MEMBERS),
        photos,
        reference,
        preprocessing=HOW,
        members=score_all(recognises(MEMBERS), MEMBERS, HOW).scores,
        published=published,
    )


def test_members_are_found_among_strangers_and_hazards(found: Found) -> None:
    accused = [
        name
        for name, row in zip(found.images.names, found.rows, strict=True)
        if found.verdict.accused[row]
    ]
    assert found.verdict.fit.holds
    assert sum(name.startswith("member") for name in accused) == 60
    assert len(accused) <= 66
    assert found.exit_code == 0
    assert found.images.copies.count("exact copy") == 5


def test_equal_images_are_one_question(folders, found: Found) -> None:
    # Ten of the hazards show one and the same picture.
    assert len(found.verdict.p) < len(found.images)
    places = [found.images.names.index(name) for name in ("whole.png", "linked.png", "opaque.png")]
    assert len(set(found.rows[places])) == 1
    firsts = [list(found.rows).index(row) for row in range(len(found.verdict.p))]
    assert firsts == sorted(firsts)
    assert np.array_equal(
        found.verdict.p[found.rows],
        found.verdict.p[found.rows[[found.images.hashes.index(h) for h in found.images.hashes]]],
    )


def test_reference_images_in_question_leave_the_reference() -> None:
    strangers = pictures(3, 300)
    twice = np.concatenate([strangers, strangers[100:150]])  # and count once
    found = audit(recognises(MEMBERS), strangers[:40], twice, preprocessing=HOW)
    assert found.verdict.references == 260
    assert "40 reference images are among" in found.warnings[0]


def test_scores_alone_serve_as_reference_with_a_warning() -> None:
    reference = score_all(recognises(MEMBERS), pictures(3, 300), HOW)
    images = np.concatenate([MEMBERS, pictures(2, 100)])
    alone = audit(recognises(MEMBERS), images, reference.scores, preprocessing=HOW)
    whole = audit(recognises(MEMBERS), images, reference, preprocessing=HOW)
    assert np.array_equal(alone.verdict.accused, whole.verdict.accused)
    assert "could not be compared" in alone.warnings[0]
    assert not whole.warnings


@pytest.mark.parametrize("known", [0, 1, 19])
def test_a_few_known_members_tell_nothing_of_the_share(known, tmp_path) -> None:
    images, strangers = np.concatenate([MEMBERS, pictures(2, 100)]), pictures(3, 300)
    given = {"preprocessing": HOW, "members": np.ones(known)}
    found = audit(recognises(MEMBERS), images, strangers, **given)
    assert found.verdict.statement("share") is None
    found.save(tmp_path)
    with pytest.raises(ProtocolError, match="no finite numbers"):
        audit(recognises(MEMBERS), images, strangers, **{**given, "members": np.full(20, np.nan)})


def test_a_report_of_images_with_five_channels_goes_without_pictures_of_them(tmp_path) -> None:
    how = Preprocessing(16, 16, 5)
    random = np.random.default_rng(0)
    images, strangers = (random.integers(0, 256, (60, 16, 16, 5), np.uint8) for _ in range(2))
    hashes = {content_hash(one) for one in images}

    def score(batch):
        pixels = ((batch + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        known = [content_hash(np.ascontiguousarray(one)) in hashes for one in pixels]
        return torch.tensor([4.0 if one else float(random.random()) for one in known])

    found = audit(score, images, strangers, preprocessing=how)
    assert found.verdict.accused.all()
    found.save(tmp_path)
    assert (tmp_path / "report.html").is_file()


def test_noise_and_coarse_images_end_with_cannot_tell() -> None:
    strangers = pictures(3, 400)
    noise = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
    coarse = MEMBERS[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
    for images in (noise, coarse):
        found = audit(recognises(images), images, strangers, preprocessing=HOW)
        assert found.exit_code == 3
        assert found.verdict.headline.startswith("cannot tell")


def test_where_no_reference_fits_no_figure_says_that_someone_is_accused(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
    found = audit(recognises(noise), noise, pictures(3, 400), preprocessing=HOW)
    page = " ".join(Elements(found.save(tmp_path).read_text()).text.split())
    assert "All up to the last one below the line are accused" not in page
    assert "Nobody is accused, since the references are of another kind" in page


def test_a_few_images_are_not_said_to_be_of_the_references_kind(tmp_path) -> None:
    few = pictures(2, 7)
    found = audit(recognises(few), few, pictures(3, 400), preprocessing=HOW)
    assert found.verdict.accused.all()
    assert any("7 images are too few to be compared" in said for said in found.warnings)
    page = " ".join(Elements(found.save(tmp_path).read_text()).text.split())
    assert "Nothing was compared" in page
    assert "found no difference" not in page
    found = audit(recognises(few), pictures(2, 8), pictures(3, 400), preprocessing=HOW)
    assert not any("too few to be compared" in said for said in found.warnings)


def test_the_answer_does_not_depend_on_the_batches() -> None:
    images = pictures(2, 50)
    one, many = (score_all(recognises(MEMBERS), images, HOW, batch_size=size) for size in (7, 64))
    assert np.array_equal(one.scores, many.scores)
    assert np.array_equal(one.statistics, many.statistics)


def test_references_that_cannot_be_read_are_told(tmp_path) -> None:
    fill(tmp_path / "asked", pictures(0, 20))
    fill(tmp_path / "reference", pictures(1, 60))
    for number in range(5):
        (tmp_path / "reference" / f"note{number}.txt").write_text("no image")
    folders = tmp_path / "asked", tmp_path / "reference"
    found = audit(recognises(pictures(0, 5)), *folders, preprocessing=HOW)
    (said,) = (one for one in found.warnings if "could not be read" in one)
    assert said.startswith("Of the reference 5 files could not be read: ")
    assert said.endswith("and 2 more.")


def test_a_rate_that_is_none_is_refused_before_images_are_scored(tmp_path) -> None:
    with pytest.raises(ProtocolError, match="between 0 and 1, not 2"):
        audit(lambda batch: 1 / 0, pictures(0, 5), pictures(1, 60), 2, preprocessing=HOW)
    asked = pictures(0, 9), pictures(1, 60), np.float32(0.1)
    found = audit(recognises(pictures(0, 5)), *asked, preprocessing=HOW)
    found.save(tmp_path / "report")


def test_a_folder_without_images_and_a_wrong_score_are_refused(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"1 files refused.*notes.txt is not an image"):
        audit(recognises(MEMBERS), tmp_path, pictures(3, 60), preprocessing=HOW)
    with pytest.raises(ModelError, match=r"shape \(3, 2\) for 3 images"):
        score_all(lambda batch: torch.zeros(len(batch), 2), pictures(3, 3), HOW)


def test_the_csv_has_a_line_for_every_file(found: Found, folders, tmp_path) -> None:
    found.save(tmp_path)
    with open(tmp_path / "images.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    on_disk = sum(1 for each in folders[0].iterdir())
    assert len(rows) == on_disk == len(found.images) + len(found.images.refused)
    assert {row["decision"] for row in rows} == {"member", "cannot tell", "no image"}
    listed = {row["file"]: row for row in rows}
    assert listed["member-0007.png"]["decision"] == "member"
    assert listed["member-0003.png"]["published"] == "exact copy"
    assert listed["empty.png"]["note"] == "is empty"
    assert SCRIPT in listed  # text is not changed, but for what a spreadsheet would run


def test_a_name_that_a_spreadsheet_would_run_is_quoted(tmp_path) -> None:
    fill(tmp_path / "in", pictures(2, 1), "=1+1")
    found = audit(recognises(MEMBERS), tmp_path / "in", pictures(3, 60), preprocessing=HOW)
    found.save(tmp_path / "out")
    assert "\n'=1+1-0000.png," in (tmp_path / "out" / "images.csv").read_text()


def test_the_json_holds_every_statement(found: Found, tmp_path) -> None:
    found.save(tmp_path)
    record = json.loads((tmp_path / "audit.json").read_text())
    assert record["headline"] == found.verdict.headline
    assert record["floor"] == found.verdict.floor
    about = [each["about"] for each in record["statements"]]
    assert about == [
        "images", "false discoveries", "false-positive rate", "none used", "least used", "share",
        "all used", "missing from the list",
    ]  # fmt: skip
    assert record["preprocessing"]["filter"] == "bilinear"


class Elements(HTMLParser):
    """Collects elements with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.text += data


def test_the_report_stands_alone_and_names_are_only_text(found: Found, tmp_path) -> None:
    page = Elements(found.save(tmp_path).read_text(encoding="utf-8"))
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "svg")
        assert not any(name.startswith("on") or name == "href" for name in attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
    said = " ".join(page.text.split())
    for words in (
        found.verdict.headline,
        SCRIPT,
        ONERROR,
        "floor",
        "“Cannot tell” is not “not used”",
    ):
        assert words in said
    for statement in found.verdict.statements:
        assert statement.sentence in said
    for refused in found.images.refused:
        assert refused.reason in said


@needs_browser
def test_markup_in_names_is_inert_in_a_browser(found: Found, tmp_path) -> None:
    report = found.save(tmp_path / "report")
    page = subprocess.run(
        [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", report.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    assert f"<title>Membership audit: {found.verdict.headline}</title>" in page  # not "owned"
    assert "<script" not in page


def test_a_report_without_accusations_says_what_that_does_not_mean(tmp_path) -> None:
    found = audit(recognises(MEMBERS), pictures(2, 60), pictures(3, 60), preprocessing=HOW)
    said = " ".join(Elements(found.save(tmp_path).read_text()).text.split())
    assert "cannot tell, floor 20" in said  # 60 images, 60 references: 60 / (.05 · 61)
    assert "That nobody is accused does not mean that nothing was used." in said
    assert "What a negative answer does not mean" in said

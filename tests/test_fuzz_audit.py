"""What auditors are handed by strangers: models, lists, proofs, fingerprints, images."""

import json
import random
import shutil

import numpy as np
import pytest
from audit_folders import HOW, pictures
from fuzzing import chances, changed, sealed, spoiled, spoiled_json, tried_on
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from small_run import SMALL

from amint_core.audit import ledger, model_folder, statement
from amint_core.audit.export import export
from amint_core.audit.fingerprints import Published
from amint_core.audit.images import Picture, read
from amint_core.errors import DamagedError
from amint_core.run.folder import run_folder
from amint_core.run.steps import run_all
from amint_core.settings import create

KEY = bytes(range(32))
IMAGES = [f"{number:032x}".encode() for number in range(12)]


@pytest.fixture(scope="module")
def handed(tmp_path_factory):
    """A model's folder as an owner hands it out."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "RESULTS"):
            patch.setenv(f"AMINT_{name}", str(tmp_path_factory.mktemp(name)))
        run = create(**{**SMALL, "calibration": 60})
        run_all(run)
        yield export(run_folder(run), tmp_path_factory.mktemp("handed"))


@pytest.mark.parametrize("name", ["model.safetensors", "scores.safetensors", "auditable.json"])
@given(chance=chances(), answered=st.booleans())
def test_a_damaged_model_is_refused(name, handed, chance, answered):
    raw = (handed / name).read_bytes()
    with changed(handed / name, odd := spoiled(raw, chance), answered):
        _, refused = tried_on(lambda: model_folder.load(handed))
    if odd != raw and not answered and not says_the_same(odd, raw):
        assert isinstance(refused[0], DamagedError)


def says_the_same(odd, raw):
    """Tell whether both are JSON of the same content, as with a line break more."""
    try:
        return json.loads(odd) == json.loads(raw)
    except ValueError:
        return False


@given(chance=chances())
def test_a_model_of_any_description_is_read_or_refused(handed, chance, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(handed, folder, dirs_exist_ok=True)
    content = json.loads((handed / "auditable.json").read_text())
    (folder / "auditable.json").write_bytes(sealed(spoiled_json(content, chance)))
    tried_on(lambda: model_folder.load(folder))


def owned():
    return ledger.Ledger.of(KEY, members=IMAGES[:6], external=IMAGES[6:9])


@given(chance=chances(), whole=st.booleans())
def test_any_list_is_read_or_refused(chance, whole, tmp_path):
    file = tmp_path / "ledger.json"
    owned().save(file)
    raw = file.read_bytes()
    odd = spoiled_json(json.loads(raw), chance)
    file.write_bytes(sealed(odd) if whole else spoiled(raw, chance))
    found, _ = tried_on(lambda: ledger.Ledger.load(file))
    if found is not None and not whole:
        assert found.images == owned().images


@given(chance=chances())
def test_any_proof_is_checked_or_refused(chance):
    listed = owned()
    said = listed.statement("0" * 64)
    image = chance.choice(IMAGES)
    record = spoiled_json(listed.prove(image).to_json(), chance)
    role, _ = tried_on(lambda: ledger.role_of(image, ledger.Proof.from_json(record), said))
    assert role in (None, listed.images.get(image))


@given(chance=chances(), whole=st.booleans())
def test_any_statement_is_checked_or_refused(chance, whole, tmp_path):
    file = tmp_path / "statement.json"
    signed = owned().statement("0" * 64)
    statement.publish(file, signed, KEY)
    raw = file.read_bytes()
    odd = json.dumps(spoiled_json(json.loads(raw), chance)).encode()
    file.write_bytes(odd if whole else spoiled(raw, chance))
    found, _ = tried_on(lambda: statement.read(file, statement.public_key_of(KEY)))
    assert found in (None, signed)


@given(chance=chances())
def test_any_fingerprints_are_read_or_refused(chance, tmp_path):
    file = tmp_path / "fingerprints.npz"
    Published.of(pictures(0, 3)).save(file)
    raw = file.read_bytes()
    match chance.randrange(3):
        case 0:
            file.write_bytes(spoiled(raw, chance))
        case 1:
            odd = chance.choice([np.zeros(3), np.array(["x"]), np.zeros((2, 31), np.uint8)])
            with file.open("wb") as target:
                np.savez(target, **{chance.choice(["exact", "perceptual"]): odd, "other": odd})
        case 2:
            odd = chance.choice([np.zeros((2, 2)), np.array(["x"]), np.array(-1), np.zeros(0)])
            with file.open("wb") as target:
                np.savez(target, exact=odd, perceptual=odd)
    found, _ = tried_on(lambda: Published.load(file))
    if found is not None:
        found.match(pictures(0, 1)[0])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "EPS", "PDF", "PSD-like"])
@given(chance=chances())
@example(chance=random.Random(53463432))  # a TIFF without a width, of which Pillow says TypeError
def test_any_file_among_the_images_is_seen_or_refused(kind, chance, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)
    image = Image.fromarray(pictures(chance.randrange(9), 1, 24)[0])
    if kind == "PSD-like":
        (folder / "a.png").write_bytes(b"8BPS" + chance.randbytes(chance.randrange(200)))
    else:
        image.save(folder / "a.png", kind)
        (folder / "a.png").write_bytes(spoiled((folder / "a.png").read_bytes(), chance))
    found, refused = tried_on(lambda: list(read(folder, HOW)))
    assert not refused
    assert len(found) == 1
    if isinstance(found[0], Picture):
        assert found[0].pixels.shape == (16, 16, 3)

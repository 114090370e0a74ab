"""The ledger: RFC 6962's tree, proofs of presence and absence, and what must be refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from amint_core.audit import ledger, merkle, statement
from amint_core.audit.fingerprints import Published
from amint_core.audit.statement import LedgerError
from amint_core.errors import AmintError
from amint_core.locations import project_root

#: The leaves and roots that Certificate Transparency's own implementations test with.
LEAVES = [
    bytes.fromhex(each)
    for each in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
SECRET, PRIVATE = bytes(range(32)), bytes(range(1, 33))


def images(role: str, number: int) -> list[bytes]:
    return [hashlib.sha256(f"{role} {each}".encode()).digest() for each in range(number)]


@pytest.fixture
def owned() -> ledger.Ledger:
    return ledger.Ledger.of(
        SECRET,
        members=images("member", 21),
        external=images("external", 13),
        calibration=images("calibration", 5),
    )


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_rfc_6962(size: int) -> None:
    assert merkle.Tree(LEAVES[:size]).root.hex() == ROOTS[size - 1]


def test_the_empty_tree_and_a_path_are_those_of_rfc_6962() -> None:
    assert merkle.Tree([]).root == hashlib.sha256(b"").digest()
    assert [each.hex() for each in merkle.Tree(LEAVES).path(0)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 64, 65, 100])
def test_every_leaf_leads_to_the_root_from_its_place_alone(size: int) -> None:
    leaves = [bytes([each]) for each in range(size)]
    tree = merkle.Tree(leaves)
    for index, leaf in enumerate(leaves):
        path = tree.path(index)
        assert merkle.root_from(leaf, index, size, path) == tree.root
        assert merkle.root_from(leaf + b"x", index, size, path) != tree.root
        assert merkle.root_from(leaf, index, size, (*path, path[-1] if path else b"")) is None
        others = [merkle.root_from(leaf, each, size, path) for each in range(size) if each != index]
        assert tree.root not in others


def test_every_listed_image_is_proved_with_its_role(owned: ledger.Ledger) -> None:
    signed = owned.statement("w")
    assert signed.roles == {"members": 21, "external": 13, "calibration": 5}
    for role in ("member", "external", "calibration"):
        for image in images(role, signed.roles[{"member": "members"}.get(role, role)]):
            proof = ledger.Proof.from_json(json.loads(json.dumps(owned.prove(image).to_json())))
            assert ledger.role_of(image, proof, signed) == {"member": "members"}.get(role, role)


def test_absence_is_proved_between_and_at_both_ends() -> None:
    small, places = ledger.Ledger.of(SECRET, members=images("member", 3)), set()
    for image in images("stranger", 100):
        proof = small.prove(image)
        places.add(tuple(place.index for place in proof.neighbours))
        assert ledger.role_of(image, proof, small.statement("w")) is None
    assert places == {(0,), (0, 1), (1, 2), (2,)}


def test_a_proof_shows_no_other_image(owned: ledger.Ledger) -> None:
    shown = json.dumps(owned.prove(images("stranger", 1)[0]).to_json())
    assert not any(image.hex() in shown for image in owned.images)


def test_an_empty_list_denies_everything() -> None:
    empty = ledger.Ledger.of(SECRET)
    image = images("stranger", 1)[0]
    assert ledger.role_of(image, empty.prove(image), empty.statement("w")) is None


def test_a_proof_of_another_image_or_role_is_refused(owned: ledger.Ledger) -> None:
    signed = owned.statement("w")
    member, other = images("member", 2)
    proof = owned.prove(member)
    with pytest.raises(LedgerError, match="another image, role or salt"):
        ledger.role_of(other, proof, signed)
    for change in ({"role": "external"}, {"salt": bytes(32)}):
        with pytest.raises(LedgerError, match="another image, role or salt"):
            ledger.role_of(member, dataclasses.replace(proof, **change), signed)
    for kept in range(len("members")):  # the rest of the role goes over to the salt
        moved = {"role": "members"[kept + 1 :], "salt": proof.salt + b"members"[: kept + 1]}
        with pytest.raises(LedgerError, match="none that a ledger has"):
            ledger.role_of(member, dataclasses.replace(proof, **moved), signed)


def test_a_signed_root_that_is_no_hash_proves_nothing(owned: ledger.Ledger) -> None:
    signed = dataclasses.replace(owned.statement("w"), root="no hexadecimal digits")
    image = images("member", 1)[0]
    with pytest.raises(LedgerError, match="not part of the signed list"):
        ledger.role_of(image, owned.prove(image), signed)


def test_a_member_cannot_be_denied(owned: ledger.Ledger) -> None:
    signed, member = owned.statement("w"), images("member", 1)[0]
    place = owned.prove(member).place
    for index in range(signed.size - 1):  # any two neighbours of the true list
        pair = (owned._place(index), owned._place(index + 1))
        with pytest.raises(LedgerError, match="leave room"):
            ledger.role_of(member, ledger.Proof(owned.key, neighbours=pair), signed)
    around = (owned._place(place.index - 1), owned._place(place.index + 1))
    for neighbours in (around, (), around[:1], around[1:]):
        with pytest.raises(LedgerError, match="leave room"):
            ledger.role_of(member, ledger.Proof(owned.key, neighbours=neighbours), signed)


def test_an_altered_leaf_and_a_second_key_are_refused(owned: ledger.Ledger) -> None:
    signed, member = owned.statement("w"), images("member", 1)[0]
    proof = owned.prove(member)
    leaf = bytes([proof.place.leaf[0] ^ 1]) + proof.place.leaf[1:]
    altered = dataclasses.replace(proof, place=dataclasses.replace(proof.place, leaf=leaf))
    with pytest.raises(LedgerError, match="not part of the signed list"):
        ledger.role_of(member, altered, signed)
    with pytest.raises(LedgerError, match="key is not the one"):
        ledger.role_of(member, dataclasses.replace(proof, key=bytes(32)), signed)


def test_an_unsorted_list_is_found_out(owned: ledger.Ledger) -> None:
    leaves = owned.leaves()
    ledger.check_order(leaves, owned.statement("w"))
    with pytest.raises(LedgerError, match="not the leaves that were signed"):
        ledger.check_order(leaves[:-1], owned.statement("w"))
    moved = [*leaves[1:], leaves[0]]
    root = merkle.Tree(moved).root.hex()
    with pytest.raises(LedgerError, match="not sorted"):
        ledger.check_order(moved, dataclasses.replace(owned.statement("w"), root=root))


def test_an_image_with_two_roles_is_refused() -> None:
    with pytest.raises(LedgerError, match="has one role"):
        ledger.Ledger.of(SECRET, members=images("member", 2), external=images("member", 1))
    with pytest.raises(LedgerError, match="Unknown role 'guests'"):
        ledger.Ledger.of(SECRET, guests=images("member", 2))


def test_the_owner_keeps_his_list_on_disk(owned: ledger.Ledger, tmp_path) -> None:
    owned.save(tmp_path / "secret.json")
    assert (tmp_path / "secret.json").stat().st_mode & 0o077 == 0
    again = ledger.Ledger.load(tmp_path / "secret.json")
    assert again.statement("w") == owned.statement("w")


def test_wrong_key_altered_statement_and_swapped_model_are_refused(
    owned: ledger.Ledger, tmp_path
) -> None:
    pytest.importorskip("cryptography", reason="signatures need the extra `audit`")
    model, path = torch.nn.BatchNorm1d(3), tmp_path / "ledger.json"
    weights = statement.hash_of_weights(model.state_dict())
    public = statement.public_key_of(PRIVATE)
    statement.publish(path, owned.statement(weights), PRIVATE)
    assert statement.read(path, public, weights) == owned.statement(weights)
    before = json.loads(path.read_text())  # as statements were before `answers` was a part of them
    del before["statement"]["answers"]
    path.write_text(json.dumps(before))
    assert statement.read(path, public, weights) == owned.statement(weights)

    with pytest.raises(LedgerError, match=r"32 bytes, as bytes\.fromhex"):
        statement.read(path, public.hex(), weights)
    with pytest.raises(LedgerError, match="not signed with this key"):
        statement.read(path, statement.public_key_of(bytes(32)), weights)
    model.running_var[1] += 1e-7
    with pytest.raises(LedgerError, match="not the model"):
        statement.read(path, public, statement.hash_of_weights(model.state_dict()))
    record = json.loads(path.read_text())
    record["statement"]["size"] += 1
    path.write_text(json.dumps(record))
    with pytest.raises(LedgerError, match="altered afterwards"):
        statement.read(path, public, weights)
    path.write_text("{}")
    with pytest.raises(LedgerError, match="no published statement"):
        statement.read(path, public, weights)


def test_the_hash_of_weights_sees_names_types_shapes_and_values() -> None:
    state = {"a": torch.zeros(2, 3), "n": torch.tensor(1)}
    hashes = {
        statement.hash_of_weights(each)
        for each in (
            state,
            {"b": state["a"], "n": state["n"]},
            {**state, "a": torch.zeros(3, 2)},
            {**state, "a": torch.zeros(2, 3, dtype=torch.bfloat16)},
            {**state, "n": torch.tensor(2)},
        )
    }
    assert len(hashes) == 5
    shuffled = dict(reversed(state.items()))
    assert statement.hash_of_weights(shuffled) == statement.hash_of_weights(state)


def test_without_cryptography_the_remedy_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(AmintError, match="The extra 'audit' brings"):
        statement.public_key_of(PRIVATE)


@pytest.mark.parametrize(
    "odd",
    [
        {"roles": {"members": "<b>many</b>", "external": 0, "calibration": 0}},
        {"roles": "100 members"},
        {"roles": {"members": 3}},
        {"root": 5},
        {"transcript": "\x1b[2J0 images"},
        {"weights": None},
        {"fingerprints": 7},
        {"size": True},
        {"format": "other-9"},
    ],
    ids=lambda odd: min(odd),
)
def test_a_signed_statement_of_another_form_is_refused(odd, owned, tmp_path) -> None:
    pytest.importorskip("cryptography", reason="signatures need the extra `audit`")
    said = dataclasses.replace(owned.statement("0" * 64), **odd)
    statement.publish(tmp_path / "odd.json", said, PRIVATE)
    with pytest.raises(LedgerError, match=r"odd.json is no published statement"):
        statement.read(tmp_path / "odd.json", statement.public_key_of(PRIVATE))


def test_signed_numbers_of_roles_add_up_to_the_list(owned, tmp_path) -> None:
    pytest.importorskip("cryptography", reason="signatures need the extra `audit`")
    said = owned.statement("0" * 64)
    fewer = dataclasses.replace(said, roles=said.roles | {"members": 1})
    statement.publish(tmp_path / "fewer.json", fewer, PRIVATE)
    with pytest.raises(LedgerError, match=r"names 19 images in its roles, but the list .* has 39"):
        statement.read(tmp_path / "fewer.json", statement.public_key_of(PRIVATE))


def test_fingerprints_of_other_kinds_have_other_digests() -> None:
    exact = bytes(range(32))
    words = np.sort(np.frombuffer(exact, "<u8"))
    one = Published(frozenset([words.tobytes()]), np.array([], np.uint64))
    assert one.digest != Published(frozenset(), words).digest


def test_what_the_docs_say_to_owner_and_auditor_works(tmp_path, monkeypatch) -> None:
    pytest.importorskip("cryptography", reason="signatures need the extra `audit`")
    monkeypatch.chdir(tmp_path)
    page = (project_root() / "docs" / "audit.md").read_text(encoding="utf-8")
    section = page.split("## Sign a list, and check it")[1].split("\n## ")[0]
    owner, auditor = re.findall(r"```python\n(.*?)```", section, re.S)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    parts = dict(zip(statement.ROLES, np.split(pixels[:30], 3), strict=True))
    roles = {role: SimpleNamespace(pixels=part) for role, part in parts.items()}
    model = SimpleNamespace(enhanced=torch.nn.Linear(2, 2), digest=lambda: "0" * 64)
    names = {"roles": roles, "model": model}
    exec(owner, names)
    for image, role in ((pixels[3], "members"), (pixels[25], "calibration"), (pixels[35], None)):
        exec(auditor, {**names, "pixels": image}, names)
        assert names["role"] == role
    assert {path.name for path in tmp_path.iterdir()} == {
        "secret.json",
        "statement.json",
        "fingerprints.npz",
    }

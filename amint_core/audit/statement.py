"""What an owner signs and publishes about his training set, and how it is checked (Ed25519)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from amint_core.errors import AmintError, ResultsError
from amint_core.extras import require
from amint_core.files import read_json, write_json
from amint_core.locations import given_path, shown

ROLES = ("members", "external", "calibration")
_KEY = 32  # bytes of an Ed25519 key
_FORMAT = "amint-ledger-1"


class LedgerError(AmintError):
    """A list, a proof or a signature is not what it claims to be."""


@dataclass(frozen=True)
class Statement:
    """What is signed and published."""

    root: str  # hex, as are all hashes here
    size: int  # leaves
    roles: dict[str, int]  # images of each role
    weights: str  # hash of the model's weights
    key_commitment: str  # SHA-256 of the key of the order: the same for every auditor
    fingerprints: str | None = None  # `Published.digest` of what is published beside it
    transcript: str | None = (
        None  # `hash_of_transcript`, fixed before epochs are drawn for a replay
    )
    answers: str | None = None  # `AuditableModel.digest`: what answers depend on beside the weights
    format: str = _FORMAT

    def to_bytes(self) -> bytes:
        """Return the bytes that are signed: JSON with sorted keys, no spaces."""
        record = asdict(self)
        if self.answers is None:  # as it was signed before there was this field
            del record["answers"]
        return json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


def hash_of_weights(state: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a model's state: names, types, shapes and bytes of all tensors."""
    sha = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().cpu().contiguous()
        sha.update(json.dumps([name, str(values.dtype), list(values.shape)]).encode())
        sha.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def hash_of_transcript(history: pd.DataFrame) -> str:
    """Return the SHA-256 of a training's transcript: order and state of every epoch."""
    lines = history[["epoch", "order", "state"]].itertuples(index=False)
    text = "".join(f"{epoch} {order} {state}\n" for epoch, order, state in lines)
    return hashlib.sha256(text.encode()).hexdigest()


def sign(statement: Statement, private_key: bytes) -> bytes:
    """Return the Ed25519 signature (64 bytes) of a statement by a raw private key (32 bytes)."""
    return _ed25519().Ed25519PrivateKey.from_private_bytes(private_key).sign(statement.to_bytes())


def public_key_of(private_key: bytes) -> bytes:
    """Return the raw public key (32 bytes), which auditors must get on a way they trust."""
    key = _ed25519().Ed25519PrivateKey.from_private_bytes(private_key)
    return key.public_key().public_bytes_raw()


def publish(path: Path | str, statement: Statement, private_key: bytes) -> None:
    """Write a signed statement for the public."""
    signature = sign(statement, private_key).hex()
    write_json(given_path(path), {"statement": asdict(statement), "signature": signature})


def read(path: Path | str, public_key: bytes, weights: str | None = None) -> Statement:
    """Read a published statement, if this key signed it and it is about these weights.

    Args:
        path: as `publish` wrote it.
        public_key: 32 bytes, from the owner himself, not from the file's source.
        weights: `hash_of_weights` of the model under test.

    Raises:
        LedgerError: wrong key, altered statement, roles that do not add up, or another model.
    """
    path = given_path(path)
    if not isinstance(public_key, bytes) or len(public_key) != _KEY:
        raise LedgerError(
            f"A public key is {_KEY} bytes, as bytes.fromhex gives them of its {2 * _KEY} digits, "
            f"not {public_key!r:.40}. Ask the owner for it."
        )
    try:
        record = read_json(path)
        statement = Statement(**record["statement"])
        signature = bytes.fromhex(record["signature"])
        _check(statement)
        signed = _verifies(signature, statement, public_key)
    except (ResultsError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise LedgerError(
            f"{shown(path)} is no published statement ({error!r}). Ask the owner for the "
            "file that he published."
        ) from error
    if not signed:
        raise LedgerError(
            f"{shown(path)} was not signed with this key, or was altered afterwards. Ask the owner "
            "for his public key and for the published file."
        )
    if (named := sum(statement.roles.values())) != statement.size:
        raise LedgerError(
            f"{shown(path)} names {named:,} images in its roles, but the list that it signs has "
            f"{statement.size:,}: some would be of no role. Do not rely on it."
        )
    if weights is not None:
        require_about(statement, weights)
    return statement


def _check(statement: Statement) -> None:
    """Refuse fields of other kinds, which an owner may have signed as well.

    Raises:
        ValueError: says which.
    """
    texts = statement.root, statement.weights, statement.key_commitment
    optional = statement.fingerprints, statement.transcript, statement.answers
    texts += tuple(one for one in optional if one is not None)
    roles = statement.roles
    counts = [statement.size, *(roles.values() if isinstance(roles, dict) else [None])]
    if statement.format != _FORMAT:
        raise ValueError(f"format {statement.format!r}, not {_FORMAT!r}")
    if not all(isinstance(one, str) and re.fullmatch(r"[0-9a-f]*", one) for one in texts):
        raise ValueError("a hash that is none")
    if set(roles) != set(ROLES) or not all(type(one) is int and one >= 0 for one in counts):
        raise ValueError("other roles, or numbers of images that are none")


def require_about(statement: Statement, weights: str) -> None:
    """Refuse another model than the one that a statement is about.

    Raises:
        LedgerError: its weights have another hash.
    """
    if weights != statement.weights:
        raise LedgerError(
            f"The signed statement is about the weights {statement.weights[:12]}…, this model has "
            f"{weights[:12]}…. It is not the model that the list was signed for."
        )


def _verifies(signature: bytes, statement: Statement, public_key: bytes) -> bool:
    key = _ed25519().Ed25519PublicKey.from_public_bytes(public_key)
    from cryptography.exceptions import InvalidSignature  # there, since Ed25519 is

    try:
        key.verify(signature, statement.to_bytes())
    except InvalidSignature:
        return False
    return True


def _ed25519():
    """Return cryptography's Ed25519, which only those need who sign or check a signature."""
    require("audit", "cryptography")
    from cryptography.hazmat.primitives.asymmetric import ed25519

    return ed25519

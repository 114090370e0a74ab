"""The owner's list of what a model was trained on, checked image by image.

At training time the owner publishes a signed `Statement`: the root of a Merkle tree (RFC 6962) over
one leaf for each image, how many there are of each role, the hash of the model's weights, and a
commitment to the key of the leaves' order. Later he proves for a single image that it is in the
list, and as what, or that it is not, and shows nothing of the others but two neighbours' leaves.

A leaf is HMAC(key, content hash) ‖ SHA-256(salt ‖ role ‖ content hash). The leaves are sorted by
their first half, so absence is shown by two neighbours between which the image would stand. That
convinces only if the whole list is sorted, which `check_order` verifies on the bare leaves. The
salt is shown for the proved image alone: a neighbour's second half tells nothing to those who
guess; its first half can be compared with guesses by those whom the owner gave the key.

A ledger says what the owner declared. That the model was trained on it, only a replay can show.
"""

from __future__ import annotations

import hashlib
import hmac
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from amint_core.audit import merkle
from amint_core.audit.statement import ROLES, LedgerError, Statement
from amint_core.errors import DamagedError
from amint_core.locations import given_path, shown
from amint_core.store import read_sealed, write_sealed


@dataclass(frozen=True)
class Place:
    """A leaf, where it stands in the list, and the hashes that lead from it to the root."""

    index: int
    leaf: bytes  # 64 bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True)
class Proof:
    """Shows that an image is listed (`place`, with role and salt), or is not (`neighbours`)."""

    key: bytes
    role: str | None = None
    salt: bytes = b""
    place: Place | None = None
    neighbours: tuple[Place, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON can hold it: bytes as hex."""
        return _as_hex(asdict(self))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Proof:
        """Read a proof that `to_json` wrote.

        Raises:
            LedgerError: it has another form.
        """
        try:
            place = None if record["place"] is None else _place(record["place"])
            return cls(
                key=bytes.fromhex(record["key"]),
                role=record["role"],
                salt=bytes.fromhex(record["salt"]),
                place=place,
                neighbours=tuple(_place(each) for each in record["neighbours"]),
            )
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise LedgerError(
                f"This is no proof ({error!r}). Ask the owner for what `Proof.to_json` returned."
            ) from error


@dataclass
class Ledger:
    """The owner's side: the list with its secret. Keep it; without it nothing can be proved.

    Args:
        secret: 32 bytes; key of the order and salts follow from it.
        images: content hash → role.
    """

    secret: bytes
    images: dict[bytes, str]
    _leaves: list[bytes] = field(init=False, repr=False)
    _tree: merkle.Tree = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise LedgerError("The secret of a ledger has 32 bytes: use secrets.token_bytes(32).")
        unknown = set(self.images.values()) - set(ROLES)
        if unknown:
            raise LedgerError(f"Unknown role {sorted(unknown)[0]!r}. Valid: {', '.join(ROLES)}.")
        self._leaves = sorted(self._leaf(image) for image in self.images)
        self._tree = merkle.Tree(self._leaves)

    @classmethod
    def of(cls, secret: bytes, **hashes: Sequence[bytes]) -> Ledger:
        """Make a ledger from content hashes by role; a hash given twice in one role counts once.

        Raises:
            LedgerError: an image has two roles.
        """
        images: dict[bytes, str] = {}
        for role, listed in hashes.items():
            for image in map(bytes, listed):
                if images.setdefault(image, role) != role:
                    raise LedgerError(
                        f"Image {image.hex()} is listed as {images[image]} and as {role}. An image "
                        "has one role; leave it out of one of them and train again."
                    )
        return cls(secret, images)

    @property
    def key(self) -> bytes:
        """The key of the order, which an auditor needs."""
        return hmac.digest(self.secret, b"order", "sha256")

    def leaves(self) -> list[bytes]:
        """Return all leaves in order: for `check_order`; they show no image."""
        return list(self._leaves)

    def statement(
        self,
        weights: str,
        fingerprints: str | None = None,
        transcript: str | None = None,
        answers: str | None = None,
    ) -> Statement:
        """Return what to sign and publish, for the model whose weights have this hash.

        Args:
            weights: `hash_of_weights` of the model.
            fingerprints: `Published.digest` of what is published beside the statement.
            transcript: `hash_of_transcript` of the training's history.
            answers: `AuditableModel.digest` of the model; without it nobody can tell whether
                preprocessing, taps, views, class names and the scores handed out were changed.
        """
        counts = Counter(self.images.values())
        return Statement(
            root=self._tree.root.hex(),
            size=len(self._leaves),
            roles={role: counts[role] for role in ROLES},
            weights=weights,
            key_commitment=hashlib.sha256(self.key).hexdigest(),
            fingerprints=fingerprints,
            transcript=transcript,
            answers=answers,
        )

    def prove(self, image: bytes) -> Proof:
        """Show that the image with this content hash is listed and as what, or that it is not."""
        index = bisect_left(self._leaves, _order(self.key, image))
        if image in self.images:
            return Proof(self.key, self.images[image], self._salt(image), self._place(index))
        around = (each for each in (index - 1, index) if 0 <= each < len(self._leaves))
        return Proof(self.key, neighbours=tuple(self._place(each) for each in around))

    def save(self, path: Path | str) -> None:
        """Write the ledger with its secret; for the owner's eyes only."""
        images = {image.hex(): role for image, role in sorted(self.images.items())}
        write_sealed(given_path(path), {"secret": self.secret.hex(), "images": images}, secret=True)

    @classmethod
    def load(cls, path: Path | str) -> Ledger:
        """Read a ledger that `save` wrote.

        Raises:
            LedgerError: it is not what was written.
        """
        path = given_path(path)
        try:
            record = read_sealed(path)
            images = {bytes.fromhex(image): role for image, role in record["images"].items()}
            return cls(bytes.fromhex(record["secret"]), images)
        except (DamagedError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise LedgerError(
                f"{shown(path)} is damaged, or no ledger: it is not what was written. "
                "Restore it from a copy; without its secret nothing can be proved."
            ) from error

    def _salt(self, image: bytes) -> bytes:
        return hmac.digest(self.secret, b"salt" + image, "sha256")

    def _leaf(self, image: bytes) -> bytes:
        return _order(self.key, image) + _sealed(self._salt(image), self.images[image], image)

    def _place(self, index: int) -> Place:
        return Place(index, self._leaves[index], self._tree.path(index))


def role_of(image: bytes, proof: Proof, statement: Statement) -> str | None:
    """Return the proved role of the image with this content hash, or None: it is not listed.

    Raises:
        LedgerError: the proof does not belong to this image or this statement.
    """
    committed = hashlib.sha256(proof.key).hexdigest()
    _require(committed == statement.key_commitment, "its key is not the one that was signed")
    wanted = _order(proof.key, image)
    for place in [proof.place] if proof.place else proof.neighbours:
        known = merkle.root_from(place.leaf, place.index, statement.size, place.path)
        listed = known is not None and known.hex() == statement.root
        _require(listed, "a leaf is not part of the signed list")
    if proof.place is not None:
        # Of one length and one of few roles: bytes could move from one to the other otherwise.
        known = proof.role in ROLES and len(proof.salt) == hashlib.sha256().digest_size
        _require(known, "its role or its salt is none that a ledger has")
        leaf = wanted + _sealed(proof.salt, proof.role, image)
        _require(proof.place.leaf == leaf, "the leaf is of another image, role or salt")
        return proof.role
    _require(_surround(wanted, proof.neighbours, statement.size), "its leaves leave room beside it")
    return None


def check_order(leaves: Sequence[bytes], statement: Statement) -> None:
    """Verify the whole list, on leaves that show no image: it is the signed one, and sorted.

    Raises:
        LedgerError: it is not; proofs of absence mean nothing then.
    """
    same = len(leaves) == statement.size and merkle.Tree(leaves).root.hex() == statement.root
    _require(same, "these are not the leaves that were signed")
    firsts = [leaf[:32] for leaf in leaves]
    rising = all(one < next_ for one, next_ in pairwise(firsts))
    _require(rising, "the list is not sorted, so absence cannot be shown in it")


def _order(key: bytes, image: bytes) -> bytes:
    return hmac.digest(key, image, "sha256")


def _sealed(salt: bytes, role: str, image: bytes) -> bytes:
    return hashlib.sha256(salt + role.encode() + b"\0" + image).digest()


def _surround(wanted: bytes, neighbours: Sequence[Place], size: int) -> bool:
    """Tell whether these leaves stand side by side, or at an end, with the wanted one between."""
    below = [each for each in neighbours if each.leaf[:32] < wanted]
    above = [each for each in neighbours if each.leaf[:32] > wanted]
    if len(below) + len(above) != len(neighbours) or len(below) > 1 or len(above) > 1:
        return False
    low = below[0].index if below else -1
    high = above[0].index if above else size
    return high == low + 1


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise LedgerError(f"The ledger is refused: {otherwise}. Do not rely on its answer.")


def _place(record: Mapping[str, Any]) -> Place:
    path = tuple(bytes.fromhex(each) for each in record["path"])
    return Place(int(record["index"]), bytes.fromhex(record["leaf"]), path)


def _as_hex(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _as_hex(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_hex(each) for each in value]
    return value

"""Signed checkpoints of the audit trail: whoever writes the chain anew cannot sign it anew.

The chain shows that a record in the middle was changed. Only a signature by a key that does not lie beside it
shows that all of it was written anew, or its end cut off. What is signed names the service, so that the
checkpoint of one does not serve another, and begins with what it is, so that no signature of this key means
two things.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keyborn.domain.audit import AuditRecord, ChainHead, verify
from keyborn.domain.errors import AuditBroken, AuditHeadMissing, InvalidSetting

KEY_BYTES = 32
"""Of a public key, and of the seed of a private one (RFC 8032, 5.1.5)."""
START = ChainHead()
"""Before the first record."""
_HEAD = re.compile(r"(?:(0|[1-9][0-9]{0,17}):)?([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature, Ed25519 (RFC 8032), and whose."""

    key: str
    """The key's id: lower-case hex SHA-256 of the public key's 32 bytes."""
    signature: bytes
    """64 bytes."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That the trail of one service ended so at that time."""

    head: ChainHead
    at: datetime
    by: Signed


def key_id(public: bytes) -> str:
    """How a key is called: lower-case hex SHA-256 of its 32 bytes."""
    return hashlib.sha256(public).hexdigest()


def ring(publics: Iterable[bytes]) -> dict[str, bytes]:
    """Public keys by their ids."""
    return {key_id(public): public for public in publics}


def moment_text(at: datetime) -> str:
    """A time as it is signed: to the millisecond, with its offset."""
    return at.isoformat(timespec="milliseconds")


def checkpoint_text(service: str, head: ChainHead, at: datetime) -> bytes:
    """What is signed; fixed for ever, as the canonical form of events is."""
    return f"keyborn audit checkpoint 1\n{service}\n{head}\n{moment_text(at)}\n".encode()


def holds(signed: Signed, text: bytes, keys: Mapping[str, bytes]) -> bool:
    """Whether one of ``keys`` signed just this text."""
    public = keys.get(signed.key)
    if public is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signed.signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class NotedHead:
    """A head that somebody noted elsewhere; without its number, a hash that some record must have."""

    hash: str
    sequence: int | None = None

    @staticmethod
    def parse(text: str) -> "NotedHead":
        """Read ``SEQUENCE:HASH``, or a hash alone; raises InvalidSetting."""
        found = _HEAD.fullmatch(text)
        if found is None:
            raise InvalidSetting(setting="--expect", detail="it takes SEQUENCE:HASH, as `audit verify` tells")
        return NotedHead(found[2], None if found[1] is None else int(found[1]))

    def __str__(self) -> str:
        return self.hash if self.sequence is None else f"{self.sequence}:{self.hash}"


class TrailCheck:
    """Records and checkpoints as they come, each checkpoint right after the record that it is about.

    ``head`` is what has been checked so far. Every step raises AuditBroken, or AuditHeadMissing.
    """

    def __init__(
        self,
        service: str,
        keys: Mapping[str, bytes],
        *,
        start: ChainHead = START,
        noted: NotedHead | None = None,
    ) -> None:
        """``start``: what the first record continues; ``noted``: what must be met on the way."""
        self.head = start
        self.checkpoints = 0
        """How many have been checked."""
        self.signer: str | None = None
        """The id of the key that signed the latest of them, and with it all that it follows from."""
        self._service = service
        self._keys = keys
        self._noted = noted
        self._met = noted is None
        if noted is not None and noted.sequence is not None and noted.sequence < start.sequence:
            raise AuditHeadMissing(expected=noted, detail=f"it begins behind it, after {start.sequence}")
        self._meet()

    def record(self, record: AuditRecord) -> None:
        """The next record."""
        self.head = verify([record], self.head)
        self._meet()

    def checkpoint(self, one: Checkpoint) -> None:
        """What was signed about the record that was checked last."""
        number = one.head.sequence
        if number != self.head.sequence:
            raise AuditBroken(
                sequence=number, detail="a checkpoint speaks of it, and the trail ends before it"
            )
        if not holds(one.by, checkpoint_text(self._service, one.head, one.at), self._keys):
            raise AuditBroken(
                sequence=number, detail="its checkpoint was not signed by a key of this service"
            )
        if one.head.hash != self.head.hash:
            raise AuditBroken(sequence=number, detail="it is not the one that was signed in its checkpoint")
        self.checkpoints += 1
        self.signer = one.by.key

    def end(self) -> None:
        """There is no more: raises AuditHeadMissing unless what was noted has been met."""
        if self._met or self._noted is None:
            return
        if self._noted.sequence is None:
            raise AuditHeadMissing(expected=self._noted, detail="no record has that hash")
        raise AuditHeadMissing(expected=self._noted, detail=f"the last record is {self.head.sequence}")

    def _meet(self) -> None:
        noted = self._noted
        if self._met or noted is None:
            return
        if noted.sequence is None:
            self._met = noted.hash == self.head.hash
        elif noted.sequence == self.head.sequence:
            if noted.hash != self.head.hash:
                raise AuditHeadMissing(expected=noted, detail="the record of that number has another hash")
            self._met = True

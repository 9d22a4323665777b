"""The audit trail's values: events, and the hash chain that holds them together from the first row."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from keyborn.domain.certificate import Certificate
from keyborn.domain.errors import AuditBroken
from keyborn.domain.names import KeyHash

GENESIS = "0" * 64
"""What the first record names as its predecessor's hash."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One decision: who, what, why, from where. Holds no secret, no CSR, no key."""

    at: datetime
    action: str
    """``enroll``, ``token.create``, ``thing.revoke`` …"""
    outcome: str
    """``done``, or the code of the error that refused it. A repeated answer decides nothing: no record."""
    subject: str
    """The thing name, token id or certificate id it was about; as asked for, cut to 128 characters."""
    actor: str
    """The credential's public id, or ``operator``; on AWS the operator's ARN, cut to 640 characters."""
    source: str = ""
    """Network address of the caller."""
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An event in its place in the chain."""

    sequence: int
    event: AuditEvent
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The end of a chain so far: the number of its last record (0 before the first) and that one's hash.

    A chain alone cannot show that its tail was cut off; a head that was noted elsewhere can.
    """

    sequence: int = 0
    hash: str = GENESIS

    def extend(self, event: AuditEvent) -> AuditRecord:
        """The record that comes next."""
        sequence = self.sequence + 1
        return AuditRecord(sequence, event, self.hash, link(self.hash, sequence, canonical(event)))

    def __str__(self) -> str:
        """As it is noted elsewhere: ``SEQUENCE:HASH``."""
        return f"{self.sequence}:{self.hash}"


def canonical(event: AuditEvent) -> str:
    """The bytes that are hashed and stored: JSON with sorted keys, no spaces, ASCII."""
    return _encode(
        {
            "action": event.action,
            "actor": event.actor,
            "at": event.at.isoformat(timespec="milliseconds"),
            "details": dict(event.details),
            "outcome": event.outcome,
            "source": event.source,
            "subject": event.subject,
        }
    )


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode


def parse_event(text: str) -> AuditEvent:
    """Read what ``canonical`` wrote; raises ValueError for anything else."""
    try:
        fields = json.loads(text)
        event = AuditEvent(**{**fields, "at": datetime.fromisoformat(fields["at"])})
        words = [
            event.action,
            event.actor,
            event.outcome,
            event.source,
            event.subject,
            *event.details.values(),
        ]
        exact = canonical(event) == text and event.at.tzinfo is not None and all(map(_is_text, words))
    except (TypeError, KeyError, AttributeError, RecursionError):
        exact = False
    if not exact:
        raise ValueError("not a canonical event")
    return event


def succession(
    successor: Certificate, retired_key: KeyHash, at: datetime, *, action: str = "replace", source: str = ""
) -> AuditEvent:
    """What is recorded when the key before it retires: a replacement connected, a renewal was confirmed."""
    details = {"keyHash": successor.key_hash, "retiredKeyHash": retired_key}
    return AuditEvent(at, action, "done", successor.thing, successor.id, source, details)


def withdrawal(successor: Certificate, at: datetime, actor: str, reason: str, source: str = "") -> AuditEvent:
    """What is recorded when a successor that nobody needs any more is revoked, and its key with it."""
    details = {"certificateId": successor.id, "keyHash": successor.key_hash, "reason": reason}
    return AuditEvent(at, "renew.withdraw", "done", successor.thing, actor, source, details)


def _is_text(word: object) -> bool:
    return isinstance(word, str)


def link(previous: str, sequence: int, body: str) -> str:
    """The hash of a record: SHA-256 over its predecessor's hash, its number and its canonical event."""
    return hashlib.sha256(f"{previous}\n{sequence}\n{body}".encode()).hexdigest()


def verify(records: Iterable[AuditRecord], head: ChainHead = ChainHead()) -> ChainHead:
    """Check that ``records`` continue ``head`` without gap or change; returns the new head.

    Page by page: give the head of one page to the next. Raises AuditBroken at the first record that is not
    what its place demands.
    """
    for record in records:
        expected = head.extend(record.event)
        if record.sequence != expected.sequence:
            raise AuditBroken(
                sequence=expected.sequence, detail=f"record {record.sequence} stands in its place"
            )
        if record.previous != expected.previous:
            raise AuditBroken(sequence=record.sequence, detail="it does not follow the record before it")
        if record.hash != expected.hash:
            raise AuditBroken(sequence=record.sequence, detail="its contents are not what was recorded")
        head = ChainHead(record.sequence, record.hash)
    return head

"""The audit trail's values: events, and the hash chain that holds them together from the first row."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One decision: who, what, why, from where. Holds no secret, no CSR, no key."""

    at: datetime
    action: str
    """``enroll``, ``token.create``, ``thing.revoke`` …"""
    outcome: str
    """``done``, ``repeated``, or the code of the error that refused it."""
    subject: str
    """The thing name, token id or certificate id it was about; as asked for, cut to 128 characters."""
    actor: str
    """The credential's public id, or ``operator``."""
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


def canonical(event: AuditEvent) -> str:
    """The bytes that are hashed and stored: JSON with sorted keys, no spaces, ASCII."""
    return json.dumps(
        {
            "action": event.action,
            "actor": event.actor,
            "at": event.at.isoformat(timespec="milliseconds"),
            "details": dict(event.details),
            "outcome": event.outcome,
            "source": event.source,
            "subject": event.subject,
        },
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )


def parse_event(text: str) -> AuditEvent:
    """Read what ``canonical`` wrote."""
    fields = json.loads(text)
    return AuditEvent(**{**fields, "at": datetime.fromisoformat(fields["at"])})


def link(previous: str, sequence: int, body: str) -> str:
    """The hash of a record: SHA-256 over its predecessor's hash, its number and its canonical event."""
    return hashlib.sha256(f"{previous}\n{sequence}\n{body}".encode()).hexdigest()

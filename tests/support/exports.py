"""Audit trails with their checkpoints, exports of them, and readers that begin in the middle."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyborn.domain.audit import AuditEvent, AuditRecord, ChainHead
from keyborn.domain.audit_export import ExportHeader, ExportReader, ExportWriter
from keyborn.domain.checkpoint import START, Checkpoint, Signed, checkpoint_text, key_id

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
SERVICE = "keyborn:" + "5e" * 32
URL = "https://gateway.example:8443"


@dataclass(slots=True)
class Notary:
    """Implements ``keyborn.ports.Notary`` with a key that everybody knows."""

    seed: bytes = bytes(32)
    name: str = SERVICE
    signed: list[bytes] = field(default_factory=list)

    @property
    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def at_once(self, text: bytes) -> Signed:
        """Sign, without waiting."""
        self.signed.append(text)
        return Signed(key_id(self.public), self.key.sign(text))

    def checkpoint(self, head: ChainHead, at: datetime = NOON) -> Checkpoint:
        """That the trail ended so."""
        return Checkpoint(head, at, self.at_once(checkpoint_text(self.name, head, at)))

    async def service(self) -> str:
        return self.name

    async def sign(self, text: bytes) -> Signed:
        return self.at_once(text)

    async def keys(self) -> list[bytes]:
        return [self.public]


NOTARY = Notary()


def happened(number: int) -> AuditEvent:
    """The event of a record; no two are alike, and each kind of value is there."""
    at = NOON + timedelta(milliseconds=number)
    if number % 5 == 0:
        return AuditEvent(at, "thing.revoke", "done", f"lamp-{number}", "operator", details={"reason": "Ä\n"})
    outcome = "thing_name_taken" if number % 3 == 0 else "done"
    return AuditEvent(
        at, "enroll", outcome, f"lamp-{number}", "t1", "192.0.2.7", {"keyHash": f"{number:064x}"}
    )


def trail(count: int, head: ChainHead = START) -> Iterator[AuditRecord]:
    """So many records that continue ``head``."""
    for _ in range(count):
        record = head.extend(happened(head.sequence + 1))
        head = ChainHead(record.sequence, record.hash)
        yield record


def export(
    records: Iterable[AuditRecord],
    *,
    every: int = 100,
    notary: Notary = NOTARY,
    continues: ChainHead = START,
    older: tuple[bytes, ...] = (),
) -> list[bytes]:
    """The lines of an export, with a checkpoint after each ``every`` records and at the end."""
    writer = ExportWriter(ExportHeader(notary.name, URL, (*older, notary.public), continues))
    lines, head, since = [writer.header()], continues, 0
    for record in records:
        head, since = ChainHead(record.sequence, record.hash), since + 1
        lines.append(writer.record(record))
        if since % every == 0:
            lines.append(writer.checkpoint(notary.checkpoint(head)))
    if since % every:
        lines.append(writer.checkpoint(notary.checkpoint(head)))
    end = writer.end(NOON)
    return [*lines, end.line(notary.at_once(end.text(notary.name)))]


def lines_of(raw: bytes) -> list[bytes]:
    """As a file is read: each line with its line feed, the last one maybe without."""
    parts = raw.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def fork(reader: ExportReader) -> ExportReader:
    """Another reader that has read the same and goes on by itself."""
    other = copy.copy(reader)
    other._trail = copy.copy(reader._trail)
    other._digest = reader._digest.copy()
    return other

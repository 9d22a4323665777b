"""An export of the audit trail: lines that can be checked anywhere, from the file and one fingerprint.

::

    {"header":{"continues":…,"format":…,"keys":[…],"service":…,"url":…,"version":1}}
    {"record":{"event":{…},"hash":…,"previous":…,"sequence":…}}
    {"checkpoint":{"at":…,"hash":…,"key":…,"sequence":…,"signature":…}}     after the record it is about
    {"trailer":{"at":…,"checkpoints":…,"count":…,"head":…,"key":…,"sha256":…,"signature":…}}

Each line is JSON as ``json.dumps`` writes it with sorted keys, no spaces, ASCII; it ends with one line feed.
There is one way to write each value (hex in lower case, no leading zero), and whoever checks takes no other:
so no byte can be changed without a trace. The trailer signs the SHA-256 of all bytes before it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keyborn.domain.audit import AuditRecord, ChainHead, canonical, parse_event
from keyborn.domain.checkpoint import (
    KEY_BYTES,
    Checkpoint,
    NotedHead,
    Signed,
    TrailCheck,
    holds,
    moment_text,
    ring,
)
from keyborn.domain.errors import AuditBroken, AuditKeyDiffers, ExportBroken

FORMAT, VERSION = "keyborn-audit", 1
MAX_LINE = 1 << 20
"""Bytes: far beyond any record. Whoever reads a file need not hold more of it."""

_NUMBER, _DIGEST, _MOMENT = r"(0|[1-9][0-9]{0,17})", r"([0-9a-f]{64})", r"([0-9T:.+-]{20,40})"
_HEAD_TEXT = rf"{_NUMBER}:{_DIGEST}"
_SIGNATURE = r"([0-9a-f]{128})"


def _shape(kind: str, **members: str) -> re.Pattern[str]:
    """A line with just these members, in their order."""
    inner = ",".join(f'"{name}":{value}' for name, value in sorted(members.items()))
    return re.compile(rf'\{{"{kind}":\{{{inner}\}}\}}\n')


_RECORD = _shape("record", event=r"(\{.*\})", hash=f'"{_DIGEST}"', previous=f'"{_DIGEST}"', sequence=_NUMBER)
_CHECKPOINT = _shape(
    "checkpoint",
    at=f'"{_MOMENT}"',
    hash=f'"{_DIGEST}"',
    key=f'"{_DIGEST}"',
    sequence=_NUMBER,
    signature=f'"{_SIGNATURE}"',
)
_TRAILER = _shape(
    "trailer",
    at=f'"{_MOMENT}"',
    checkpoints=_NUMBER,
    count=_NUMBER,
    head=f'"{_HEAD_TEXT}"',
    key=f'"{_DIGEST}"',
    sha256=f'"{_DIGEST}"',
    signature=f'"{_SIGNATURE}"',
)


# ── writing ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ExportHeader:
    """The first line: whose trail it is, from where, and the public keys that signed it, the newest last."""

    service: str
    url: str
    keys: tuple[bytes, ...]
    continues: ChainHead
    """The record before the first one here; what ``--expect`` of an earlier export has."""

    def line(self) -> bytes:
        """As it is written."""
        members = {
            "continues": str(self.continues),
            "format": FORMAT,
            "keys": [public.hex() for public in self.keys],
            "service": self.service,
            "url": self.url,
            "version": VERSION,
        }
        return _dumped("header", members)


@dataclass(frozen=True, slots=True)
class ExportEnd:
    """What the last line says of all before it."""

    continues: ChainHead
    head: ChainHead
    count: int
    checkpoints: int
    at: datetime
    sha256: str

    def text(self, service: str) -> bytes:
        """What is signed; fixed for ever."""
        said = [service, self.continues, self.head, self.count, self.checkpoints, moment_text(self.at)]
        lines = "".join(f"{one}\n" for one in ["keyborn audit export 1", *said, self.sha256])
        return lines.encode()

    def line(self, by: Signed) -> bytes:
        """As it is written."""
        members = {
            "at": moment_text(self.at),
            "checkpoints": self.checkpoints,
            "count": self.count,
            "head": str(self.head),
            "key": by.key,
            "sha256": self.sha256,
            "signature": by.signature.hex(),
        }
        return _dumped("trailer", members)


class ExportWriter:
    """The lines of one export, in order; it counts what it wrote."""

    def __init__(self, header: ExportHeader) -> None:
        self._header = header
        self._digest = hashlib.sha256()
        self._head = header.continues
        self._count = self._checkpoints = 0

    def header(self) -> bytes:
        """The first line."""
        return self._noted(self._header.line())

    def record(self, record: AuditRecord) -> bytes:
        """The next record's line."""
        self._head = ChainHead(record.sequence, record.hash)
        self._count += 1
        rest = f'"hash":"{record.hash}","previous":"{record.previous}","sequence":{record.sequence}'
        return self._noted(f'{{"record":{{"event":{canonical(record.event)},{rest}}}}}\n'.encode())

    def checkpoint(self, one: Checkpoint) -> bytes:
        """The line of a checkpoint of the record before it."""
        self._checkpoints += 1
        members = {
            "at": moment_text(one.at),
            "hash": one.head.hash,
            "key": one.by.key,
            "sequence": one.head.sequence,
            "signature": one.by.signature.hex(),
        }
        return self._noted(_dumped("checkpoint", members))

    def end(self, at: datetime) -> ExportEnd:
        """What the last line has to say."""
        return ExportEnd(
            self._header.continues, self._head, self._count, self._checkpoints, at, self._digest.hexdigest()
        )

    def _noted(self, line: bytes) -> bytes:
        self._digest.update(line)
        return line


def _dumped(kind: str, members: Mapping[str, object]) -> bytes:
    return f"{json.dumps({kind: members}, sort_keys=True, separators=(',', ':'))}\n".encode()


# ── checking ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export that holds says."""

    header: ExportHeader
    end: ExportEnd
    key: str
    """Whose signature it is under."""


class ExportReader:
    """Checks an export line by line. Every step raises ExportBroken at the first line that does not hold.

    Also AuditHeadMissing where ``noted`` is not in it, and AuditKeyDiffers where another key than
    ``trusted`` signed what is otherwise whole.
    """

    def __init__(self, *, trusted: str | None = None, noted: NotedHead | None = None) -> None:
        """``trusted``: the id of the key that must have signed; None takes the one that the file names."""
        self._trusted = trusted
        self._noted = noted
        self._digest = hashlib.sha256()
        self._line = self._count = 0
        self._header: ExportHeader | None = None
        self._keys: dict[str, bytes] = {}
        self._trail = TrailCheck("", {})
        self._report: ExportReport | None = None

    def feed(self, line: bytes) -> None:
        """The next line, with its line feed."""
        self._line += 1
        try:
            self._take(line.decode("ascii"))
        except AuditBroken as broken:
            raise self._broken(f"record {broken.facts['sequence']}: {broken.facts['detail']}") from None
        except ValueError as trouble:
            detail = "it is not ASCII" if isinstance(trouble, UnicodeError) else str(trouble)
            raise self._broken(detail) from None
        self._digest.update(line)

    def end(self) -> ExportReport:
        """There are no more lines."""
        if self._report is None:
            self._line += 1
            raise self._broken("it ends before its last line, as if it had been cut off")
        self._trail.end()
        if self._trusted not in (None, self._report.key):
            raise AuditKeyDiffers(found=self._report.key, wanted=self._trusted)
        return self._report

    def _take(self, text: str) -> None:
        """Raise ValueError, or AuditBroken, for a line that is not what its place demands."""
        if self._report is not None:
            raise ValueError("there is more behind the last line")
        if self._header is None:
            self._begin(read_header(text))
        elif text.startswith('{"record":'):
            self._trail.record(read_record(text))
            self._count += 1
        elif text.startswith('{"checkpoint":'):
            self._trail.checkpoint(read_checkpoint(text))
        else:
            self._close(*read_trailer(text, self._header.continues))

    def _begin(self, header: ExportHeader) -> None:
        self._header, self._keys = header, ring(header.keys)
        self._trail = TrailCheck(header.service, self._keys, start=header.continues, noted=self._noted)

    def _close(self, end: ExportEnd, by: Signed) -> None:
        if end.sha256 != self._digest.hexdigest():
            raise ValueError("the bytes before it are not those that were signed")
        if (end.head, end.count) != (self._trail.head, self._count):
            raise ValueError("records before it are missing, or too many")
        if end.checkpoints != self._trail.checkpoints:
            raise ValueError("checkpoints before it are missing, or too many")
        assert self._header is not None, "an export begins with its header"
        if not holds(by, end.text(self._header.service), self._keys):
            raise ValueError("it was not signed so by a key of this export")
        self._report = ExportReport(self._header, end, by.key)

    def _broken(self, detail: str) -> ExportBroken:
        return ExportBroken(line=self._line, detail=detail)


def check_export(lines: Iterable[bytes], reader: ExportReader | None = None) -> ExportReport:
    """Check a whole export; raises what ``ExportReader`` raises."""
    reader = reader or ExportReader()
    for line in lines:
        reader.feed(line)
    return reader.end()


def read_header(text: str) -> ExportHeader:
    """The first line; raises ValueError for any other text."""
    try:
        said: dict[str, Any] = json.loads(text)["header"]
        keys = tuple(bytes.fromhex(one) for one in said["keys"])
        header = ExportHeader(said["service"], said["url"], keys, _head(said["continues"]))
        known = header.line() == text.encode() and all(len(one) == KEY_BYTES for one in keys)
        named = isinstance(header.service, str) and isinstance(header.url, str)
    except (ValueError, TypeError, KeyError, RecursionError):
        known = named = False
    if not (known and named):
        raise ValueError(f"it is not the header of an export of version {VERSION}")
    return header


def read_record(text: str) -> AuditRecord:
    """A record's line; raises ValueError for any other text."""
    event, digest, previous, sequence = _parts(_RECORD, text)
    return AuditRecord(int(sequence), parse_event(event), previous, digest)


def read_checkpoint(text: str) -> Checkpoint:
    """A checkpoint's line; raises ValueError for any other text."""
    at, digest, key, sequence, signature = _parts(_CHECKPOINT, text)
    return Checkpoint(ChainHead(int(sequence), digest), _moment(at), Signed(key, bytes.fromhex(signature)))


def read_trailer(text: str, continues: ChainHead) -> tuple[ExportEnd, Signed]:
    """The last line of what began behind ``continues``; raises ValueError for any other text."""
    at, checkpoints, count, sequence, digest, key, sha256, signature = _parts(_TRAILER, text)
    head = ChainHead(int(sequence), digest)
    end = ExportEnd(continues, head, int(count), int(checkpoints), _moment(at), sha256)
    return end, Signed(key, bytes.fromhex(signature))


def _parts(shape: re.Pattern[str], text: str) -> tuple[str, ...]:
    found = shape.fullmatch(text)
    if found is None:
        raise ValueError("it is no line of an export")
    return found.groups()


def _head(text: str) -> ChainHead:
    found = re.fullmatch(_HEAD_TEXT, text)
    if found is None:
        raise ValueError("not a head")
    return ChainHead(int(found[1]), found[2])


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or moment_text(at) != text:
        raise ValueError("not a moment as it is signed")
    return at

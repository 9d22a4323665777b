"""A registry of so many things, built with bulk inserts of rows as enrolments leave them.

Enrolling a million things takes minutes; what lies in the file afterwards is the same: keys and ids are
hashes, certificates have the size and the randomness of real ones, the trail has its chain.
"""

import hashlib
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from keyborn.adapters.sql import rows, schema
from keyborn.domain.audit import AuditEvent, ChainHead, canonical
from keyborn.domain.names import CertificateId, NameScope, ThingName
from keyborn.domain.token import EnrollmentToken, digest, token_id

BORN = datetime(2026, 11, 1, tzinfo=UTC)
LIFE = timedelta(days=90)
DER_BYTES = 560
"""Of a P-256 leaf under the embedded authority."""
SECRET = hashlib.sha256(b"bench").digest()
SITES, MODELS = 1000, 7
_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class Record:
    """One device that has enrolled."""

    number: int
    name: str
    key: str
    der: bytes
    id: str
    born: datetime

    @property
    def site(self) -> str:
        """A thousand of them."""
        return f"s-{self.number % SITES:04}"


def record(number: int) -> Record:
    """Device ``number``, the same in every database."""
    chance = random.Random(number)
    der = chance.randbytes(DER_BYTES)
    name = f"sensor-{number * 7919 % 10_000_019:08}"
    born = BORN + timedelta(seconds=number % 86_400, days=number * 30 // 10_000_019)
    key = hashlib.sha256(name.encode()).hexdigest()
    return Record(number, name, key, der, hashlib.sha256(der).hexdigest(), born)


def token(uses: int | None = None) -> EnrollmentToken:
    """The token that all of them have redeemed; it is good for ten years."""
    until = BORN + timedelta(days=3650)
    return EnrollmentToken(token_id(SECRET), digest(SECRET), NameScope("*"), uses, BORN, until)


def build(path: Path, count: int, *, page_size: int = 4096, version: int | None = None) -> None:
    """Make ``path`` a registry of ``count`` active things; up to schema ``version``, where it is given."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute("PRAGMA journal_mode = WAL")
    steps = [step for step in schema.migrations() if version is None or step.version <= version]
    schema.prepare(path, steps)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -2000000")
        connection.execute("BEGIN")
        connection.execute(rows.ADD_TOKENS, (*rows.token_row(token())[:-1], count))
        head = ChainHead()
        for start in range(0, count, _AT_ONCE):
            made = [record(number) for number in range(start, min(count, start + _AT_ONCE))]
            head = _insert(connection, made, head)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert(connection: sqlite3.Connection, made: list[Record], head: ChainHead) -> ChainHead:
    by_name, by_key = sorted(made, key=lambda one: one.name), sorted(made, key=lambda one: one.key)
    put = connection.executemany
    put(rows.ADD_THING, (_thing(one) for one in by_name))
    put("INSERT INTO keys VALUES (?, ?, ?)", ((one.key, one.name, _intent(one)) for one in by_key))
    put(
        "INSERT INTO certificates"
        " (id, intent, serial, thing, key_hash, der, not_before, not_after, status, slot)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'active', 'current')",
        map(_certificate, made),
    )
    put("INSERT INTO attachments VALUES (?, 'current', ?)", ((one.name, one.id) for one in by_name))
    used = token().id
    put(
        "INSERT INTO redemptions VALUES (?, ?, ?, ?)",
        ((one.name, one.key, used, _intent(one)) for one in by_name),
    )
    chained = list(_chain(made, head))
    put("INSERT INTO audit VALUES (?, ?, ?, ?)", chained)
    return ChainHead(chained[-1][0], chained[-1][3])


def _thing(one: Record) -> tuple[object, ...]:
    attributes = {"site": one.site, "model": f"m{one.number % MODELS}"}
    name, born = ThingName(one.name), rows.to_ms(one.born)
    return name, name.lower(), "active", one.key, born, rows.to_json(attributes), "device", None, None, None


def _intent(one: Record) -> str:
    return hashlib.md5(one.name.encode(), usedforsecurity=False).hexdigest()


def _certificate(one: Record) -> tuple[object, ...]:
    serial = hashlib.sha256(one.der + b"serial").hexdigest()[:40]
    start, end = rows.to_ms(one.born), rows.to_ms(one.born + LIFE)
    return CertificateId(one.id), _intent(one), serial, one.name, one.key, one.der, start, end


def _chain(made: list[Record], head: ChainHead) -> Iterator[tuple[int, str, str, str]]:
    for one in made:
        details = {"certificate": one.id, "keyHash": one.key}
        event = AuditEvent(one.born, "enroll", "done", one.name, token().id, "192.0.2.7", details)
        told = head.extend(event)
        yield told.sequence, canonical(event), told.previous, told.hash
        head = ChainHead(told.sequence, told.hash)

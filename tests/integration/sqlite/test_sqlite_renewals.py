"""Renewal on SQLite: a registry of the releases before it, what the schema refuses, what a question costs."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from keyborn.adapters.sql import SqliteRegistry, renewing, rows, schema
from keyborn.domain.certificate import Slot
from keyborn.domain.errors import RegistryUnavailable
from keyborn.domain.names import CertificateId
from support.registry_cases import HOUR, LIFETIME, START, key
from support.renewing_cases import RenewingDesk

OLD = CertificateId("c" * 64)


def execute(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def before_renewals(path: Path) -> None:
    """A file as the release before left it: one device, and the certificate with which it connected."""
    schema.prepare(path, schema.migrations()[:2])
    begin, end = rows.to_ms(START), rows.to_ms(START + LIFETIME)
    execute(
        path,
        "INSERT INTO things VALUES ('lamp-1', 'lamp-1', 'active', ?, ?, '{}', 'device', NULL)",
        key("k1"),
        begin,
    )
    execute(path, "INSERT INTO keys VALUES (?, 'lamp-1', 'i1')", key("k1"))
    execute(
        path,
        "INSERT INTO certificates "
        "VALUES (1, ?, 'i1', 's1', 'lamp-1', ?, x'00', ?, ?, 'active', 'current', ?)",
        OLD,
        key("k1"),
        begin,
        end,
        begin,
    )
    execute(path, "INSERT INTO attachments VALUES ('lamp-1', 'current', ?)", OLD)


async def test_a_device_of_an_older_registry_renews_after_the_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    before_renewals(path)

    async with SqliteRegistry(path) as registry:
        desk = RenewingDesk(registry, now=START + HOUR)
        first = await registry.certificate(OLD)
        assert first is not None
        assert (first.renews, (await desk.thing("lamp-1")).grace_until) == (None, None)
        confirmed = await desk.confirm(await desk.connect(await desk.renew(first, "k2")))
        assert await desk.active("lamp-1") == [confirmed]

    assert ("0003_renewals",) in execute(path, "SELECT name FROM schema_versions")
    assert execute(path, "PRAGMA integrity_check") == [("ok",)]
    assert execute(path, "PRAGMA foreign_key_check") == []


async def test_what_renewals_wrote_is_read_after_closing_and_opening(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    before_renewals(path)
    async with SqliteRegistry(path) as registry:
        desk = RenewingDesk(registry, now=START + HOUR)
        first = await registry.certificate(OLD)
        assert first is not None
        second = await desk.renew(first, "k2")
        granted = await desk.grace("lamp-1", START + LIFETIME + HOUR)
        begun = (await desk.claimed(first, "k3")).intent

    async with SqliteRegistry(path) as registry:
        desk = RenewingDesk(registry, now=START + HOUR)
        again = await desk.look(second)
        assert (again.slot, again.renews) == (Slot.SUCCESSOR, OLD)
        assert await desk.thing("lamp-1") == granted
        assert list(await registry.leftovers(before=START + 2 * HOUR)) == [begun]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO intents SELECT 'i9', thing, 'k9', '', 0, 's9', 0, 0, 'successor', renews FROM intents",
        "INSERT INTO attachments SELECT thing, 'successor', id FROM certificates WHERE slot = 'current'",
        "INSERT INTO keys SELECT key_hash, 'lamp-1', 'i9' FROM keys",
        "UPDATE attachments SET slot = 'current'",
    ],
)
async def test_the_schema_itself_refuses_a_second_successor(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "registry.db"
    before_renewals(path)
    async with SqliteRegistry(path) as registry:
        desk = RenewingDesk(registry, now=START + HOUR)
        first = await registry.certificate(OLD)
        assert first is not None
        await desk.connect(await desk.renew(first, "k2"))
        execute(
            path, "INSERT INTO intents VALUES ('r', 'lamp-1', 'k3', '', 0, 's', 0, 0, 'successor', ?)", OLD
        )
        with pytest.raises(RegistryUnavailable) as refusal:
            await registry._writer.run(lambda session: session.run(statement))
        assert isinstance(refusal.value.__cause__, sqlite3.IntegrityError)


def test_overdue_successors_are_asked_of_successors_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    schema.prepare(path)
    plan = [str(row[3]) for row in execute(path, "EXPLAIN QUERY PLAN " + renewing.OVERDUE, 0, 0, 0, 100)]
    tables = [step for step in plan if not step.startswith("USE TEMP B-TREE FOR ORDER BY")]
    assert all(step.startswith("SEARCH") for step in tables), plan
    assert "successors" in tables[0], plan

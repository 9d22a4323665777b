"""Twenty thousand things: nothing that an operator or a device asks for reads them all.

Steps of SQLite's machine are counted, not seconds. ``bench/scale.py`` measures a million.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from keyborn.adapters.sql import SqliteRegistry, schema
from keyborn.domain.names import CertificateId, GroupName, ThingName
from keyborn.domain.search import Search
from keyborn.domain.thing import ThingStatus
from support.registry_cases import LIFETIME, START, event, key

MANY, FEW = 20_000, 200
_EVERY = 1000
"""Instructions of SQLite's machine between two calls of a progress handler."""


def build(path: Path, count: int) -> None:
    """So many active things with a certificate each, written at once."""
    schema.prepare(path)
    start, end = (int(one.timestamp() * 1000) for one in (START, START + LIFETIME))
    numbers = range(count)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO things (name, folded, status, key_hash, created_at, attributes, kind, grp)"
            " VALUES (?1, ?1, 'active', ?2, ?3, ?4, 'device', ?5)",
            (
                (f"lamp-{n:06}", key(f"{n}"), start, f'{{"room":"{n % 50}"}}', f"line-{n % 4}")
                for n in numbers
            ),
        )
        connection.executemany(
            "INSERT INTO certificates"
            " (id, intent, serial, thing, key_hash, der, not_before, not_after, status, slot)"
            " VALUES (?1, ?1, ?1, ?2, ?3, x'00', ?4, ?5, 'active', 'current')",
            ((key(f"c{n}"), f"lamp-{n:06}", key(f"{n}"), start, end) for n in numbers),
        )
        connection.executemany(
            "INSERT INTO attachments VALUES (?, 'current', ?)",
            ((f"lamp-{n:06}", key(f"c{n}")) for n in numbers),
        )


Ask = Callable[[SqliteRegistry], Awaitable[object]]
LAMP = ThingName("lamp-000100")
ASKED: dict[str, Ask] = {
    "thing": lambda one: one.thing(LAMP),
    "badge": lambda one: one.badge(CertificateId(key("c100"))),
    "page": lambda one: one.things(after=LAMP, limit=20),
    "prefix": lambda one: one.find_things(Search("lamp-0001"), limit=20),
    "attribute": lambda one: one.find_things(Search(where={"room": "7"}), limit=4),
    "group": lambda one: one.find_things(Search(group=GroupName("line-2")), limit=20),
    "status": lambda one: one.find_things(Search(status=ThingStatus.REVOKED), limit=20),
    "census": lambda one: one.census(START),
    "due": lambda one: one.due(before=START, limit=20),
    "leftovers": lambda one: one.leftovers(before=START),
    "overdue": lambda one: one.overdue(before=START, at=START),
    "suspend": lambda one: one.set_status(LAMP, ThingStatus.SUSPENDED, event()),
    "revoke": lambda one: one.set_status(LAMP, ThingStatus.REVOKED, event()),
    "attributes": lambda one: one.set_attributes(LAMP, {"room": "8"}, event()),
}


def steps(path: Path, count: int) -> dict[str, int]:
    """Thousands of instructions that each of them takes."""
    build(path, count)
    return asyncio.run(_steps(path))


async def _steps(path: Path) -> dict[str, int]:
    taken: dict[str, int] = {}
    async with SqliteRegistry(path) as registry:
        for name, ask in ASKED.items():
            taken[name] = 0

            def _count(name: str = name) -> int:
                taken[name] += 1
                return 0

            for reader in (registry._lookups, registry._pages, registry._writer):
                connection = reader._connection
                assert connection is not None
                connection.set_progress_handler(_count, _EVERY)
            await ask(registry)
    return taken


def test_nothing_costs_more_with_a_hundred_times_as_many(tmp_path: Path) -> None:
    few, many = steps(tmp_path / "few.db", FEW), steps(tmp_path / "many.db", MANY)
    assert {name: count for name, count in many.items() if count > few[name] + 1} == {}


async def test_the_counters_are_what_counting_says(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    build(path, 300)
    async with SqliteRegistry(path) as registry:
        for number, status in enumerate((ThingStatus.SUSPENDED, ThingStatus.REVOKED, ThingStatus.RETIRED)):
            await registry.set_status(ThingName(f"lamp-{number:06}"), status, event())
        found = await registry.census(START + timedelta(days=1))
    with closing(sqlite3.connect(path)) as connection:
        things = dict(connection.execute("SELECT status, count(*) FROM things GROUP BY 1").fetchall())
        kept = dict(connection.execute("SELECT status, count(*) FROM certificates GROUP BY 1").fetchall())
    assert {one.value: count for one, count in found.things.items() if count} == things
    assert {one.value: count for one, count in found.certificates.items() if count} == kept
    assert found.days_left == {LIFETIME.days - 1: 297}


def test_an_older_registry_is_counted_and_indexed_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    schema.prepare(path, [step for step in schema.migrations() if step.version < 8])
    build_old(path)
    schema.prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        attributes = connection.execute("SELECT * FROM thing_attributes").fetchall()
        counted = dict(connection.execute("SELECT * FROM thing_counts WHERE things > 0").fetchall())
        ends = connection.execute("SELECT status, sum(certificates) FROM certificate_counts").fetchall()
    assert attributes == [("note", "", "b"), ("room", "4", "a"), ("room", "4", "b")]
    assert counted == {"active": 2}
    assert ends == [("active", 1)]


def build_old(path: Path) -> None:
    """Two things and a certificate, as they were before."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO things (name, folded, status, key_hash, created_at, attributes)"
            " VALUES (?1, ?1, 'active', ?1, 0, ?2)",
            [("a", '{"room":"4"}'), ("b", '{"note":"","room":"4"}')],
        )
        connection.execute(
            "INSERT INTO certificates"
            " (id, intent, serial, thing, key_hash, der, not_before, not_after, status, slot)"
            " VALUES ('i', 'i', 'i', 'a', 'a', x'00', 0, 1, 'active', 'current')"
        )

"""How SQLite would carry out what the registry asks it: nothing may read the whole of a table that grows.

``watched`` records every statement; ``scans`` names those that would walk through a large table,
as ``EXPLAIN QUERY PLAN`` tells, but for what ``ALLOWED`` gives a reason for.
"""

import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from keyborn.adapters.sql import SqliteRegistry, schema

LARGE = frozenset(
    {
        *("things", "keys", "certificates", "attachments", "redemptions", "intents", "tokens", "accounts"),
        *("key_tombstones", "name_tombstones", "beliefs", "thing_attributes", "registered", "approvals"),
        *("audit", "checkpoints"),
    }
)
"""What grows with the fleet, or with the years. Policies, groups, API keys and counters do not."""

ALLOWED = {
    r"FROM audit ORDER BY sequence DESC LIMIT 1$": "one row: the end of the trail",
    r"FROM checkpoints ORDER BY sequence DESC LIMIT 1$": "one row: the latest checkpoint",
    r"FROM intents WHERE created_at < \?": "open intents only: enrolments under way, a few seconds of them",
    r"FROM intents i CROSS JOIN certificates c ON c\.intent": "the same",
    r"FROM things t LEFT JOIN beliefs b .* GROUP BY b\.roots": "asked by people before a change of the root",
    r"SELECT count\(\*\) FROM things t WHERE .* instr\(c\.der": "the same: who holds of the old root",
    r"FROM things WHERE policies IS NOT NULL AND instr": "an index that holds nobody with the default policy",
    r"FROM tokens WHERE policies IS NOT NULL AND instr": "the same of tokens",
}
"""Statements that may walk, and why that is no harm."""

_WALK = re.compile(r"SCAN (\w+)")
_ALIAS = re.compile(r"(?:FROM|JOIN|INTO|UPDATE) (\w+)(?: (?!WHERE|JOIN|LEFT|CROSS|ORDER|SET|ON|GROUP)(\w+))?")
_VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")


class Recording(sqlite3.Connection):
    """A connection that remembers what it was asked."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as sqlite3 has it
        """As sqlite3's."""
        ASKED.setdefault(sql)
        return super().execute(sql, *values)

    def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:  # noqa: ANN401
        """As sqlite3's."""
        ASKED.setdefault(sql)
        return super().executemany(sql, *values)


ASKED: dict[str, None] = {}
"""Every statement so far, in order."""
_sound: set[str] = set()


@asynccontextmanager
async def watched(path: Path, *others: Path) -> AsyncIterator[tuple[SqliteRegistry, ...]]:
    """Open registries, and assert at the end that nothing they were asked scans."""
    connect = sqlite3.connect

    def _connect(*given: Any, **named: Any) -> sqlite3.Connection:  # noqa: ANN401
        return connect(*given, factory=Recording, **named)

    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", _connect)
            opened = [await stack.enter_async_context(SqliteRegistry(one)) for one in (path, *others)]
        ASKED.clear()  # migrations may scan
        yield tuple(opened)
    with closing(schema.connect_reader(path)) as connection:
        found = unsound(connection, ASKED)
        assert not found, "\n".join(found)


def unsound(connection: sqlite3.Connection, asked: Iterable[str]) -> list[str]:
    """Those of these statements that scan; each is looked at once."""
    fresh = [sql for sql in asked if sql not in _sound and sql.lstrip().startswith(_VERBS)]
    found = [f"{step} in: {sql}" for sql in fresh for step in scans(connection, sql)]
    _sound.update(fresh)
    return found


def scans(connection: sqlite3.Connection, sql: str) -> list[str]:
    """The steps of a plan that walk through a large table, where nothing allows it."""
    if any(re.search(pattern, sql.strip()) for pattern in ALLOWED):
        return []
    plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?")).fetchall()
    tables = _tables(sql)
    steps: Sequence[str] = [row[3] for row in plan]
    return [step for step in steps if (walk := _WALK.match(step)) and tables.get(walk[1], walk[1]) in LARGE]


def _tables(sql: str) -> dict[str, str]:
    """Which table an alias stands for."""
    return {alias or table: table for table, alias in _ALIAS.findall(sql)}

"""No statement of the registry reads the whole of a table that grows; contract tests look at all they run."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from keyborn.adapters.sql import schema, searching
from keyborn.domain.names import GroupName
from keyborn.domain.search import Search
from keyborn.domain.thing import ThingKind, ThingStatus
from support import plans


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("plans") / "registry.db"
    schema.prepare(path)
    with closing(schema.connect_reader(path)) as opened:
        yield opened


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM things WHERE attributes = ?",
        "SELECT t.name FROM attachments a JOIN things t ON t.status = a.slot",
        "UPDATE certificates SET status = 'revoked' WHERE not_before < ?",
        "DELETE FROM redemptions WHERE token = ?",
        "SELECT count(*) FROM things",
    ],
)
def test_a_scan_is_found(connection: sqlite3.Connection, sql: str) -> None:
    assert plans.scans(connection, sql)


SEARCHES = [
    Search(prefix, where, group, status)
    for prefix in ("", "lamp-")
    for where in ({}, {"a": "1"}, {"a": "1", "b": "2", "c": "3"})
    for group in (None, GroupName("line"))
    for status in (None, *ThingStatus)
]


@pytest.mark.parametrize("kind", ThingKind)
@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_every_search_is_led_by_an_index_and_sorts_nothing(
    connection: sqlite3.Connection,
    kind: ThingKind,
    search: Search,
) -> None:
    sql, values = searching.question(search, kind, None, 10)
    steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert not plans.scans(connection, sql)
    assert not [step for step in steps if "TEMP B-TREE" in step], steps
    first = next(step for step in steps if step.startswith("SEARCH"))
    if search.where:
        assert "SEARCH a USING PRIMARY KEY (key=? AND value=? AND thing>? AND thing<?)" in first
    elif search.group is not None:
        assert "things_of_group (grp=? AND status=? AND name>? AND name<?)" in first
    elif kind is ThingKind.DEVICE and search.status not in (None, ThingStatus.ACTIVE):
        assert "things_by_status (status=? AND name>? AND name<?)" in first
